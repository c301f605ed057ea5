"""What a person, or a program, sees of a run: displays that write a line for each fact.

For people results go to stdout, logs and trouble to stderr, and who waits reads within two seconds
what for, and again when that has moved: `tick` sees to it. `terminal` adds colour and a live block,
and `--output json` writes an object per event.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from lumen_local.show import events
from lumen_manifest.pod_reports import Attestation, Failure, ProgressReport
from lumen_process.printable import printable, printable_json
from lumen_process.wording import duration, size


class OutputClosed(Exception):
    """Nobody reads our output any more."""


def write(stream: TextIO, text: str) -> None:
    """Write and flush. Raises OutputClosed when nobody reads any more."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError) as error:  # ValueError: the stream was closed on our side
        raise OutputClosed from error


def progress(phase: events.ServicePhase, of: ProgressReport) -> str:
    """Say what a service is doing, and how far it is; its own word for it is the better one."""
    doing = of.phase.lower() or phase.value
    if not of.total_bytes:
        return "   ".join(part for part in (doing, of.file) if part)
    parts = [f"{doing}  {size(of.done_bytes)} / {size(of.total_bytes)}"]
    if of.rate_bytes_per_s > 0:
        parts.append(f"{size(of.rate_bytes_per_s)}/s")
    if of.eta_s is not None:
        parts.append(f"{duration(of.eta_s)} left")
    return "   ".join([*parts, *([of.file] if of.file else [])])


def attested(said: Attestation) -> str:
    """Say what a server says of itself: `onnxruntime 1.31, cpu, fp32, parity 1.0000`."""
    parts = [f"{said.runtime} {said.version}".strip(), said.device, said.precision]
    if said.parity is not None:
        parts.append(f"parity {said.parity:.4f}")
    elif said.runtime:
        parts.append("parity not checked")
    return ", ".join(part for part in parts if part)


def failure_lines(failure: Failure, retry_s: float | None) -> list[str]:
    """Say what failed, what to do, and whether it is tried again; the first line has the reason."""
    message = failure.message.splitlines() or [""]
    lines = [f"{failure.reason}  {message[0]}", *message[1:]]
    if failure.remedy:
        lines.append(failure.remedy)
    if retry_s is not None:
        lines.append(f"Trying again in {duration(retry_s)}.")
    return lines


QUIET_S = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """A line to show; `service` None means that it is about the whole run."""

    service: str | None
    text: str
    style: str = ""
    trouble: bool = False


class PlainDisplay:
    """Writes rows as plain text."""

    def __init__(
        self, out: TextIO, err: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._out = out
        self._err = err
        self._clock = clock
        self._last_said = clock()
        self._width = len(events.ROUTER)
        self._working: dict[str, events.Working] = {}
        self._progress_said: dict[str, str] = {}
        self._verified: dict[str, events.FilesVerified] = {}
        self._served: set[tuple[str, int]] = set()

    def show(self, event: events.Event) -> None:
        """Show one event."""
        for row in self._rows(event):
            self._write(row)

    def tick(self) -> None:
        """Say what is under way when nothing was said for two seconds, and only what is news."""
        if self._working and self._clock() - self._last_said >= QUIET_S:
            for work in self._working.values():
                said = progress(work.phase, work.progress)
                if self._progress_said.get(work.service) != said:
                    self._progress_said[work.service] = said
                    self._write(Row(work.service, said))

    def close(self) -> None:
        """Do nothing: every line was flushed."""

    def _rows(self, event: events.Event) -> Iterator[Row]:
        """Return what an event looks like, and remember what later ones need."""
        match event:
            case events.Starting(services=services, router=router):
                self._width = max(len(events.ROUTER), *(len(line.name) for line in services))
                parts = [*map(_service, services), *([events.ROUTER] if router else [])]
                yield Row(None, "  ".join(["Starting", *parts]))
            case events.Working(service=service):
                self._working[service] = event
            case events.FilesVerified(service=service):
                self._verified[service] = event
            case events.Ready(service=service):
                self._ended(service)
                if service != events.ROUTER:
                    yield self._ready_row(event)
            case events.AllReady():
                yield from _all_ready_rows(event)
            case events.Failed(service=service, failure=failure, retry_s=retry_s):
                self._ended(service)
                first, *rest = failure_lines(failure, retry_s)
                yield Row(service, first, "red", trouble=True)
                for line in rest:
                    yield Row("", line, trouble=True)
            case events.RunStopping() | events.Stopped():
                self._working.clear()
                yield Row(None, _end_text(event))
            case _:
                yield _notice_row(event)

    def _ended(self, service: str) -> None:
        self._working.pop(service, None)
        self._progress_said.pop(service, None)

    def _ready_row(self, event: events.Ready) -> Row:
        parts = []
        if (files := self._verified.pop(event.service, None)) is not None:
            of = files.verified
            parts.append(f"files verified ({of.files} files, {size(of.file_bytes)})")
        key = (event.service, event.replica)
        again = " again" if key in self._served else ""
        self._served.add(key)
        number = f" (replica {event.replica})" if event.replica else ""
        took = f"ready{again}{number} in {duration(event.seconds)}"
        said = attested(event.attestation)
        parts.append(f"{took}: {said}" if said else took)
        return Row(event.service, "   ".join(parts), "green")

    def _write(self, row: Row) -> None:
        self._last_said = self._clock()
        name = "" if row.service is None else f"  {row.service:<{self._width}}  "
        line = printable(f"{name}{row.text}", keep="\t")
        write(self._err if row.trouble else self._out, f"{line}\n")


def _service(line: events.ServiceLine) -> str:
    copies = f", {line.replicas} replicas" if line.replicas != 1 else ""
    return f"{line.name} ({line.runtime}, {line.accelerator}{copies})"


def _all_ready_rows(event: events.AllReady) -> Iterator[Row]:
    took = f"up in {duration(event.seconds)}"
    left = f"   without {', '.join(event.failed)}" if event.failed else ""
    yield Row(events.ROUTER if event.router else "", f"{event.address}   {took}{left}", "bold")
    yield Row(None, "Ctrl-C drains and stops.", "dim")


def _notice_row(event: events.Event) -> Row:
    match event:
        case events.NotReady(service=service):
            return Row(service, "not ready: calls wait or go elsewhere", "yellow", trouble=True)
        case events.Restarted(service=service, restarts=restarts):
            return Row(service, f"started again ({restarts})")
        case events.Warned(service=service, message=message):
            return Row(service or None, message, "yellow", trouble=True)
        case events.LogLine(service=service, text=text):
            return Row(service, f"| {text}", "dim", trouble=True)
        case _:
            raise AssertionError(event)


def _services(count: int) -> str:
    return "1 service finishes" if count == 1 else f"{count} services finish"


def _end_text(event: events.RunStopping | events.Stopped) -> str:
    if isinstance(event, events.RunStopping):
        return (
            f"Stopping  {_services(event.processes)} what is in flight. "
            "Ctrl-C again ends them at once."
        )
    took = duration(event.seconds)
    if event.killed:
        killed = ", ".join(event.killed)
        return f"Stopped   in {took}; killed after their grace period: {killed}."
    return f"Stopped   everything drained in {took}."


_NAMES: Mapping[type[events.Event], str] = {
    events.Starting: "starting",
    events.FilesVerified: "verified",
    events.Ready: "ready",
    events.NotReady: "not_ready",
    events.AllReady: "ready",
    events.Failed: "failed",
    events.Restarted: "restarted",
    events.Warned: "warning",
    events.RunStopping: "stopping",
    events.Stopped: "stopped",
}


class JsonDisplay:
    """Events on stdout; log lines on stderr, a line each."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err

    def show(self, event: events.Event) -> None:
        """Write the event."""
        if isinstance(event, events.LogLine):
            write(self._err, f"{event.service}: {printable(event.text)}\n")
        else:
            write(self._out, f"{printable_json(event_json(event))}\n")

    def tick(self) -> None:
        """Do nothing: machines need no reassurance."""

    def close(self) -> None:
        """Do nothing."""


def event_json(event: events.Event) -> Mapping[str, Any]:
    """Return an event as the documented object, without what is unknown. Pure.

    `ready` with a service is that service's; the one without is the whole run's.
    """
    fields = dataclasses.asdict(event)
    name = _NAMES.get(type(event), "")
    match event:
        case events.Working(phase=phase):
            del fields["phase"]
            said = fields.pop("progress")
            fields |= {"doing": said.pop("phase"), **said} if event.progress.phase else {}
            name = phase.value
        case events.FilesVerified():
            fields |= fields.pop("verified")
        case events.Failed(retry_s=retry_s):
            fields |= fields.pop("failure") | {"final": retry_s is None}
        case events.Ready():
            fields |= {key: value for key, value in fields.pop("attestation").items() if value}
        case _:
            pass
    return {"event": name, **{key: value for key, value in fields.items() if value is not None}}
