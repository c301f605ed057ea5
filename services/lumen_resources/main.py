"""The init container `resources`: fetch, verify and validate, then say how it went.

Exit code 0 when every file is verified, 1 when not; 143 or 130 after SIGTERM or SIGINT, with
partial files kept for the next run.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

import orjson
import structlog

from lumen_manifest.server_config import ConfigError as UnreadableConfig
from lumen_manifest.server_config import ServerConfig
from lumen_process import http_status, lifetime, logs
from lumen_resources import termination
from lumen_resources.errors import InvalidConfig, ResourceError, StoppedError
from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.settings import ResourcesSettings
from lumen_resources.signals import stops_on_signals
from lumen_resources.sources.protocol import SourceAccess

REPORT_EVERY_S = 5.0

log = structlog.get_logger("lumen_resources")


def main() -> None:
    """Run the init container."""
    lifetime.die_with_parent()
    sys.exit(run(ResourcesSettings.from_environment(os.environ)))


def run(settings: ResourcesSettings) -> int:
    """Do the work that `settings` describe and return the exit code."""
    logs.configure(settings.log_format, settings.log_level)
    progress = Progress()
    try:
        with stops_on_signals(), _status_served(settings, progress), _reported(progress):
            model = fetch(settings, progress)
    except StoppedError as error:
        _finish(settings, termination.failure_line(error))
        log.warning("stopped", kept_bytes=progress.snapshot().bytes_done)
        return error.exit_code
    except ResourceError as error:
        _finish(settings, termination.failure_line(error))
        log.error(  # noqa: TRY400  # the sentence says it; a traceback helps nobody here
            "resources refused",
            reason=str(error.reason),
            message=error.message,
            remedy=error.remedy,
            file=error.file,
        )
        return 1
    _finish(settings, termination.success_line(model))
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
    options = FetchOptions(access=SourceAccess(token=settings.token))
    return fetch_and_verify(config, settings.cache_dir, settings.source_dir, progress, options)


def _finish(settings: ResourcesSettings, line: bytes) -> None:
    termination.write(settings.termination_log, line)


@contextlib.contextmanager
def _status_served(settings: ResourcesSettings, progress: Progress) -> Iterator[None]:
    """Answer GET /status while the work goes on; without the port the work goes on as well."""

    def status() -> tuple[str, bytes]:
        return "application/json", orjson.dumps(progress.snapshot().as_status())

    try:
        server = http_status.start_http_status(
            settings.bind, settings.metrics_port, {"/status": status}
        )
    except OSError as error:
        log.warning("status not served", port=settings.metrics_port, error=str(error))
        yield
        return
    try:
        yield
    finally:
        server.close()


@contextlib.contextmanager
def _reported(progress: Progress) -> Iterator[None]:
    """Log a line of progress every few seconds, and at each new phase."""
    done = threading.Event()

    def report() -> None:
        phase, waited = FetchPhase.STARTING, 0.0
        while not done.wait(0.5):
            now = progress.snapshot()
            waited += 0.5
            if now.phase != phase or waited >= REPORT_EVERY_S:
                phase, waited = now.phase, 0.0
                log.info("progress", **now.as_status())

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
