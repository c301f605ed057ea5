"""What the operator is told at its start: names, images, patience. Read once, in `main`."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from lumen_manifest.names import GROUP, VERSION
from lumen_manifest.node_pool import LumenNodePool, default_pools
from lumen_manifest.reading.parse import ManifestError, parse_object
from lumen_manifest.render.context import Images
from lumen_operator.children.desired import OperatorContext
from lumen_operator.observe.networks import ExternalNetworks
from lumen_process.settings import Environment, SettingsError

WORKERS_MAX = 256
DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The operator's settings; every one is an environment variable.

    `watch_namespace` is empty when every namespace is watched. `identity` is how the Lease names
    this process: the pod's name, so that a container that was restarted leads again at once.
    """

    context: OperatorContext
    watch_namespace: str
    identity: str
    lease_name: str
    pools: tuple[LumenNodePool, ...]
    bind: str
    health_port: int
    metrics_port: int
    workers: int
    resync_s: float
    audit_s: float
    log_format: str
    log_level: str

    @property
    def namespace(self) -> str:
        """The namespace that the operator itself lives in, with its Lease."""
        return self.context.operator_namespace

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> "OperatorSettings":
        """Read every variable; raises SettingsError with the one that cannot be used."""
        env = Environment(variables)
        return cls(
            context=_context(env),
            watch_namespace=env.text("LUMEN_WATCH_NAMESPACE"),
            identity=env.text("LUMEN_POD_NAME") or f"{socket.gethostname()}_{os.urandom(4).hex()}",
            lease_name=env.text("LUMEN_LEASE_NAME", "lumen-operator"),
            pools=_pools(env.text("LUMEN_DEFAULT_POOLS")),
            bind=env.text("LUMEN_BIND", "0.0.0.0"),
            health_port=env.port("LUMEN_HEALTH_PORT", 8081),
            metrics_port=env.port("LUMEN_METRICS_PORT", 9090),
            workers=env.whole("LUMEN_WORKERS", 16, least=1, most=WORKERS_MAX),
            resync_s=env.number("LUMEN_RESYNC_S", 300, least=1, most=DAY_S),
            audit_s=env.number("LUMEN_AUDIT_S", 300, least=1, most=DAY_S),
            log_format=env.text("LUMEN_LOG_FORMAT", "json"),
            log_level=env.text("LUMEN_LOG_LEVEL", "info"),
        )


def _context(env: Environment) -> OperatorContext:
    built_in = Images()
    return OperatorContext(
        images=Images(
            prefix=env.text("LUMEN_IMAGE_PREFIX", built_in.prefix),
            tag=env.text("LUMEN_IMAGE_TAG", built_in.tag),
            pull_policy=env.text("LUMEN_IMAGE_PULL_POLICY", built_in.pull_policy),
        ),
        operator_namespace=env.text("LUMEN_OPERATOR_NAMESPACE", "lumen"),
        monitoring_namespace=env.text("LUMEN_MONITORING_NAMESPACE", "monitoring"),
        source_env=_source_env(env.text("LUMEN_SOURCE_ENV")),
        external_networks=_networks(env.text("LUMEN_EXTERNAL_NETWORKS")),
        drain_delay_s=env.whole("LUMEN_DRAIN_DELAY_S", 5, most=DAY_S),
        grace_s=env.whole("LUMEN_GRACE_S", 25, most=DAY_S),
    )


def _source_env(text: str) -> Mapping[str, str]:
    document = _json("LUMEN_SOURCE_ENV", text or "{}")
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise SettingsError(
            "LUMEN_SOURCE_ENV is not a JSON object of texts:"
            ' give for example {"HF_ENDPOINT": "https://hub.example"}'
        )
    return document


def _networks(text: str) -> ExternalNetworks:
    document = _json("LUMEN_EXTERNAL_NETWORKS", text or "[]")
    if not isinstance(document, list) or not all(isinstance(each, str) for each in document):
        raise SettingsError(
            "LUMEN_EXTERNAL_NETWORKS is not a JSON list of networks:"
            ' give for example ["192.168.7.0/24"]'
        )
    try:
        return ExternalNetworks.parse(document)
    except ValueError as error:
        raise SettingsError(
            f"LUMEN_EXTERNAL_NETWORKS: {error}: write a network such as 192.168.7.0/24 or fd00::/64"
        ) from error


def _pools(text: str) -> tuple[LumenNodePool, ...]:
    """Parse the pools to create where they are missing; empty text means the built-in four."""
    if not text:
        return default_pools()
    document = _json("LUMEN_DEFAULT_POOLS", text)
    if not isinstance(document, list):
        raise SettingsError(
            'LUMEN_DEFAULT_POOLS is not a JSON list: give [{"name": "cpu", "spec": {...}}] or []'
        )
    return tuple(_pool(each) for each in document)


def _pool(entry: Any) -> LumenNodePool:
    if not isinstance(entry, dict) or not entry.keys() <= {"name", "spec"}:
        raise SettingsError("LUMEN_DEFAULT_POOLS: every entry is an object of name and spec")
    manifest = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "LumenNodePool",
        "metadata": {"name": entry.get("name", "")},
        "spec": entry.get("spec", {}),
    }
    try:
        found = parse_object(manifest)
    except ManifestError as error:
        raise SettingsError(f"LUMEN_DEFAULT_POOLS: {error}") from error
    assert isinstance(found, LumenNodePool)
    return found


def _json(name: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"{name} is not JSON: {error}") from error
