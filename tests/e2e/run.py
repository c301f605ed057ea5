"""Run the end-to-end tests on a real kubelet: `make e2e`.

With KUBECONFIG set, they run against that cluster, whose nodes can pull PREFIX/NAME:TAG.
Without it, root on Debian gets a cluster of one node on this machine: programs and images are
built, the node starts, the tests run, and everything is taken down again.
"""

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_E2E = Path(__file__).resolve().parent
_TESTS = _E2E.parent
_ROOT = _TESTS.parent
sys.path[:0] = [str(_E2E), str(_TESTS / "cluster"), str(_TESTS)]

import base_image  # noqa: E402 - the path comes first
import fixtures_image  # noqa: E402
from controlplane.programs import ProgramFailed  # noqa: E402
from go_tools import GoBuildFailed, program  # noqa: E402
from onenode.binaries import build_programs  # noqa: E402
from onenode.node import Node, running_node  # noqa: E402

IMAGES = ("operator", "router", "resources", "server-onnx-cpu")
FIXTURES = "e2e-fixtures"
LOGS = _ROOT / "build" / "e2e-logs"
WHAT_IT_TAKES = (
    "make e2e: about 15 minutes on 2 cores; without KUBECONFIG 10 more and 10 GB of disk, once,"
    " to build the programs of a node and the images"
)
# Programs that Debian has, by package.
PACKAGES = {
    "buildah": "buildah",
    "containerd": "containerd",
    "debootstrap": "debootstrap",
    "hostname": "hostname",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
}


def main() -> None:
    """Run the tests where KUBECONFIG says, else on a node of our own."""
    given, pytest_arguments = _options().parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every clean-up
    begun = time.monotonic()
    say(WHAT_IT_TAKES)
    try:
        if os.environ.get("KUBECONFIG"):
            helm = shutil.which("helm") or program("helm3", say)
            path = f"{os.environ['PATH']}:{Path(helm).parent}"
            code = _run_tests([], given, pytest_arguments, {"PATH": path})
        else:
            with _alone():
                code = _on_own_node(given, pytest_arguments)
    except (ProgramFailed, GoBuildFailed, subprocess.CalledProcessError) as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit(130)
    say(f"make e2e   {time.monotonic() - begun:.0f} s")
    sys.exit(code)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, epilog="Further arguments are pytest's.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    options.add_argument("--prefix", default="lumen", help="where images are; default: lumen")
    options.add_argument("--tag", default="0.1.0", help="their tag; default: 0.1.0")
    options.add_argument(
        "--reuse-images", action="store_true", help="take the images of the last run"
    )
    options.add_argument(
        "--shell", action="store_true", help="open a shell on the cluster instead of testing it"
    )
    return options


def _on_own_node(given: argparse.Namespace, pytest_arguments: list[str]) -> int:
    _install_packages()
    programs = build_programs(say)
    helm = program("helm3", say)
    archives = _images(given)
    with running_node(programs, say) as node:
        _load(node, archives)
        environment = {
            "KUBECONFIG": str(node.kubeconfig),
            "PATH": f"{node.programs}:{helm.parent}:{os.environ['PATH']}",
        }
        code = _run_tests(node.inside(), given, pytest_arguments, environment)
        if code != 0:
            shutil.copytree(node.folder / "logs", LOGS, dirs_exist_ok=True)
            say(f"The logs of the node's programs are in {LOGS}")
    return code


@contextmanager
def _alone() -> Iterator[None]:
    """Have the node's names and folders to ourselves."""
    lock = base_image.cache_folder() / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("Another run of the end-to-end tests is at work on this machine.")
        yield


def _install_packages() -> None:
    """Install what is missing; says so where this machine cannot."""
    missing = sorted({package for name, package in PACKAGES.items() if shutil.which(name) is None})
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        sys.exit(
            "A node of its own is started by root on Debian only. "
            "Set KUBECONFIG to test another cluster (docs/images.md says how it gets the images)."
        )
    if missing:
        say(f"Installing {', '.join(missing)} ...")
        apt = ["apt-get", "--quiet", "--quiet"]
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*apt, "update"], check=True, env=quiet, stdout=subprocess.DEVNULL)
        subprocess.run(
            [*apt, "install", "--yes", "--no-install-recommends", *missing],
            check=True, env=quiet, stdout=subprocess.DEVNULL,
        )  # fmt: skip


def _images(given: argparse.Namespace) -> list[Path]:
    """Build every image of the tests, and return their archives."""
    folder = base_image.cache_folder() / "images"
    archives = [folder / f"{name}.tar" for name in (*IMAGES, FIXTURES)]
    if given.reuse_images and all(archive.exists() for archive in archives):
        return archives
    if not base_image.exists(base_image.NAME):
        base_image.make()
    build = [sys.executable, str(_ROOT / "images" / "build.py"), *IMAGES, "--engine=buildah"]
    named = [f"--prefix={given.prefix}", f"--tag={given.tag}", f"--save={folder}"]
    subprocess.run([*build, *named], check=True)
    registry = f"docker.io/{given.prefix}"
    fixtures_image.build(
        f"{registry}/{FIXTURES}:{given.tag}",
        f"{registry}/server-onnx-cpu:{given.tag}",
        archives[-1],
    )
    return archives


def _load(node: Node, archives: list[Path]) -> None:
    begun = time.monotonic()
    say("Loading images into the node ...")
    for archive in archives:
        node.load(archive)
    say(f"Loading images into the node   {time.monotonic() - begun:.0f} s")


def _run_tests(
    inside: list[str],
    given: argparse.Namespace,
    pytest_arguments: list[str],
    environment: dict[str, str],
) -> int:
    # One story: installed, used, disturbed, uninstalled; not in random order.
    ordered = ["-p", "no:randomly", "--timeout=900", *pytest_arguments]
    command = [sys.executable, "-m", "pytest", str(_E2E), *ordered]
    if given.shell:
        say("kubectl and helm reach the cluster from this shell; it ends with the shell.")
        command = [os.environ.get("SHELL", "/bin/bash")]
    where = {"LUMEN_E2E_PREFIX": given.prefix, "LUMEN_E2E_TAG": given.tag}
    return subprocess.run(
        [*inside, *command], cwd=_ROOT, env={**os.environ, **where, **environment}, check=False
    ).returncode


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
