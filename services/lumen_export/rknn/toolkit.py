"""Rockchip's converter, rknn-toolkit2, in a virtual environment of its own.

It pins numpy 1, protobuf 4 and torch 2.4, which go with nothing else here, and it is made for
x86-64 Linux. The environment is made once, to the version and the hash, in the user's cache; a
conversion runs in it as a process (`lumen_export.rknn.conversion`).

    python -m lumen_export.rknn.toolkit [FOLDER]

makes it ahead of the first conversion.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lumen_export.errors import ExportRefused
from lumen_process.wording import size

VERSION = "2.5.0"
LOCK = Path(__file__).with_name("toolkit.txt")
# What the lock was resolved for.
PYTHON = "3.11"
NEEDS_BYTES = 7 * 1024**3
INSTALL_LIMIT_S = 3600
_COMPLETE = "lumen-toolkit.sha256"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RknnToolkit:
    """A complete environment, by its interpreter."""

    python: Path


def default_folder() -> Path:
    """Return where the user's cache keeps it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "lumen" / f"rknn-toolkit2-{VERSION}"


def toolkit_in(folder: Path) -> RknnToolkit | None:
    """Return the environment that is there, None when it is not complete or of another lock."""
    try:
        made_of = (folder / _COMPLETE).read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    python = folder / "bin" / "python"
    return RknnToolkit(python) if made_of == _lock_digest() and python.exists() else None


def make_toolkit(folder: Path, say: Say) -> RknnToolkit:
    """Return the environment in `folder`, made now when it is not there.

    Raises ExportRefused when this machine cannot have it.
    """
    there = toolkit_in(folder)
    if there is not None:
        return there
    base = _base_python()
    _refuse_taken(folder)
    _refuse_full_disk(folder)
    say(f"installing rknn-toolkit2 {VERSION} into {folder}: {size(NEEDS_BYTES)} of disk, once")
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    _run([base, "-m", "venv", str(folder)])
    _run([*_installer(python), "--require-hashes", "--requirement", str(LOCK)])
    (folder / _COMPLETE).write_text(_lock_digest() + "\n", "ascii")
    return RknnToolkit(python)


def _lock_digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def _base_python() -> str:
    """Return an interpreter that the toolkit has wheels for."""
    here = (sys.platform, platform.machine())
    if here != ("linux", "x86_64"):
        raise ExportRefused(
            f"rknn-toolkit2 converts on x86-64 Linux, and this machine is {here[0]} on {here[1]}.",
            remedy="Convert on such a machine, and copy the model's folder to the board.",
        )
    if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:
        return sys.executable
    found = shutil.which(f"python{PYTHON}")
    if found is None:
        raise ExportRefused(
            f"rknn-toolkit2 {VERSION} is locked for Python {PYTHON}, which is not installed here.",
            remedy=f"Install it, so that `python{PYTHON}` is found.",
        )
    return found


def _refuse_taken(folder: Path) -> None:
    """What is there and was not made here is not removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportRefused(
            f"{folder} for Rockchip's converter cannot be made: {error.strerror}.",
            remedy="Name another folder with --rknn-toolkit.",
        ) from error
    ours = (folder / "pyvenv.cfg").is_file()
    if not ours and any(folder.iterdir()):
        raise ExportRefused(
            f"{folder} holds other files, and the toolkit's environment would replace them.",
            remedy="Name another folder, or empty this one.",
        )


def _refuse_full_disk(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < NEEDS_BYTES:
        raise ExportRefused(
            f"rknn-toolkit2 needs {size(NEEDS_BYTES)} in {folder}, and {size(free)} are free.",
            remedy="Free some, or name a folder on another disk.",
        )


def _installer(python: Path) -> list[str]:
    """Return uv's command where it is installed, which takes seconds, else pip's."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is not None:
        return [uv, "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]


def _run(command: list[str]) -> None:
    try:
        ended = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, check=False, timeout=INSTALL_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ExportRefused(
            f"Installing rknn-toolkit2 took longer than {INSTALL_LIMIT_S // 60} minutes.",
            remedy="Run again: what was downloaded is kept.",
        ) from error
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip()[-800:]
        raise ExportRefused(
            f"rknn-toolkit2 {VERSION} could not be installed: {said}",
            remedy="See that a package index can be reached (the usual variables of pip and uv "
            "count), then run again.",
        )


def main() -> int:
    """Make the environment in the folder that is named, else in the user's cache."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default_folder()
    try:
        toolkit = make_toolkit(folder, _to_person)
    except ExportRefused as error:
        _to_person(f"error: {error}")
        return 1
    sys.stdout.write(f"{toolkit.python}\n")
    return 0


def _to_person(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
