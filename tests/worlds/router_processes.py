"""A router and its scripted pods as processes on loopback, which are killed at the end.

Nobody is ready yet when these yield, but for the pod, which listens.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import router_world
from ports import free_ports


@contextmanager
def a_pod(port: int, delay_s: float = 0.02, family: str = "clip") -> Iterator[subprocess.Popen]:
    """A scripted pod; it is listening when this yields."""
    command = [sys.executable, router_world.__file__, str(port), family, str(delay_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"listening\n"
            yield process
        finally:
            process.kill()


@contextmanager
def a_router(
    told: Mapping[str, str], stderr: Any = None
) -> Iterator[tuple[subprocess.Popen, list[int]]]:
    """A router that is told so, and its ports: gRPC, health, metrics; a port told as 0 is free."""
    ports = free_ports(3)
    names = ("LUMEN_GRPC_PORT", "LUMEN_HEALTH_PORT", "LUMEN_METRICS_PORT")
    whole = {
        "LUMEN_BIND": "127.0.0.1",
        "LUMEN_DRAIN_DELAY_S": "0",
        **told,
    }
    for name, port in zip(names, ports, strict=True):
        if whole.get(name, "0") == "0":
            whole[name] = str(port)
    command = [sys.executable, "-m", "lumen_router"]
    with subprocess.Popen(command, env=os.environ | whole, stderr=stderr) as process:
        try:
            yield process, ports
        finally:
            process.kill()


def write_routes(folder: Path, services: Sequence[Any], **endpoints: Sequence[int]) -> Path:
    """Replace the folder's routes by these services, whose pods are ready at ports of loopback."""
    document = {
        "services": services,
        "endpoints": {
            name: [{"address": f"127.0.0.1:{port}", "ready": True} for port in ports]
            for name, ports in endpoints.items()
        },
    }
    aside, path = folder / "routes.new", folder / "routes.json"
    aside.write_bytes(orjson.dumps(document))
    return aside.replace(path)
