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
from lumen_process.settings import Environment, SettingsError
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
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> "RouterSettings":
        """Read every variable; raises SettingsError with the one that cannot be used."""
        env = Environment(variables)
        return cls(
            routes=_routes(env),
            bind=env.text("LUMEN_BIND", "0.0.0.0"),
            grpc_port=env.port("LUMEN_GRPC_PORT", 50051),
            health_port=env.port("LUMEN_HEALTH_PORT", 50052),
            metrics_port=env.port("LUMEN_METRICS_PORT", 9090),
            drain_delay_s=env.number("LUMEN_DRAIN_DELAY_S", 5.0),
            grace_s=env.number("LUMEN_GRACE_S", 25.0),
            hold_s=env.number("LUMEN_HOLD_S", HOLD_S),
            held_calls=env.whole("LUMEN_HELD_CALLS", HELD_CALLS),
            held_bytes=env.whole("LUMEN_HELD_BYTES", HELD_BYTES),
            memory_limit_bytes=env.whole("LUMEN_MEMORY_LIMIT_BYTES", 0),
            log_format=env.text("LUMEN_LOG_FORMAT", "json"),
            log_level=env.text("LUMEN_LOG_LEVEL", "info"),
        )


def _routes(env: Environment) -> FileRoutes | ClusterRoutes:
    source = env.text("LUMEN_ROUTES_FROM", "file")
    if source == "cluster":
        return ClusterRoutes(_namespace(env), env.text("KUBECONFIG"))
    if source != "file":
        raise SettingsError(f"LUMEN_ROUTES_FROM is {source!r}: choose file or cluster")
    remedy = "name the routes file to watch, or set LUMEN_ROUTES_FROM=cluster"
    return FileRoutes(Path(env.required("LUMEN_ROUTES_FILE", remedy)))


def _namespace(env: Environment) -> str:
    """Return the namespace to route, by default the pod's own."""
    own = ""
    with suppress(OSError):
        own = POD_NAMESPACE.read_text("utf-8").strip()
    namespace = env.text("LUMEN_NAMESPACE", own)
    if not namespace:
        raise SettingsError(
            "LUMEN_NAMESPACE is not set: name the namespace whose services are routed"
        )
    if len(namespace) > 63 or not re.fullmatch(NAMESPACE.regex, namespace):
        raise SettingsError(f"LUMEN_NAMESPACE is {namespace!r}: give the name of a namespace")
    return namespace
