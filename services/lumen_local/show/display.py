"""What a person, or a program, sees of a run; here the choice between the displays.

`plain.PlainDisplay` writes lines (pipes, NO_COLOR), `terminal.TerminalDisplay` adds colour and a
live block, `json_events.JsonDisplay` writes one object per event for machines.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, TextIO

from lumen_local.show.events import Event
from lumen_local.show.lines import JsonDisplay, PlainDisplay


class Output(StrEnum):
    """What `--output` takes."""

    TEXT = "text"
    JSON = "json"


class Display(Protocol):
    """Shows events. Every method raises OutputClosed when nobody reads any more."""

    def show(self, event: Event) -> None:
        """Show one event."""

    def tick(self) -> None:
        """Be called several times a second: refresh what is live, break a long silence."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def choose_display(output: Output, env: Mapping[str, str] = os.environ) -> Display:
    """Return the display that fits where stdout goes."""
    if output is Output.JSON:
        return JsonDisplay(sys.stdout, sys.stderr)
    if sys.stdout.isatty() and not env.get("NO_COLOR") and env.get("TERM", "") != "dumb":
        return _terminal(sys.stdout, sys.stderr)
    return PlainDisplay(sys.stdout, sys.stderr)


def _terminal(out: TextIO, err: TextIO) -> Display:
    # rich takes a tenth of a second to import, which pipes need not pay.
    module = importlib.import_module("lumen_local.show.terminal")
    display: Display = module.TerminalDisplay(out, err)
    return display
