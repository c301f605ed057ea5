"""A cluster for a bench: a control plane of its own, nodes enough, and who used the machine."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from processes import cpu_s  # isort: skip - it makes the following importable
from controlplane.plane import ControlPlane, running_control_plane
from operator_lab import ACCOUNT, grant

PODS_PER_NODE = 250
OPERATOR_NAMESPACE = "lumen"
SERVICES_NAMESPACE = "bench"
USER = "user"
WRITING_VERBS = frozenset({"APPLY", "PATCH", "POST", "PUT", "DELETE", "DELETECOLLECTION"})


@dataclass(frozen=True, slots=True)
class BenchCluster:
    """A running control plane, and who acts there: the operator with the chart's rights, a user."""

    plane: ControlPlane
    folder: Path
    operators: Path
    users: Path

    def writes(self) -> float:
        """Return how many writes the API server has done, by anybody; Leases do not count."""
        page = self.plane.http.get("/metrics", timeout=60.0).text
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in page.splitlines()
            if line.startswith("apiserver_request_total{")
            and 'resource="leases"' not in line
            and _label(line, "verb") in WRITING_VERBS
            and _label(line, "code").startswith("2")
        )


@contextmanager
def bench_cluster(folder: Path, pods: int) -> Iterator[BenchCluster]:
    """Start one with nodes for that many pods."""
    with running_control_plane(folder) as plane:
        for number in range(pods // PODS_PER_NODE + 1):
            plane.add_node(f"node-{number}")
        plane.create_namespace(OPERATOR_NAMESPACE)
        plane.create_namespace(SERVICES_NAMESPACE)
        grant(plane, OPERATOR_NAMESPACE, folder, everywhere=True)
        yield BenchCluster(
            plane,
            folder,
            operators=plane.kubeconfig_for(OPERATOR_NAMESPACE, ACCOUNT),
            users=_user(plane),
        )


def _user(plane: ControlPlane) -> Path:
    """Make somebody who may do everything, by a token like the operator's."""
    plane.kubectl("create", "serviceaccount", USER, "-n", OPERATOR_NAMESPACE)
    account = f"--serviceaccount={OPERATOR_NAMESPACE}:{USER}"
    plane.kubectl("create", "clusterrolebinding", USER, "--clusterrole=cluster-admin", account)
    return plane.kubeconfig_for(OPERATOR_NAMESPACE, USER)


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used until a moment: by the wall, by each program, by the whole machine, seconds."""

    at: float
    programs: dict[str, float]
    busy: float
    stolen: float

    @classmethod
    def of(cls, programs: dict[str, int]) -> "Usage":
        """Read it for programs by name, of process ids; this process is among them as `bench`."""
        times = psutil.cpu_times()
        used = {name: cpu_s(pid) for name, pid in {**programs, "bench": os.getpid()}.items()}
        idle = times.idle + times.iowait + times.steal
        return cls(time.monotonic(), used, sum(times[:8]) - idle, times.steal)

    def since(self, before: "Usage") -> dict[str, object]:
        """Say what was used meanwhile; `others_cores` is how busy strangers kept the machine."""
        wall_s = self.at - before.at
        own = {name: used - before.programs[name] for name, used in self.programs.items()}
        others_s = self.busy - before.busy - sum(own.values())
        return {
            "cpu_s": {name: round(used, 2) for name, used in own.items()},
            "cpu_s_all": round(sum(own.values()), 2),
            "others_cores": round(max(0.0, others_s) / wall_s, 2),
            "stolen_cores": round((self.stolen - before.stolen) / wall_s, 2),
        }


def memory_mib(pid: int) -> dict[str, float]:
    """Return the resident memory of a process, and its peak."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        name: round(int(rows[key].split()[0]) / 1024, 1)
        for name, key in (("rss_mib", "VmRSS"), ("rss_peak_mib", "VmHWM"))
    }


def _label(line: str, name: str) -> str:
    return line.partition(f'{name}="')[2].partition('"')[0]
