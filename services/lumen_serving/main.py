"""Where a model server starts and ends: settings, exit code, last words."""

import os
import sys
from pathlib import Path

import structlog

from lumen_process import lifetime, logs
from lumen_resources import termination
from lumen_resources.errors import ResourceError
from lumen_serving import running
from lumen_serving.errors import SettingsInvalid, StartError
from lumen_serving.settings import ServerSettings

log = structlog.get_logger(__name__)

FAILED = 1


def main() -> None:
    """Serve until told to stop; ends the process with 0, or 1 when the start failed."""
    lifetime.die_with_parent()
    termination_log = Path(os.environ.get("LUMEN_TERMINATION_LOG", "/dev/termination-log"))
    try:
        settings = ServerSettings.from_environment()
        _configure_logs(settings)
        running.run(settings)
        code = 0
    except (StartError, ResourceError) as failure:
        _last_words(failure, termination_log)
        code = FAILED
    # The interpreter's own end would wait for a runtime that still loads in its thread.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _configure_logs(settings: ServerSettings) -> None:
    try:
        logs.configure(settings.log_format, settings.log_level or "info")
    except ValueError as error:
        raise SettingsInvalid(
            f"{error}.", remedy="Correct LUMEN_LOG_FORMAT or LUMEN_LOG_LEVEL."
        ) from error


def _last_words(failure: StartError | ResourceError, termination_log: Path) -> None:
    """Say in the log and to the kubelet why there is no server."""
    words = termination.words_of(failure)
    log.error("the server did not start", **words, exc_info=failure.__cause__)
    termination.write(termination_log, termination.failure_line(failure))
