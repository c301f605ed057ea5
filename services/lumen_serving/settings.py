"""What the process is told by its environment: ports, paths, patience.

What it serves is in the ServerConfig file that `config_path` names. Read once, in `main`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lumen_process import logs
from lumen_process.settings import Environment, SettingsError
from lumen_serving.errors import SettingsInvalid

if TYPE_CHECKING:
    from lumen_manifest.server_config import ServerConfig


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
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> "ServerSettings":
        """Read every variable.

        Raises:
            SettingsInvalid: a port or a time is not a number, or out of range.

        """
        try:
            return cls._read(Environment(variables))
        except SettingsError as error:
            # As a cause it would be logged with its frames, whose locals are the environment.
            raise SettingsInvalid(f"{error}.", remedy="Correct the variable.") from None

    @classmethod
    def _read(cls, env: Environment) -> "ServerSettings":
        return cls(
            config_path=env.path("LUMEN_CONFIG", "/etc/lumen/server.json"),
            cache_dir=env.path("LUMEN_CACHE_DIR", "/var/lib/lumen"),
            source_dir=env.path("LUMEN_SOURCE_DIR", "/mnt/source"),
            grpc_port=env.port("LUMEN_GRPC_PORT", 50051),
            health_port=env.port("LUMEN_HEALTH_PORT", 50052),
            metrics_port=env.port("LUMEN_METRICS_PORT", 9090),
            bind=env.text("LUMEN_BIND", "0.0.0.0"),
            drain_delay_s=env.number("LUMEN_DRAIN_DELAY_S", 5.0),
            grace_s=env.number("LUMEN_GRACE_S", 25.0),
            memory_limit_bytes=env.whole("LUMEN_MEMORY_LIMIT_BYTES", 0),
            log_format=env.text("LUMEN_LOG_FORMAT", "json"),
            log_level=env.text("LUMEN_LOG_LEVEL"),
            cpu_limit=env.number("LUMEN_CPU_LIMIT", 0.0) if env.text("LUMEN_CPU_LIMIT") else None,
            backend=env.text("LUMEN_BACKEND"),
            fake_delay_ms=env.number("LUMEN_FAKE_DELAY_MS", 0.0),
            advertise_ip=env.text("ADVERTISE_IP"),
        )

    def configure_logs(self, level: str) -> None:
        """Log as the environment says, by default from `level` on; raises SettingsInvalid."""
        try:
            logs.configure(self.log_format, self.log_level or level)
        except ValueError as error:
            remedy = "Correct LUMEN_LOG_FORMAT or LUMEN_LOG_LEVEL."
            raise SettingsInvalid(f"{error}.", remedy=remedy) from None

    def read_config(self) -> "ServerConfig":
        """Return what this server is told to serve.

        Raises:
            SettingsInvalid: the file is not there, or is not a configuration.

        """
        # Loads pydantic; the port is open by now.
        from lumen_manifest.server_config import ConfigError, ServerConfig  # noqa: PLC0415

        try:
            return ServerConfig.load(self.config_path)
        except ConfigError as error:
            remedy = "It is rendered from the manifest: apply the manifest anew."
            raise SettingsInvalid(str(error), remedy=remedy, file=str(self.config_path)) from None
