#!/usr/bin/env python3
"""Build Lumen's container images with buildah, podman or docker, whichever works here.

Needs no more than Python: run it before anything is installed. `make images` builds what every
cluster needs; name others to build those.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "images"
USUAL = ("operator", "router", "resources", "server-onnx-cpu")
ENGINES = ("buildah", "podman", "docker")
MB = 1_000_000


class BuildFailed(RuntimeError):
    """An image was not built; the message says why."""


@dataclass(frozen=True, slots=True)
class Base:
    """The build argument that names the image to build on, and what it says by itself."""

    argument: str
    default: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: how images are called, what they are built on, what is kept.

    Without `base` each Containerfile says what it is built on.
    """

    prefix: str
    tag: str
    base: str | None
    secrets: dict[str, Path]
    save: Path | None
    measure: bool
    verbose: bool

    def reference(self, name: str) -> str:
        """Return the full name: a prefix without a registry means Docker Hub, as it does there."""
        first, _, rest = self.prefix.partition("/")
        known = bool(rest) and ("." in first or ":" in first or first == "localhost")
        return f"{'' if known else 'docker.io/'}{self.prefix}/{name}:{self.tag}"


class Engine:
    """A program that builds images: the options in which buildah, podman and docker differ."""

    def __init__(self, name: str) -> None:
        self.name = name

    def works(self) -> bool:
        """Tell whether it is installed and answers: docker may be there without its daemon."""
        return shutil.which(self.name) is not None and self._succeeds("info")

    def has(self, image: str) -> bool:
        """Tell whether the image is in the local store."""
        kind = ("--type", "image") if self.name != "docker" else ()
        return self._succeeds("inspect", *kind, image)

    def build(self, name: str, request: Request) -> list[str]:
        """Return the command that builds an image."""
        command = [self.name, "build"]
        if self.name != "docker":
            # Docker's format is what every runtime reads; layers are kept for the next build.
            command += ["--format", "docker", "--layers"]
        if self.name == "buildah":
            command += ["--isolation", "chroot"]  # needs no runtime and no privilege
        base = _base_of(name)
        if self.name != "docker" and self.has(request.base or base.default):
            command.append("--pull-never" if self.name == "buildah" else "--pull=never")
        command += ["--network", "host", "--file", str(FOLDER / f"{name}.Containerfile")]
        arguments = _labels(request) | ({base.argument: request.base} if request.base else {})
        for key, value in arguments.items():
            command += ["--build-arg", f"{key}={value}"]
        for key, path in request.secrets.items():
            command += ["--secret", f"id={key},src={path}"]
        return [*command, "--tag", request.reference(name), str(ROOT)]

    def save(self, image: str, archive: Path) -> list[str]:
        """Return the command that writes an image as an archive that every runtime loads."""
        if self.name == "buildah":
            return ["buildah", "push", "--quiet", image, f"docker-archive:{archive}:{image}"]
        return [self.name, "save", "--output", str(archive), image]

    def _succeeds(self, *arguments: str) -> bool:
        command = [self.name, *arguments]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main() -> None:
    """Build what is asked for, one after the other, and say how long each took."""
    options = _options()
    given = options.parse_args()
    names = given.names or list(USUAL)
    unknown = sorted(set(names) - set(_known()))
    if unknown:
        options.error(f"no such image: {', '.join(unknown)}; there are {', '.join(_known())}")
    request = Request(
        prefix=given.prefix,
        tag=given.tag,
        base=given.base,
        secrets=_secrets(given),
        save=given.save,
        measure=given.measure,
        verbose=given.verbose,
    )
    try:
        engine = _choose_engine(given.engine)
        for name in names:
            _make(engine, name, request)
    except BuildFailed as failure:
        raise SystemExit(str(failure)) from failure
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, epilog="docs/images.md says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    options.add_argument(
        "names",
        nargs="*",
        metavar="IMAGE",
        help=f"of {', '.join(_known())}; default: {', '.join(USUAL)}",
    )
    options.add_argument("--engine", choices=ENGINES, help="default: the first that works")
    options.add_argument(
        "--prefix", default="lumen", help="images are PREFIX/NAME:TAG; default: %(default)s"
    )
    options.add_argument(
        "--tag", default=_version(), help="default: %(default)s, the project's version"
    )
    options.add_argument("--base", help="what to build on; default: what the Containerfile names")
    options.add_argument(
        "--save",
        type=Path,
        metavar="FOLDER",
        help="write FOLDER/NAME.tar, to be loaded into a cluster's nodes",
    )
    options.add_argument("--measure", action="store_true", help="print the compressed size too")
    options.add_argument(
        "--pip-config",
        type=Path,
        metavar="FILE",
        help="pip's settings of a mirror; default: /etc/pip.conf if there",
    )
    options.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="certificates to trust; default: what PIP_CERT or SSL_CERT_FILE names",
    )
    options.add_argument(
        "-v", "--verbose", action="store_true", help="show all that the engine prints"
    )
    return options


def _known() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.Containerfile")))


def _version() -> str:
    # Not by tomllib: boards come with Python 3.10, which has none.
    described = (ROOT / "pyproject.toml").read_text()
    found = re.search(r'^version = "(\S+)"$', described, re.MULTILINE)
    assert found is not None
    return found[1]


def _secrets(given: argparse.Namespace) -> dict[str, Path]:
    """Return the files that a build sees and that no layer keeps."""
    trusted = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    found = {
        "pip.conf": given.pip_config or Path("/etc/pip.conf"),
        "ca.crt": given.ca or (Path(trusted) if trusted else None),
    }
    return {key: path for key, path in found.items() if path is not None and path.is_file()}


def _base_of(name: str) -> Base:
    """Return what a Containerfile is built on: its first argument."""
    text = (FOLDER / f"{name}.Containerfile").read_text()
    found = re.search(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE)
    assert found is not None
    return Base(found[1], found[2])


def _labels(request: Request) -> dict[str, str]:
    """Return the build arguments that become labels."""
    asked = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {"VERSION": request.tag, "REVISION": asked.stdout.strip()}


def _choose_engine(wanted: str | None) -> Engine:
    for name in [wanted] if wanted else ENGINES:
        engine = Engine(name)
        if engine.works():
            return engine
    if wanted:
        raise BuildFailed(f"{wanted} is not installed, or does not answer: try `{wanted} info`")
    raise BuildFailed(
        "Images are built by buildah, podman or docker, and none of them works here. "
        "Install one (Debian: apt install buildah)."
    )


def _make(engine: Engine, name: str, request: Request) -> None:
    image, begun = request.reference(name), time.monotonic()
    show = _Progress(f"{image}  {engine.name}", verbose=request.verbose)
    _follow(engine.build(name, request), show)
    size = ""
    if request.save or request.measure:
        with tempfile.TemporaryDirectory(prefix="lumen-image-") as folder:
            archive = (request.save or Path(folder)) / f"{name}.tar"
            archive.parent.mkdir(parents=True, exist_ok=True)
            archive.unlink(missing_ok=True)
            _follow(engine.save(image, archive), show)
            size = _sizes(archive, compressed=request.measure)
    show.end(f"{image}   {time.monotonic() - begun:.0f} s{size}")


def _sizes(archive: Path, *, compressed: bool) -> str:
    """Say how large an archive is, and how large as a registry keeps it: layers in gzip."""
    words = f", {archive.stat().st_size / MB:.0f} MB"
    if not compressed:
        return words
    packer, packed = zlib.compressobj(6), 0
    with archive.open("rb") as file:
        while block := file.read(1 << 20):
            packed += len(packer.compress(block))
    return f"{words}, {(packed + len(packer.flush())) / MB:.0f} MB compressed"


class _Progress:
    """One line that changes on a terminal; elsewhere a line at the start and one at the end."""

    def __init__(self, title: str, *, verbose: bool) -> None:
        self._title, self._verbose = title, verbose
        self._live = sys.stderr.isatty() and not verbose
        if not self._live:
            self._say(f"{title} ...")

    def line(self, text: str) -> None:
        """Show a line of the engine."""
        if self._verbose:
            self._say(text)
        elif self._live and text.strip():
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{f'{self._title}  {text.strip()}'[:width]}")
            sys.stderr.flush()

    def end(self, text: str) -> None:
        """Leave a last line."""
        self._say(f"\r\x1b[K{text}" if self._live else text)

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _follow(command: Sequence[str], show: _Progress) -> None:
    """Run a command to its end; when it fails, its last lines say why."""
    last: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            last.append(line)
            show.line(line.rstrip())
    if running.returncode != 0:
        raise BuildFailed(f"{''.join(last)}{' '.join(command[:2])} ended with {running.returncode}")


if __name__ == "__main__":
    main()
