"""Logs: one JSON object a line, or a readable line; never a caller's payload."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from lumen_process import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def configured(log_format: str) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(log_format, "info", stream)
    return stream


def test_a_json_line_has_a_constant_event_and_its_fields():
    stream = configured("json")

    with structlog.contextvars.bound_contextvars(request_id="7"):
        structlog.get_logger("lumen.test").info("batch done", size=8)

    line = json.loads(stream.getvalue())
    del line["timestamp"]
    assert line == {
        "event": "batch done",
        "size": 8,
        "request_id": "7",
        "level": "info",
        "logger": "lumen.test",
    }


def test_the_standard_librarys_logs_take_the_same_way():
    stream = configured("json")

    logging.getLogger("some.library").warning("odd %s", "thing")
    logging.getLogger("some.library").debug("not asked for")

    [line] = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "odd thing"
    assert json.loads(line)["logger"] == "some.library"


def decoded(payload: str) -> None:
    raise ValueError(len(payload))


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_logged_failure_holds_no_local_variables(log_format):
    stream = configured(log_format)
    payload = "a caller's picture"

    try:
        decoded(payload)
    except ValueError:
        structlog.get_logger("lumen.test").exception("failed")

    assert "ValueError: 18" in stream.getvalue()
    assert payload not in stream.getvalue()


def test_a_terminal_gets_colour_unless_no_color_is_set_and_a_file_none(monkeypatch):
    def line(stream: io.StringIO) -> str:
        logs.configure("console", "info", stream)
        structlog.get_logger("lumen.test").info("ready")
        return stream.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in line(Terminal())
    assert "\x1b[" not in line(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in line(Terminal())
    assert "ready" in line(Terminal())


def test_a_level_or_format_that_does_not_exist_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="debug, info, warning or error"):
        logs.configure("json", "loud")
    with pytest.raises(ValueError, match="json or console"):
        logs.configure("xml", "info")


HOSTILE = "a\x1b[2Jb\x9b31m\u202e"


@pytest.mark.parametrize("format", ["json", "console"])
def test_what_others_wrote_is_text_in_a_log(format):  # noqa: A002
    stream = Terminal()
    logs.configure(format, "info", stream)
    log = structlog.get_logger("lumen.test")

    log.info("refused", file=HOSTILE, files=[HOSTILE], error=ValueError(HOSTILE))
    log.info(HOSTILE)
    logging.getLogger("a.library").warning("%s", HOSTILE)
    try:
        int(HOSTILE + "\x1b[2J")
    except ValueError as error:
        log.exception("failed", exc_info=OSError(f"{error}: {HOSTILE}"))

    written = stream.getvalue()
    assert "\x1b[2J" not in written
    assert "\x9b" not in written
    assert "\u202e" not in written


def test_a_line_inside_of_an_event_cannot_pass_for_a_line_of_its_own():
    stream = configured("console")

    logging.getLogger("a.library").warning("first\n12:00:00 [info] second\n")

    first, second = stream.getvalue().splitlines()
    assert "first" in first
    assert second.startswith("    12:00:00")


def test_a_file_name_that_is_not_utf_8_does_not_lose_its_line():
    stream = configured("json")

    structlog.get_logger("lumen.test").info("skipped", file="caf\udce9.png")

    assert json.loads(stream.getvalue())["file"] == "caf\udce9.png"
