#!/usr/bin/env python3
"""Write `images/locks/*.txt`: what each image installs, to the version and the hash.

`make locks` resolves everything anew. The ranges are those of pyproject.toml; an image whose
accelerator brings another build of ONNX Runtime says here which.
"""

import argparse
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
    the image's base has, `platform` uv's name of the one platform that has all packages.
    """

    extra: str
    add: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    python: str = "3.11"
    platform: str = ""


BUILD = "build"  # what builds the wheel; in no image's last stage
LOCKED = {
    "operator": Lock("operator"),
    "router": Lock("router"),
    "resources": Lock("resources"),
    "server-onnx-cpu": Lock("onnx"),
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
    "server-rknn-rk3588": Lock(
        "onnx",
        add=("rknn-toolkit-lite2>=2.3,<3",),
        platform="aarch64-manylinux_2_28",
    ),
}


def main() -> None:
    """Write the lock files that are asked for; all without a name."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join((BUILD, *LOCKED)))
    names = options.parse_args().names or [BUILD, *LOCKED]
    unknown = sorted(set(names) - {BUILD, *LOCKED})
    if unknown:
        options.error(f"no such lock file: {', '.join(unknown)}")
    LOCKS.mkdir(exist_ok=True)
    for name in names:
        print(f"locks/{name}.txt", file=sys.stderr, flush=True)
        write_build() if name == BUILD else write(name, LOCKED[name])


def write(name: str, lock: Lock) -> None:
    """Resolve an image's packages."""
    removed = LOCKS / f".{name}.without"
    arguments = ["--extra", lock.extra, "--python-version", lock.python, "pyproject.toml"]
    if lock.platform:
        arguments += ["--python-platform", lock.platform]
    else:
        arguments += ["--universal"]
    try:
        # A marker that is never true is uv's way of leaving a package out.
        removed.write_text("".join(f"{each} ; python_version < '0'\n" for each in lock.without))
        resolve(name, [*arguments, "--override", str(removed), "-"], "\n".join(lock.add))
    finally:
        removed.unlink()


def write_build() -> None:
    """Resolve what builds the wheel."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = "\n".join(described["build-system"]["requires"])
    resolve(BUILD, ["--universal", "--python-version", "3.11", "-"], wanted)


def resolve(name: str, arguments: list[str], requirements: str) -> None:
    """Run uv; it keeps comments that say which package asks for which."""
    uv = Path(sys.executable).with_name("uv")
    ended = subprocess.run(
        [str(uv), "pip", "compile", "--quiet", "--upgrade", "--generate-hashes",
         "--no-emit-index-url", "--custom-compile-command", HEADER,
         "--output-file", str(LOCKS / f"{name}.txt"), *arguments],
        cwd=ROOT, input=requirements, text=True, check=False, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    if ended.returncode != 0:
        raise SystemExit(f"images/locks/{name}.txt could not be written; uv says above why")


if __name__ == "__main__":
    main()
