"""What the init container is told by its environment, read once in `main`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lumen_manifest.names import CACHE_DIR, CONFIG_PATH, METRICS_PORT, SOURCE_DIR, TERMINATION_LOG
from lumen_resources.errors import InvalidConfig


@dataclass(frozen=True, slots=True)
class ResourcesSettings:
    """Paths, the status port, the token for the source, and how to log."""

    config: Path
    cache_dir: Path
    source_dir: Path
    termination_log: Path
    bind: str
    metrics_port: int
    log_format: str
    log_level: str
    token: str

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Self:
        """Read LUMEN_* variables; raises ConfigError for one that cannot be used."""
        port = env.get("LUMEN_METRICS_PORT", str(METRICS_PORT))
        if not port.isdigit() or int(port) > 65535:
            raise InvalidConfig(
                f"LUMEN_METRICS_PORT is {port!r}.", remedy="It must be a port from 0 to 65535."
            )
        return cls(
            config=Path(env.get("LUMEN_CONFIG", CONFIG_PATH)),
            cache_dir=Path(env.get("LUMEN_CACHE_DIR", CACHE_DIR)),
            source_dir=Path(env.get("LUMEN_SOURCE_DIR", SOURCE_DIR)),
            termination_log=Path(env.get("LUMEN_TERMINATION_LOG", TERMINATION_LOG)),
            bind=env.get("LUMEN_BIND", "0.0.0.0"),
            metrics_port=int(port),
            log_format=env.get("LUMEN_LOG_FORMAT", "json"),
            log_level=env.get("LUMEN_LOG_LEVEL", "info"),
            token=env.get("LUMEN_SOURCE_TOKEN", ""),
        )
