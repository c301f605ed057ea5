"""What the router is told at its start: ports, where routes come from, patience.

Read once, in `main`.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lumen_manifest.spec.field_types import NAMESPACE
from lumen_router.errors import RouterSettingsError
from lumen_router.upstream.pending_calls import HELD_CALLS, HOLD_S

HELD_BYTES = 256 * 1024 * 1024
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class FileRoutes:
    """Routes come from a file that somebody else keeps."""

    path: Path


@dataclass(frozen=True, slots=True)
class ClusterRoutes:
    """Routes come from a namespace; an empty `kubeconfig` means the pod's own credentials."""

    namespace: str
    kubeconfig: str = ""


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """The router's settings; every one is an environment variable."""

    routes: FileRoutes | ClusterRoutes
    bind: str
    grpc_port: int
    health_port: int
    metrics_port: int
    drain_delay_s: float
    grace_s: float
    hold_s: float
    held_calls: int
    held_bytes: int
    memory_limit_bytes: int
    log_format: str
    log_level: str

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> "RouterSettings":
        """Read every variable; raises SettingsError with the one that cannot be used."""
        return cls(
            routes=_routes(env),
            bind=env.get("LUMEN_BIND", "0.0.0.0"),
            grpc_port=_port(env, "LUMEN_GRPC_PORT", 50051),
            health_port=_port(env, "LUMEN_HEALTH_PORT", 50052),
            metrics_port=_port(env, "LUMEN_METRICS_PORT", 9090),
            drain_delay_s=_number(env, "LUMEN_DRAIN_DELAY_S", 5.0),
            grace_s=_number(env, "LUMEN_GRACE_S", 25.0),
            hold_s=_number(env, "LUMEN_HOLD_S", HOLD_S),
            held_calls=int(_number(env, "LUMEN_HELD_CALLS", HELD_CALLS)),
            held_bytes=int(_number(env, "LUMEN_HELD_BYTES", HELD_BYTES)),
            memory_limit_bytes=int(_number(env, "LUMEN_MEMORY_LIMIT_BYTES", 0.0)),
            log_format=env.get("LUMEN_LOG_FORMAT", "json"),
            log_level=env.get("LUMEN_LOG_LEVEL", "info"),
        )


def _routes(env: Mapping[str, str]) -> FileRoutes | ClusterRoutes:
    source = env.get("LUMEN_ROUTES_FROM") or "file"
    if source == "cluster":
        return ClusterRoutes(_namespace(env), env.get("KUBECONFIG", ""))
    if source != "file":
        raise RouterSettingsError(f"LUMEN_ROUTES_FROM is {source!r}: choose file or cluster")
    path = env.get("LUMEN_ROUTES_FILE", "")
    if not path:
        raise RouterSettingsError(
            "LUMEN_ROUTES_FILE is not set: name the routes file to watch,"
            " or set LUMEN_ROUTES_FROM=cluster"
        )
    return FileRoutes(Path(path))


def _namespace(env: Mapping[str, str]) -> str:
    """Return the namespace to route, by default the pod's own."""
    namespace = env.get("LUMEN_NAMESPACE", "")
    if not namespace:
        with suppress(OSError):
            namespace = POD_NAMESPACE.read_text("utf-8").strip()
    if not namespace:
        raise RouterSettingsError(
            "LUMEN_NAMESPACE is not set: name the namespace whose services are routed"
        )
    if len(namespace) > 63 or not re.fullmatch(NAMESPACE.regex, namespace):
        raise RouterSettingsError(f"LUMEN_NAMESPACE is {namespace!r}: give the name of a namespace")
    return namespace


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    port = _number(env, name, default)
    if port > 65535 or port != int(port):
        raise RouterSettingsError(f"{name} is {env[name]!r}: give a port, 0 to 65535")
    return int(port)


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise RouterSettingsError(f"{name} is {text!r}: give a number that is not negative")
    return number
