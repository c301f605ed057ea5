"""The driver of a device, as the kernel names it: part of what a server says of itself."""

from collections.abc import Mapping
from pathlib import Path

from lumen_manifest.spec.enums import Accelerator

# Where each kernel module writes its version.
VERSION_FILES: Mapping[str, Path] = {
    Accelerator.CUDA.value: Path("/proc/driver/nvidia/version"),
    Accelerator.ROCM.value: Path("/sys/module/amdgpu/version"),
    Accelerator.RK3588.value: Path("/sys/kernel/debug/rknpu/version"),
}
_LENGTH_MAX = 200


def driver_of(device: str, files: Mapping[str, Path] = VERSION_FILES) -> str:
    """Return the first line that the driver of a device says of itself; empty without one."""
    try:
        with files[device].open(encoding="utf-8", errors="replace") as file:
            return file.readline(_LENGTH_MAX).strip()
    except (KeyError, OSError):
        return ""
