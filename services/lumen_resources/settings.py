"""What the init container is told by its environment, read once in `main`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from lumen_manifest.names import (
    CACHE_DIR,
    CACHE_LIMIT_ENV,
    CONFIG_PATH,
    METRICS_PORT,
    SOURCE_DIR,
    TERMINATION_LOG,
)
from lumen_process.settings import Environment


@dataclass(frozen=True, slots=True)
class ResourcesSettings:
    """Paths, the status port, how to log, and all variables: sources look for theirs in them."""

    config: Path
    cache_dir: Path
    cache_limit_bytes: int
    source_dir: Path
    termination_log: Path
    bind: str
    metrics_port: int
    log_format: str
    log_level: str
    variables: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> Self:
        """Read LUMEN_* variables; raises SettingsError for one that cannot be used."""
        env = Environment(variables)
        return cls(
            config=env.path("LUMEN_CONFIG", CONFIG_PATH),
            cache_dir=env.path("LUMEN_CACHE_DIR", CACHE_DIR),
            cache_limit_bytes=env.whole(CACHE_LIMIT_ENV, 0),
            source_dir=env.path("LUMEN_SOURCE_DIR", SOURCE_DIR),
            termination_log=env.path("LUMEN_TERMINATION_LOG", TERMINATION_LOG),
            bind=env.text("LUMEN_BIND", "0.0.0.0"),
            metrics_port=env.port("LUMEN_METRICS_PORT", METRICS_PORT),
            log_format=env.text("LUMEN_LOG_FORMAT", "json"),
            log_level=env.text("LUMEN_LOG_LEVEL", "info"),
            variables=variables,
        )
