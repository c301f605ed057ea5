"""Which board this is: what its device tree is compatible with.

Asked by `lumen up` for the machine's accelerators, and by the model server for evidence of the NPU.
"""

from pathlib import Path

COMPATIBLE = "proc/device-tree/compatible"
# Rockchip's chips with an NPU that its runtime for Linux drives, by their names in files.
ROCKCHIP = ("rk3588", "rk3576", "rk3568", "rk3566", "rk3562")
_MAX_BYTES = 64 * 1024


def compatible(root: Path = Path("/")) -> tuple[str, ...] | None:
    """Return what the board calls itself, such as `rockchip,rk3588`, the nearest name first.

    `root` is where the machine's file system begins. None where there is no device tree to read:
    on a PC, or in a container that hides it.
    """
    try:
        with (root / COMPATIBLE).open("rb") as file:
            content = file.read(_MAX_BYTES)
    except OSError:
        return None
    names = content.decode("utf-8", "replace").split("\0")
    return tuple(name.strip() for name in names if name.strip()) or None


def rockchip_chip(names: tuple[str, ...] | None) -> str:
    """Return the chip among a board's names (`rockchip,rk3588s` is an rk3588), else nothing."""
    for name in names or ():
        maker, _, model = name.partition(",")
        for chip in ROCKCHIP:
            if maker == "rockchip" and model.startswith(chip):
                return chip
    return ""
