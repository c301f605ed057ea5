"""The display of a terminal: colour per service, and one live block for what is under way."""

import zlib
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from lumen_local.show.display import OutputClosed, PlainDisplay, Row, progress
from lumen_local.show.events import ROUTER, Working
from lumen_process.printable import printable

# Readable on dark and on light grounds.
COLOURS = ("cyan", "magenta", "blue", "yellow", "green", "bright_blue", "bright_magenta")


class TerminalDisplay(PlainDisplay):
    """PlainDisplay with colour; the live block vanishes as its work is done."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        super().__init__(out, err)
        self._console = Console(file=out, highlight=False, soft_wrap=True)
        self._live: Live | None = None

    def tick(self) -> None:
        """Refresh the live block, or take it away when nothing is under way."""
        if not self._working:
            self.close()
            return
        if self._live is None:
            self._spinner = Spinner("dots")
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        rows = [
            Text.assemble("  ", self._name(w.service), "  ", _progress(w))
            for w in self._working.values()
        ]
        self._live.update(Group(*rows, self._spinner), refresh=True)

    def close(self) -> None:
        """Take the live block away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _write(self, row: Row) -> None:
        if row.trouble and not self._err.isatty():
            super()._write(row)
            return
        self._last_said = self._clock()
        text = Text(printable(row.text, keep="\t"), row.style)
        if row.service is not None:
            text = Text.assemble("  ", self._name(row.service), "  ", text)
        try:
            self._console.print(text)  # above the live block, if there is one
        except OSError as error:
            raise OutputClosed from error

    def _name(self, service: str) -> Text:
        # By checksum, so that a service has the same colour in every run.
        colour = COLOURS[zlib.crc32(service.encode()) % len(COLOURS)]
        return Text(f"{service:<{self._width}}", "bold" if service == ROUTER else colour)


def _progress(working: Working) -> str:
    return printable(progress(working.phase, working.progress))
