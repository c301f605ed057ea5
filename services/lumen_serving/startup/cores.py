"""How many cores this process may really use: the quota, not the machine."""

import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_CGROUP_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def usable_cores(declared: float | None) -> int:
    """Return the number of threads worth having, at least 1.

    `declared` is the CPU limit as the pod was told; without it, affinity and cgroup decide.
    """
    if declared is not None:
        return max(1, int(declared))
    affinity = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return affinity if quota is None else max(1, min(affinity, int(quota)))


def parse_cpu_max(text: str) -> float | None:
    """Return the cores that cgroup v2's `cpu.max` grants, None for no limit."""
    quota, _, period = text.strip().partition(" ")
    if quota == "max" or not quota:
        return None
    return int(quota) / int(period or 100_000)


def _cgroup_quota() -> float | None:
    try:
        if _CGROUP_V2.exists():
            return parse_cpu_max(_CGROUP_V2.read_text())
        quota = int(_CGROUP_V1_QUOTA.read_text())
        return None if quota <= 0 else quota / int(_CGROUP_V1_PERIOD.read_text())
    except (OSError, ValueError):
        return None
