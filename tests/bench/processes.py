"""Starts what benches measure, on the cores of the bench, and reads what it used."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

sys.path.insert(0, str(Path(__file__).parents[1]))
from ports import free_ports

READY_WITHIN_S = 180


@dataclass
class Served:
    """One started process and the ports that it listens on."""

    process: subprocess.Popen[bytes]
    grpc_port: int
    metrics_port: int

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def cpu_s(self) -> float:
        """User and system CPU seconds so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def rss_mib(self) -> float:
        """Resident memory, MiB."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20

    def metric(self, name: str) -> float:
        """Sum of a metric's samples of exactly that name."""
        total = 0.0
        for line in self._page("/metrics").splitlines():
            if line.split("{")[0].split(" ")[0] == name:
                total += float(line.rsplit(" ", 1)[1])
        return total

    def status(self) -> dict[str, Any]:
        """The process's own `/status`."""
        return json.loads(self._page("/status"))

    def _page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=10) as r:
            return r.read().decode()


@contextmanager
def served(
    module: str, env: dict[str, str], folder: Path, first: str | None = None
) -> Iterator[Served]:
    """Run `python -m MODULE` until the block ends; `first` names a module to run to its end before.

    The log goes to `{folder}/{module}.log`, which is printed when the process does not get ready.
    """
    folder.mkdir(parents=True, exist_ok=True)
    grpc_port, health_port, metrics_port = free_ports(3)
    whole = os.environ | {
        "LUMEN_GRPC_PORT": str(grpc_port),
        "LUMEN_HEALTH_PORT": str(health_port),
        "LUMEN_METRICS_PORT": str(metrics_port),
        "LUMEN_BIND": "127.0.0.1",
        "LUMEN_DRAIN_DELAY_S": "0",
        "LUMEN_TERMINATION_LOG": str(folder / f"{module}.termination"),
        "LUMEN_LOG_FORMAT": "console",
        **env,
    }
    log = folder / f"{module}.log"
    with log.open("wb") as out:
        if first is not None:
            subprocess.run([sys.executable, "-m", first], env=whole, check=True, stderr=out)
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=whole,
            stdout=out,
            stderr=out,
        )
    try:
        one = Served(process, grpc_port, metrics_port)
        _wait_until_serving(one, health_port, log)
        yield one
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_serving(one: Served, health_port: int, log: Path) -> None:
    end_s = time.monotonic() + READY_WITHIN_S
    with grpc.insecure_channel(f"127.0.0.1:{health_port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="home_native.v1.Inference")
        while time.monotonic() < end_s and one.process.poll() is None:
            try:
                if stub.Check(request, timeout=2).status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError:
                pass
            time.sleep(0.1)
    raise SystemExit(f"the process did not get ready:\n{log.read_text()[-4000:]}")
