"""Make a local stand-in for the base of our images, where no container registry is reachable.

`docker.io/library/python:3.11-slim` is Debian with a Python 3.11 and pip; Debian 12 has that
Python too, so debootstrap gives an image of the same name in buildah's store that our
Containerfiles build on unchanged. Where the name is in the store already, nothing is done.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

NAME = "docker.io/library/python:3.11-slim"
PACKAGES = "ca-certificates,netbase,tzdata,python3"
# Documentation and caches, as the slim images leave them out.
UNWANTED = (
    "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian",
    "var/cache/apt", "var/cache/debconf", "var/lib/apt/lists", "var/log",
)  # fmt: skip
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
PIP = """#!/usr/local/bin/python3
import sys
from pip._internal.cli.main import main
sys.exit(main())
"""


def main() -> None:
    """Make the stand-in unless the image is there."""
    if not exists(NAME):
        make()


def exists(image: str) -> bool:
    """Tell whether buildah's store has the image."""
    asked = subprocess.run(
        ["buildah", "inspect", "--type", "image", image], capture_output=True, check=False
    )
    return asked.returncode == 0


def make() -> None:
    """Make the image; its root file system is kept for the next time."""
    begun = time.monotonic()
    say(f"Making a stand-in for {NAME} from Debian packages ...")
    archive = cache_folder() / "python-3.11-bookworm.tar"
    if not archive.exists():
        pack(archive)
    commit(archive)
    say(f"Making a stand-in for {NAME}   {time.monotonic() - begun:.0f} s")


def pack(archive: Path) -> None:
    """Bootstrap the root file system into an archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lumen-base-", dir=archive.parent) as folder:
        root = Path(folder) / "root"
        bootstrap(root)
        finish(root)
        packed = archive.with_suffix(".partial")
        with tarfile.open(packed, "w") as tar:
            tar.add(root, arcname=".")
        packed.rename(archive)


def bootstrap(root: Path) -> None:
    """Unpack and configure Debian 12's smallest system with Python."""
    log = root.with_name("debootstrap.log")
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root]
    with log.open("w") as output:
        ended = subprocess.run(
            [*command, debian_mirror()], stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if ended.returncode != 0:
        raise SystemExit(f"debootstrap failed:\n{log.read_text()[-2000:]}")


def finish(root: Path) -> None:
    """Lay Python and pip out as the official image has them: below /usr/local, pip and all."""
    for name in UNWANTED:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)
    for name in ("python", "python3", "python3.11"):
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.11")
    (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink(missing_ok=True)
    packages = root / "usr/local/lib/python3.11/dist-packages"
    packages.mkdir(parents=True, exist_ok=True)
    packages.with_name("site-packages").symlink_to("dist-packages")
    uv = Path(sys.executable).with_name("uv")
    run(uv, "pip", "install", "--quiet", "--target", packages, "pip>=24")
    shutil.rmtree(packages / "bin", ignore_errors=True)
    for name in ("pip", "pip3"):
        script = root / "usr/local/bin" / name
        script.write_text(PIP)
        script.chmod(0o755)


def commit(archive: Path) -> None:
    """Make the image in buildah's store."""
    container = run("buildah", "from", "scratch").strip()
    try:
        run("buildah", "add", "--quiet", container, archive, "/")
        for variable in (f"PATH={PATH}", "LANG=C.UTF-8"):
            run("buildah", "config", "--env", variable, container)
        run("buildah", "commit", "--quiet", container, NAME)
    finally:
        run("buildah", "rm", container)


def debian_mirror() -> str:
    """Return the mirror that this machine's apt uses for Debian 12."""
    for file in (*Path("/etc/apt/sources.list.d").glob("*"), Path("/etc/apt/sources.list")):
        text = file.read_text(errors="replace") if file.is_file() else ""
        found = re.search(
            r"^(?:URIs:\s*|deb\s+(?:\[[^]]*\]\s*)?)(\S+/debian/?)(?:\s|$)", text, re.MULTILINE
        )
        if found:
            return found[1]
    raise SystemExit("apt names no Debian mirror; debootstrap needs one")


def cache_folder() -> Path:
    """Return where the root file system is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lumen" / "e2e"


def run(*command: str | Path) -> str:
    """Run a command; its own words end the program when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr.strip()}")
    return done.stdout


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
