"""Writing to a stream that its reader may close."""

from typing import TextIO


class OutputClosed(Exception):
    """Nobody reads our output any more."""


def write(stream: TextIO, text: str) -> None:
    """Write and flush. Raises OutputClosed when nobody reads any more."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError) as error:  # ValueError: the stream was closed on our side
        raise OutputClosed from error
