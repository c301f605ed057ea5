"""Which display a run gets: by what was asked for, and by where stdout goes."""

import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from lumen_local.show.display import JsonDisplay, PlainDisplay
from lumen_local.show.events import Event


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
        # rich takes a tenth of a second to import, which pipes need not pay.
        from lumen_local.show.terminal import TerminalDisplay  # noqa: PLC0415

        return TerminalDisplay(sys.stdout, sys.stderr)
    return PlainDisplay(sys.stdout, sys.stderr)
