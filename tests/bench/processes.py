"""Starts what benches measure, on the cores of the bench; reads what it and the machine used."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "cluster"), str(TESTS / "worlds")]

from ports import free_ports  # noqa: E402 - the path comes first
from serving_servers import RunningServer  # noqa: E402

READY_WITHIN_S = 180


class Served(RunningServer):
    """One started process, the ports that it listens on, and what it used."""

    def cpu_s(self) -> float:
        """User and system CPU seconds so far."""
        return cpu_s(self.process.pid)

    def rss_mib(self) -> float:
        """Resident memory, MiB."""
        return rss_mib(self.process.pid)

    def metric(self, name: str) -> float:
        """Sum of a metric's samples of exactly that name."""
        return sum(value for key, value in self.metrics().items() if key.split("{")[0] == name)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process, MiB."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def processor() -> str:
    """Name the machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


@contextmanager
def served(
    module: str, env: dict[str, str], folder: Path, first: str | None = None
) -> Iterator[Served]:
    """Run `python -m MODULE` until the block ends; `first` names a module to run to its end before.

    The log goes to `{folder}/{module}.log`, which is printed when the process does not get ready.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ports, termination_log = free_ports(3), folder / f"{module}.termination"
    whole = os.environ | {
        "LUMEN_GRPC_PORT": str(ports[0]),
        "LUMEN_HEALTH_PORT": str(ports[1]),
        "LUMEN_METRICS_PORT": str(ports[2]),
        "LUMEN_BIND": "127.0.0.1",
        "LUMEN_DRAIN_DELAY_S": "0",
        "LUMEN_TERMINATION_LOG": str(termination_log),
        "LUMEN_LOG_FORMAT": "console",
        **env,
    }
    log = folder / f"{module}.log"
    with log.open("wb") as out:
        if first is not None:
            subprocess.run([sys.executable, "-m", first], env=whole, check=True, stderr=out)
        process = subprocess.Popen(
            [sys.executable, "-m", module], env=whole, stdout=out, stderr=out
        )
    one = Served(process, *ports, log, termination_log)
    try:
        one.wait_for_health(within_s=READY_WITHIN_S)
        # An open channel's threads would share the cores with what is measured.
        while one.channels:
            one.channels.pop().close()
        yield one
    finally:
        for channel in one.channels:
            channel.close()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
