"""Logging, configured once in `main`: JSON in a cluster, readable on a terminal."""

import io
import logging
import os
import sys
from enum import StrEnum
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from lumen_process.printable import TOLD_MOST, printable, printable_json, told

# Its end says what happened.
TRACEBACK_MOST = 64_000


class LogFormat(StrEnum):
    """How a line looks."""

    JSON = "json"
    CONSOLE = "console"


def configure(
    format: str = LogFormat.JSON,  # noqa: A002  (what LUMEN_LOG_FORMAT calls it)
    level: str = "info",
    stream: TextIO | None = None,
) -> None:
    """Send all logs, those of the standard library included, to `stream` (default: stderr).

    Raises ValueError, with the choices, for a format or level that does not exist.
    """
    target = stream or sys.stderr
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level is {level!r}; choose debug, info, warning or error")
    if format not in {f.value for f in LogFormat}:
        raise ValueError(f"log format is {format!r}; choose json or console")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=_last_steps(LogFormat(format), target),
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    logging.captureWarnings(capture=True)


def _last_steps(format: LogFormat, target: TextIO) -> list[Processor]:  # noqa: A002
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if format is LogFormat.JSON:
        return [
            strip,
            # As text: a structured traceback holds local variables, and so callers' payloads.
            structlog.processors.format_exc_info,
            _told,
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    colors = target.isatty() and not os.environ.get("NO_COLOR")
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, pad_event_to=0, exception_formatter=_traceback
    )
    return [strip, _told, _short_time, _as_text, renderer]


def _json(value: Any, **_: Any) -> str:
    return printable_json(value, default=repr)


def _told(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep secrets and names without end out of every line, whoever wrote it."""
    most = {"exception": TRACEBACK_MOST}
    return {
        k: told(v, most.get(k, TOLD_MOST)) if isinstance(v, str) else v for k, v in event.items()
    }


def _as_text(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep what others wrote from moving a cursor; colour is the renderer's, afterwards."""
    shown = {k: printable(v, keep="\n\t") if isinstance(v, str) else v for k, v in event.items()}
    # The renderer quotes lines in values; those of the event could pass for lines of ours.
    return shown | {"event": str(shown.get("event", "")).rstrip().replace("\n", "\n    ")}


def _traceback(sio: TextIO, exc_info: Any) -> None:
    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    sio.write(printable(told(written.getvalue(), TRACEBACK_MOST), keep="\n\t"))


def _short_time(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep the time of day: a person reads along, the date is theirs."""
    stamp = event.get("timestamp")
    if isinstance(stamp, str) and len(stamp) > len("2026-01-01T00:00:00"):
        event["timestamp"] = stamp[11:19]
    return event
