"""Model servers as a pod would run them: a subprocess with the pod's environment.

`pyproject.toml` makes this module importable as `serving_servers`. A server that a
test starts dies with the test; whoever waits for one waits for its health, never for a time.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ports import free_ports

from lumen_manifest.server_config import ServerConfig
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.progress import Progress

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
INFERENCE = "home_native.v1.Inference"
WAIT_S = 60


def a_config(model_root: Path, **changes: Any) -> ServerConfig:
    """The configuration of a server for a model folder that `tiny_models.write_model` made."""
    name = model_root.name
    document: dict[str, Any] = {
        "service": name.removeprefix("tiny-"),
        "family": name.removeprefix("tiny-"),
        "model": {"name": name, "runtime": "onnx", "source": {"uri": f"file://{model_root}"}},
    }
    return ServerConfig.model_validate({**document, **changes})


@dataclass
class RunningServer:
    """A server process, where it listens, and what it wrote."""

    process: subprocess.Popen[bytes]
    grpc_port: int
    health_port: int
    metrics_port: int
    log_path: Path
    termination_log: Path
    channels: list[grpc.Channel] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def log(self) -> str:
        return self.log_path.read_text()

    def channel(self, port: int | None = None) -> grpc.Channel:
        """A channel to the gRPC port, or to another; closed with the server."""
        channel = grpc.insecure_channel(f"127.0.0.1:{port or self.grpc_port}")
        self.channels.append(channel)
        return channel

    def wait_for_health(
        self, wanted: int = SERVING, service: str = INFERENCE, within_s: float = WAIT_S
    ) -> None:
        """Return when health is as wanted; fails when the process ends, or in time."""
        stub = health_pb2_grpc.HealthStub(self.channel(self.health_port))
        watch = stub.Watch(
            health_pb2.HealthCheckRequest(service=service), timeout=within_s, wait_for_ready=True
        )
        ended = threading.Thread(target=lambda: (self.process.wait(), watch.cancel()), daemon=True)
        ended.start()
        try:
            for response in watch:
                if response.status == wanted:
                    watch.cancel()
                    return
        except grpc.RpcError as error:
            code = self.process.poll()
            raise AssertionError(
                f"the server did not become {wanted}: {error.code()}, exit {code}\n{self.log()}"
            ) from error

    def status(self) -> dict[str, Any]:
        return json.loads(self.page("/status"))

    def metrics(self) -> dict[str, float]:
        """Every sample, by its name with labels."""
        lines = [line for line in self.page("/metrics").splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def page(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.metrics_port}{path}"
        with urllib.request.urlopen(url, timeout=WAIT_S) as response:
            return response.read().decode()

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(signal_number)
        return self.process.wait(WAIT_S)


@contextlib.contextmanager
def a_server(
    config: ServerConfig,
    folder: Path,
    env: Mapping[str, str] | None = None,
    *,
    verify: bool = True,
    program: Sequence[str] = ("-m", "lumen_serving"),
) -> Iterator[RunningServer]:
    """Start a server for a configuration, with its cache and logs below `folder`.

    `verify` first does what the init container does; `program` is what the interpreter runs.
    The server is not ready yet when this yields; it is killed on the way out.
    """
    cache, termination_log = folder / "cache", folder / "termination.log"
    cache.mkdir(parents=True, exist_ok=True)
    if verify:
        fetch_and_verify(config, cache, folder, Progress())
    (folder / "server.json").write_text(config.to_json())
    ports = free_ports(3)
    told = {
        "LUMEN_CONFIG": str(folder / "server.json"),
        "LUMEN_CACHE_DIR": str(cache),
        "LUMEN_SOURCE_DIR": str(folder),
        "LUMEN_TERMINATION_LOG": str(termination_log),
        "LUMEN_GRPC_PORT": str(ports[0]),
        "LUMEN_HEALTH_PORT": str(ports[1]),
        "LUMEN_METRICS_PORT": str(ports[2]),
        "LUMEN_BIND": "127.0.0.1",
        "LUMEN_DRAIN_DELAY_S": "0",
        "LUMEN_PARENT_PID": str(os.getpid()),
        **(env or {}),
    }
    log_path = folder / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *program],
            env={**os.environ, **told},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = RunningServer(process, *ports, log_path, termination_log)
    try:
        yield server
    finally:
        for channel in server.channels:
            channel.close()
        if process.poll() is None:
            process.kill()
        process.wait(WAIT_S)
