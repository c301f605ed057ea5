"""Rockchip's real wheel for boards, under emulation: `python tests/rknn/arm64 FOLDER`.

On Debian as root. Into FOLDER go an arm64 Debian with Python (debootstrap), qemu and a cross
compiler (apt-get download), and what the image of RK3588 installs (its lock, with uv). Models come
from the real converter. Only `librknnrt.so` and the NPU behind it are a double
(`librknnrt_double.c`): it tells what the wheel and our code do, and nothing of an NPU.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path += [str(ROOT / each) for each in ("services", "tests/worlds", "tests/bench", "tests/rknn")]
SUITE = "bookworm"
# From Debian: an interpreter of the lock's version; the C library and compiler to match.
TOOLS = (
    "qemu-user-static", "gcc-12-aarch64-linux-gnu", "cpp-12-aarch64-linux-gnu",
    "binutils-aarch64-linux-gnu", "libgcc-12-dev-arm64-cross", "libgcc-s1-arm64-cross",
    "libc6-dev-arm64-cross", "libc6-arm64-cross", "linux-libc-dev-arm64-cross",
)  # fmt: skip
BOARD = "radxa,rock-5b\0rockchip,rk3588\0"


def run(*command: object, **options) -> None:
    subprocess.run([str(each) for each in command], check=True, **options)


def fetch_system(folder: Path) -> None:
    """Unpack an arm64 Debian with Python, and the tools that run and build for it."""
    system, tools = folder / "board", folder / "tools"
    if not (system / "usr/bin/python3").exists():
        run("debootstrap", "--foreign", "--arch=arm64", "--variant=minbase",
            "--include=python3", SUITE, system, stdout=subprocess.DEVNULL)  # fmt: skip
        for package in sorted((system / "var/cache/apt/archives").glob("*.deb")):
            run("dpkg-deb", "-x", package, system)
    if not (tools / "usr/bin/qemu-aarch64-static").exists():
        tools.mkdir(exist_ok=True)
        run("apt-get", "download", "-qq", *TOOLS, cwd=tools, stderr=subprocess.DEVNULL)
        for package in sorted(tools.glob("*.deb")):
            run("dpkg-deb", "-x", package, tools)


def install_packages(folder: Path) -> None:
    """Install what the image has, to the version and the hash."""
    site = folder / "packages"
    if not site.exists():
        uv = shutil.which("uv") or Path(sys.executable).with_name("uv")
        run(uv, "pip", "install", "--quiet", "--target", site, "--python-platform",
            "aarch64-manylinux_2_28", "--python-version", "3.11", "--only-binary", ":all:",
            "--require-hashes", "-r", ROOT / "images/locks/server-rknn-rk3588.txt")  # fmt: skip


def make_board(folder: Path) -> None:
    """Give the emulated system a board's device tree and node, and the double of the library."""
    system, tools = folder / "board", folder / "tools"
    tree = system / "proc/device-tree/compatible"
    tree.parent.mkdir(parents=True, exist_ok=True)
    tree.write_text(BOARD)
    (system / "dev/dri").mkdir(parents=True, exist_ok=True)
    (system / "dev/dri/renderD129").touch()
    libraries = tools / "usr/lib/x86_64-linux-gnu"
    run(tools / "usr/bin/aarch64-linux-gnu-gcc-12", f"--sysroot={tools}", "-Wall", "-Werror", "-O2",
        "-shared", "-fPIC", "-o", system / "usr/lib/librknnrt.so", HERE / "librknnrt_double.c",
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries),
             "PATH": f"{tools / 'usr/bin'}:{os.environ['PATH']}"})  # fmt: skip


def convert_model(folder: Path) -> Path:
    """Write a model whose towers the real converter made."""
    import numpy as np  # noqa: PLC0415
    import rknn_models  # noqa: PLC0415
    import tiny_models  # noqa: PLC0415
    import tiny_vit  # noqa: PLC0415

    from lumen_export.rknn.conversion import RknnConversion, convert  # noqa: PLC0415
    from lumen_export.rknn.toolkit import make_toolkit  # noqa: PLC0415

    shutil.rmtree(folder / "source", ignore_errors=True)
    root = tiny_vit.write_model(folder / "source")
    toolkit = make_toolkit(ROOT / ".venv-rknn", print)
    picture = np.zeros((1, tiny_vit.SIDE, tiny_vit.SIDE, 3), np.uint8)
    ids = np.ones((1, tiny_vit.CONTEXT), np.int64)
    inside = (tiny_models.MEAN, tiny_models.STD)
    for name, probe, (mean, std) in (("vision", picture, inside), ("text", ids, ((), ()))):
        graph = root / "onnx" / f"{name}.fp32.onnx"
        out = root / "rknn" / "rk3588" / f"{name}.fp16.rknn"
        job = RknnConversion(graph, out, probe, mean=mean, std=std)
        report = convert(job, toolkit, lambda text: None)
        print(f"{name}: {report.bytes:,} bytes by {report.toolkit}", flush=True)
    rknn_models.record(root, tiny_vit.SPEC, "rk3588")
    return root


def main() -> int:
    """Make what is not there yet, and try it."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    fetch_system(folder)
    install_packages(folder)
    make_board(folder)
    root = convert_model(folder)
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    system = folder / "board"
    path = os.pathsep.join([str(ROOT / "services"), str(folder / "packages")])
    # Qemu looks for every absolute path in the board's system first.
    command = [folder / "tools/usr/bin/qemu-aarch64-static", "-L", system,
               system / "usr/bin/python3.11", HERE / "on_board.py", root, work]  # fmt: skip
    ended = subprocess.run(
        [str(each) for each in command],
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "RT_SHOW": os.environ.get("RT_SHOW", "")}
        if os.environ.get("RT_SHOW") else {"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        check=False,
    )  # fmt: skip
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
