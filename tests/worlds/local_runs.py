"""Fake pods under a supervisor, and `lumen up` as a program of its own, read by its events."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from lumen_local.pod.machine import FreePorts
from lumen_local.pod.plans import ServicePlan
from lumen_local.pod.processes import PodPaths, pod_processes
from lumen_local.show.events import EndpointChanged, Event, ServiceLine

FAKE_SERVER = Path(__file__).parents[1] / "integration/local/fake_server.py"
BOUND_S = 90.0
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("LUMEN_", "XDG_"))}


def a_probe(service: str, **fields: object) -> dict[str, Any]:
    return {"grpc": {"port": 50052, "service": service}, "periodSeconds": 1, **fields}


def a_server(name: str, tmp_path: Path, *, habits: str = "", **fields: object) -> dict[str, Any]:
    """A container that runs fake_server.py under the probes that every model server has."""
    env = {
        "NAME": name,
        "HABITS": habits,
        "SWITCH": str(tmp_path / f"{name}.switch"),
        "DIARY": str(tmp_path / "diary"),
        "LUMEN_LOG_LEVEL": "debug",
    }
    return {
        "name": "server",
        "command": ["python3", str(FAKE_SERVER)],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "startupProbe": a_probe("home_native.v1.Inference", failureThreshold=60, timeoutSeconds=5),
        "readinessProbe": a_probe("home_native.v1.Inference", failureThreshold=1, timeoutSeconds=5),
        "livenessProbe": a_probe("liveness", failureThreshold=2, timeoutSeconds=5),
        **fields,
    }


def a_program(name: str, code: str, log_level: str = "debug") -> dict[str, Any]:
    """A container that runs a few lines of Python."""
    env = [{"name": "LUMEN_LOG_LEVEL", "value": log_level}]
    return {"name": name, "command": ["python3", "-c", code], "env": env}


def a_deployment(*containers: dict[str, Any], grace_s: int = 20) -> dict[str, Any]:
    """A Deployment whose last container is the server, those before it init containers."""
    *init, server = containers
    pod = {
        "initContainers": init,
        "containers": [server],
        "terminationGracePeriodSeconds": grace_s,
    }
    return {"spec": {"template": {"spec": pod}}}


@dataclass
class Run:
    """A supervisor at work."""

    tmp_path: Path
    events: list[Event] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[Any] | None = None

    def seen(self, kind: type, **fields: object) -> list[Any]:
        return [
            event
            for event in self.events
            if isinstance(event, kind)
            and all(getattr(event, key) == value for key, value in fields.items())
        ]

    async def until(self, kind: type, count: int = 1, **fields: object) -> Any:
        await until(lambda: len(self.seen(kind, **fields)) >= count, lambda: str(self.events))
        return self.seen(kind, **fields)[count - 1]

    def kinds(self) -> list[type]:
        """The events that a person sees."""
        return [type(event) for event in self.events if not isinstance(event, EndpointChanged)]

    def told(self, service: str = "clip") -> list[str]:
        """What the router would be told of a service's servers."""
        return [
            "gone"
            if event.endpoint is None
            else "terminating"
            if event.endpoint.terminating
            else "ready"
            if event.endpoint.ready
            else "not ready"
            for event in self.seen(EndpointChanged, service=service)
        ]

    def diary(self) -> list[str]:
        file = self.tmp_path / "diary"
        return file.read_text().splitlines() if file.exists() else []

    def switch(self, name: str, says: str) -> None:
        (self.tmp_path / f"{name}.switch").write_text(says)


async def until(
    condition: Callable[[], bool], describe: Callable[[], str] = str, bound_s: float = BOUND_S
) -> None:
    """Wait for a condition with a bound."""
    deadline = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {bound_s} s: {describe()}"
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def plan(name: str, deployment: dict[str, Any], tmp_path: Path, replicas: int = 1) -> ServicePlan:
    ports = FreePorts("127.0.0.1")

    def pod(replica: int) -> Any:
        places = PodPaths(
            pod_name=f"{name}-{replica}",
            pod_dir=tmp_path / "pods" / f"{name}-{replica}",
            cache_dir=tmp_path,
            source_dir=tmp_path,
            bind="127.0.0.1",
            python=sys.executable,
            parent_pid=os.getpid(),
            run_id=f"test-{os.getpid()}-{tmp_path.name}",
            log_level=None,
            inherited=os.environ,
        )
        return pod_processes(deployment, (), ports.take(), places)

    return ServicePlan(ServiceLine(name, "onnx", "cpu", replicas), "127.0.0.1", pod)


class Lumen:
    """`lumen up` or `lumen serve` as a program of its own, read by its JSON events."""

    def __init__(self, *arguments: str, cwd: Path, stdin: str | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lumen_cli", *arguments, "--output", "json"],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=ENVIRONMENT,
        )
        if stdin is not None:
            self.process.stdin.write(stdin.encode())
            self.process.stdin.close()
        self.events: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._text = b""
        # Only stderr is read by a thread: a test may close stdout, which a reader would hold open.
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def _read_errors(self) -> None:
        self.errors.extend(line.decode() for line in self.process.stderr)

    def _next(self, bound_s: float) -> dict[str, Any] | None:
        """Return the next event, None at the end; raises TimeoutError."""
        descriptor, deadline = self.process.stdout.fileno(), time.monotonic() + bound_s
        while b"\n" not in self._text:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TimeoutError
            data = os.read(descriptor, 65536)
            if not data:
                return None
            self._text += data
        line, self._text = self._text.split(b"\n", 1)
        self.events.append(json.loads(line))
        return self.events[-1]

    def until(self, name: str, *, bound_s: float = 60, **fields: object) -> dict[str, Any]:
        """Wait for the next event of that name and those fields."""
        deadline = time.monotonic() + bound_s
        while True:
            try:
                event = self._next(deadline - time.monotonic())
            except TimeoutError:
                event = None
            assert event is not None, f"no {name} {fields}: {self.events} {self.errors}"
            if event["event"] == name and fields.items() <= event.items():
                return event

    def until_up(self) -> str:
        """Wait until everything is ready; return the address."""
        while "address" not in (event := self.until("ready")) or "service" in event:
            pass
        return event["address"]

    def ended(self) -> int:
        """Wait for the end; return the exit code."""
        while self._next(bound_s=60) is not None:
            pass
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill whatever is left, and close our ends of its pipes."""
        family = self.family() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for child in family:
            if child.is_running():
                child.send_signal(signal.SIGKILL)
        self._reader.join(timeout=10)
        self.process.stdout.close()
        self.process.stderr.close()

    @property
    def said(self) -> str:
        return "".join(self.errors)

    def family(self) -> list[psutil.Process]:
        """All processes below, the reaper among them."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def server(self, service: str) -> psutil.Process:
        """The process of a service's model server."""
        (found,) = [
            child
            for child in self.family()
            if child.cmdline()[1:] == ["-m", "lumen_serving"] and f"/{service}-0" in child.cwd()
        ]
        return found


def tiny_service(family: str, sources: Path) -> str:
    labels = {"clip": "tiny-classes", "bioclip": "tiny-species"}[family]
    return f"""
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {{name: {family}}}
spec:
  family: {family}
  model:
    name: tiny-{family}
    runtime: onnx
    source: {{uri: "file://{sources}/models/tiny-{family}"}}
  labelSets: [{{name: {labels}}}]
  pool: cpu
"""
