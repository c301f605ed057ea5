"""The operator as a process: settings from the environment, logs, a loop, an exit code.

The life inside the loop is `running`'s.
"""

import asyncio
import gc
import sys

import structlog

from lumen_operator.polling.status_poller import Reach, by_their_addresses
from lumen_operator.running import OperatorProcess
from lumen_operator.settings import OperatorSettings
from lumen_process import lifetime, logs
from lumen_process.settings import SettingsError

FAILED = 1
USAGE = 2

GC_THRESHOLD = (20_000, 20, 20)
"""What is kept of the cluster lives long and has no cycles; the defaults look through it often."""

log = structlog.get_logger(__name__)


def main(reach: Reach = by_their_addresses) -> None:
    """Operate until SIGTERM.

    Ends the process with 0, 1 when it cannot go on, 2 for bad settings, 3 when the Lease is lost.
    """
    try:
        settings = OperatorSettings.from_environment()
        logs.configure(settings.log_format, settings.log_level)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)
    try:
        run(settings, reach)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)
    except OSError as error:
        log.error("operator cannot start", why=str(error))  # noqa: TRY400 - the message says it all
        sys.exit(FAILED)


def run(settings: OperatorSettings, reach: Reach) -> None:
    """Operate until a signal ends it."""
    gc.set_threshold(*GC_THRESHOLD)
    with asyncio.Runner(loop_factory=lifetime.event_loop_factory()) as runner:
        runner.run(OperatorProcess(settings, reach).live())
