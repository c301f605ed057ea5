"""`--output json`: one object per event and line on stdout, stable and documented."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TextIO

from lumen_local.show.events import (
    AllReady,
    Event,
    Failed,
    FilesVerified,
    LogLine,
    NotReady,
    Ready,
    Restarted,
    RunStopping,
    Starting,
    Stopped,
    Warned,
    Working,
)
from lumen_local.show.output_stream import write
from lumen_process.printable import printable, printable_json

_NAMES: Mapping[type[Event], str] = {
    Starting: "starting",
    FilesVerified: "verified",
    Ready: "ready",
    NotReady: "not_ready",
    AllReady: "ready",
    Failed: "failed",
    Restarted: "restarted",
    Warned: "warning",
    RunStopping: "stopping",
    Stopped: "stopped",
}


class JsonDisplay:
    """Events on stdout; log lines on stderr, a line each."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err

    def show(self, event: Event) -> None:
        """Write the event."""
        if isinstance(event, LogLine):
            write(self._err, f"{event.service}: {printable(event.text)}\n")
        else:
            write(self._out, f"{printable_json(event_json(event))}\n")

    def tick(self) -> None:
        """Do nothing: machines need no reassurance."""

    def close(self) -> None:
        """Do nothing."""


def event_json(event: Event) -> Mapping[str, Any]:
    """Return an event as the documented object, without what is unknown. Pure.

    `ready` with a service is that service's; the one without is the whole run's.
    """
    fields = dataclasses.asdict(event)
    name = _NAMES.get(type(event), "")
    match event:
        case Working(phase=phase):
            del fields["phase"]
            said = fields.pop("progress")
            fields |= {"doing": said.pop("phase"), **said} if event.progress.phase else {}
            name = phase.value
        case FilesVerified():
            fields |= fields.pop("verified")
        case Failed(retry_s=retry_s):
            fields |= fields.pop("failure") | {"final": retry_s is None}
        case Ready():
            fields |= {key: value for key, value in fields.pop("attestation").items() if value}
        case _:
            pass
    return {"event": name, **{key: value for key, value in fields.items() if value is not None}}
