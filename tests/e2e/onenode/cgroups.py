"""The cgroups below which the node's pods run: made before the kubelet starts, removed after it.

Cgroup version 1 has a tree for each controller, version 2 has one; a machine may have both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.programs import wait_until
from onenode.layout import CGROUP

_MOUNT = Path("/sys/fs/cgroup")
_HERE, _BELOW = "cgroup.controllers", "cgroup.subtree_control"
_REMOVED_WITHIN_S = 20.0


@contextmanager
def own_cgroups() -> Iterator[None]:
    """Have a cgroup of ours in every tree of this machine."""
    roots = [tree / CGROUP for tree in _trees()]
    handed_down = _hand_down(_MOUNT) if roots == [_MOUNT / CGROUP] else []
    for root in roots:
        root.mkdir(exist_ok=True)
        _open_cpus(root)
    try:
        yield
    finally:
        # The kernel drops processes from a cgroup a moment after they have ended.
        wait_until(lambda: _removed(roots), _REMOVED_WITHIN_S, "the node's cgroups are removed")
        for controller in handed_down:
            (_MOUNT / _BELOW).write_text(f"-{controller}")


def _trees() -> list[Path]:
    if (_MOUNT / _HERE).exists():
        return [_MOUNT]
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(point) for point, kind in mounts if kind.startswith("cgroup")]


def _hand_down(tree: Path) -> list[str]:
    """Let cgroups below a tree of version 2 use all of its controllers, as the kubelet expects.

    Returns those that they could not use before.
    """
    used = (tree / _BELOW).read_text().split()
    new = [name for name in (tree / _HERE).read_text().split() if name not in used]
    for controller in new:
        (tree / _BELOW).write_text(f"+{controller}")
    return new


def _open_cpus(root: Path) -> None:
    """Let a cpuset of version 1 use what its parent uses: it begins with nothing."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file, above = root / name, root.parent / name
        if above.exists() and file.exists() and not file.read_text().strip():
            file.write_text(above.read_text())


def _removed(roots: list[Path]) -> bool:
    for root in roots:
        below = sorted(root.rglob("*/"), key=lambda path: len(path.parts), reverse=True)
        for folder in [*below, root]:
            try:
                folder.rmdir()
            except OSError:
                continue
    return not any(root.exists() for root in roots)
