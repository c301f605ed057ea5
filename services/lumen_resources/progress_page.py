"""What an init container shows of its work: GET /status, and a line in the log now and then."""

import contextlib
import threading
from collections.abc import Iterator

import orjson
import structlog

from lumen_process import http_status
from lumen_resources.progress import FetchPhase, Progress

REPORT_EVERY_S = 5.0
LOOK_EVERY_S = 0.5

log = structlog.get_logger("lumen_resources")


@contextlib.contextmanager
def shown(progress: Progress, bind: str, port: int) -> Iterator[None]:
    """Serve and log the progress while the work goes on; without the port the work goes on too."""
    with _served(progress, bind, port), _logged(progress):
        yield


@contextlib.contextmanager
def _served(progress: Progress, bind: str, port: int) -> Iterator[None]:
    def status() -> tuple[str, bytes]:
        return "application/json", orjson.dumps(progress.snapshot().as_status())

    try:
        server = http_status.start_http_status(bind, port, {"/status": status})
    except OSError as error:
        log.warning("status not served", port=port, error=str(error))
        yield
        return
    try:
        yield
    finally:
        server.close()


@contextlib.contextmanager
def _logged(progress: Progress) -> Iterator[None]:
    """Log a line every few seconds, and at each new phase."""
    done = threading.Event()

    def report() -> None:
        phase, waited_s = FetchPhase.STARTING, 0.0
        while not done.wait(LOOK_EVERY_S):
            now = progress.snapshot()
            waited_s += LOOK_EVERY_S
            if now.phase != phase or waited_s >= REPORT_EVERY_S:
                phase, waited_s = now.phase, 0.0
                log.info("progress", **now.as_status())

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
