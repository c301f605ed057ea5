"""What the process is told by its environment: ports, paths, patience.

What it serves is in the ServerConfig file that `config_path` names. Read once, in `main`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lumen_serving.errors import SettingsInvalid


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The environment of one model server.

    `backend` overrides the runtime of the configuration (`fake` serves without any model runtime,
    for trials and tests); `cpu_limit` is None, `log_level` empty and
    `memory_limit_bytes` 0 when nobody said.
    """

    config_path: Path
    cache_dir: Path
    source_dir: Path
    termination_log: Path
    grpc_port: int
    health_port: int
    metrics_port: int
    bind: str
    drain_delay_s: float
    grace_s: float
    memory_limit_bytes: int
    log_format: str
    log_level: str
    cpu_limit: float | None
    backend: str
    fake_delay_ms: float
    advertise_ip: str

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> "ServerSettings":
        """Read every variable.

        Raises:
            SettingsInvalid: a port or a time is no number, or out of range.

        """
        cpu_limit = env.get("LUMEN_CPU_LIMIT", "")
        return cls(
            config_path=Path(env.get("LUMEN_CONFIG", "/etc/lumen/server.json")),
            cache_dir=Path(env.get("LUMEN_CACHE_DIR", "/var/lib/lumen")),
            source_dir=Path(env.get("LUMEN_SOURCE_DIR", "/mnt/source")),
            termination_log=Path(env.get("LUMEN_TERMINATION_LOG", "/dev/termination-log")),
            grpc_port=_port(env, "LUMEN_GRPC_PORT", 50051),
            health_port=_port(env, "LUMEN_HEALTH_PORT", 50052),
            metrics_port=_port(env, "LUMEN_METRICS_PORT", 9090),
            bind=env.get("LUMEN_BIND", "0.0.0.0"),
            drain_delay_s=_number(env, "LUMEN_DRAIN_DELAY_S", 5.0),
            grace_s=_number(env, "LUMEN_GRACE_S", 25.0),
            memory_limit_bytes=int(_number(env, "LUMEN_MEMORY_LIMIT_BYTES", 0.0)),
            log_format=env.get("LUMEN_LOG_FORMAT", "json"),
            log_level=env.get("LUMEN_LOG_LEVEL", ""),
            cpu_limit=_number(env, "LUMEN_CPU_LIMIT", 0.0) if cpu_limit else None,
            backend=env.get("LUMEN_BACKEND", ""),
            fake_delay_ms=_number(env, "LUMEN_FAKE_DELAY_MS", 0.0),
            advertise_ip=env.get("ADVERTISE_IP", ""),
        )


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise SettingsInvalid(
            f"The variable {name} is '{text}'.", remedy="Set it to a number that is not negative."
        )
    return value


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    value = _number(env, name, default)
    if value != int(value) or value > 65535:
        raise SettingsInvalid(
            f"The variable {name} is '{env[name]}'.", remedy="Set it to a port, 0 to 65535."
        )
    return int(value)
