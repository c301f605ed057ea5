"""The init container `resources`: fetch, verify and validate, then say how it went.

Exit code 0 when every file is verified, 1 when not; 143 or 130 after SIGTERM or SIGINT, with
partial files kept for the next run.
"""

import os
import sys
from pathlib import Path

import structlog

from lumen_manifest.names import TERMINATION_LOG
from lumen_manifest.server_config import ConfigError as UnreadableConfig
from lumen_manifest.server_config import ServerConfig
from lumen_process import lifetime, logs
from lumen_resources import termination
from lumen_resources.errors import InvalidConfig, ResourceError, StoppedError
from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify
from lumen_resources.fetch.room import CacheRoom
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import Progress
from lumen_resources.progress_page import shown
from lumen_resources.settings import ResourcesSettings
from lumen_resources.signals import stops_on_signals
from lumen_resources.sources.protocol import SourceAccess

log = structlog.get_logger("lumen_resources")


def main() -> None:
    """Run the init container."""
    lifetime.die_with_parent()
    try:
        settings = ResourcesSettings.from_environment(os.environ)
        logs.configure(settings.log_format, settings.log_level)
    except ValueError as error:
        path = Path(os.environ.get("LUMEN_TERMINATION_LOG", TERMINATION_LOG))
        failure = InvalidConfig(f"{error}.", remedy="Correct the variable.")
        termination.last_words(path, failure, "resources refused")
        sys.exit(1)
    sys.exit(run(settings))


def run(settings: ResourcesSettings) -> int:
    """Do the work that `settings` describe and return the exit code."""
    progress = Progress()
    try:
        with stops_on_signals(), shown(progress, settings.bind, settings.metrics_port):
            model = fetch(settings, progress)
    except StoppedError as error:
        termination.write(settings.termination_log, termination.failure_line(error))
        log.warning("stopped", kept_bytes=progress.snapshot().bytes_done)
        return error.exit_code
    except ResourceError as error:
        termination.last_words(settings.termination_log, error, "resources refused")
        return 1
    termination.write(settings.termination_log, termination.success_line(model))
    for warning in model.warnings:
        log.warning("resources warning", message=warning)
    log.info(
        "resources verified",
        model=model.model_id,
        revision=model.revision[:12],
        digest=model.digest[:12],
        embedding_space=model.embedding_space[:12],
        files=model.file_count,
        bytes=model.bytes,
    )
    return 0


def fetch(settings: ResourcesSettings, progress: Progress) -> VerifiedModel:
    """Read the configuration and bring its model here."""
    try:
        config = ServerConfig.load(settings.config)
    except UnreadableConfig as error:
        raise InvalidConfig(
            str(error),
            remedy="It is rendered from the manifest: apply the manifest anew.",
            file=str(settings.config),
        ) from error
    options = FetchOptions(
        access=SourceAccess.from_environment(settings.variables),
        room=CacheRoom(settings.cache_dir, settings.cache_limit_bytes),
    )
    return fetch_and_verify(config, settings.cache_dir, settings.source_dir, progress, options)
