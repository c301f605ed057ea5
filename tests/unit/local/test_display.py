"""What a run looks like in a pipe and to a program."""

import io
import json

import pytest

from lumen_local.show import events
from lumen_local.show.display import JsonDisplay, OutputClosed, PlainDisplay
from lumen_local.show.terminal import TerminalDisplay
from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import Attestation, Failure, ProgressReport, Verified

VERIFIED = Verified("5a7c1e0", "d1", "space", file_bytes=5_104_000, files=4)
SAID = Attestation("onnxruntime", "1.31", "cpu", "fp32", parity=1.0, tasks=("clip_classify",))
SAID_TEXT = "onnxruntime 1.31, cpu, fp32, parity 1.0000"
BAD = Failure(Reason.CHECKSUM_MISMATCH, "vision.onnx is damaged.", "Run again.", "vision.onnx")
STARTING = events.Starting(
    (events.ServiceLine("clip", "onnx", "cpu"), events.ServiceLine("bioclip", "onnx", "cpu", 2)),
    "127.0.0.1:50051",
    router=True,
    state_dir="/state",
)
READY = events.Ready("clip", 0, 0.94, "127.0.0.1:4", SAID)
EVENTS = (
    STARTING,
    events.Working("clip", events.ServicePhase.FETCHING),
    events.FilesVerified("clip", VERIFIED, 0.3),
    events.Working("clip", events.ServicePhase.LOADING),
    READY,
    events.Ready("router", 0, 0.5, "127.0.0.1:50051", Attestation()),
    events.Failed("bioclip", "resources", 0, BAD, None),
    events.AllReady("127.0.0.1:50051", router=True, seconds=2.5, failed=("bioclip",)),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(*happened: object, kind: type = PlainDisplay) -> tuple[str, str]:
    """Return what is written to stdout and to stderr."""
    out, err = io.StringIO(), io.StringIO()
    display = kind(out, err)
    for event in happened:
        display.show(event)
    return out.getvalue(), err.getvalue()


def test_a_start_reads_as_the_transcript_promises():
    out, err = shown(*EVENTS)

    assert out.splitlines() == [
        "Starting  clip (onnx, cpu)  bioclip (onnx, cpu, 2 replicas)  router",
        f"  clip     files verified (4 files, 5.1 MB)   ready in 0.9 s: {SAID_TEXT}",
        "  router   127.0.0.1:50051   up in 2.5 s   without bioclip",
        "Ctrl-C drains and stops.",
    ]
    assert err.splitlines() == [
        "  bioclip  ChecksumMismatch  vision.onnx is damaged.",
        "           Run again.",
    ]


def test_what_goes_on_afterwards_is_told_too():
    out, err = shown(
        READY,
        events.NotReady("clip", 0),
        events.Failed("clip", "server", 0, Failure(Reason.SERVER_CRASHED, "It ended."), 0.5),
        events.Restarted("clip", 0, 1),
        READY,
        events.LogLine("clip", "hello"),
        events.Warned("clip", "careful"),
        events.RunStopping(3),
        events.Stopped(0.2),
        events.Stopped(9.0, ("clip",)),
    )

    assert "ready again in 0.9 s" in out
    assert "Stopping  3 services" in out
    assert "everything drained in 0.2 s" in out
    assert "killed after their grace period: clip" in out
    assert "| hello" in err
    assert "Trying again in 0.5 s." in err
    assert "not ready" in err


def test_a_silence_is_broken_after_two_seconds_and_only_while_something_is_under_way():
    out, now = io.StringIO(), [0.0]
    display = PlainDisplay(out, io.StringIO(), lambda: now[0])
    display.show(
        events.Working(
            "clip",
            events.ServicePhase.FETCHING,
            ProgressReport("Fetching", 812_000_000, 1_700_000_000, 92e6, 10),
        )
    )
    now[0] = 1.9
    display.tick()
    early = out.getvalue()
    now[0] = 2.1
    display.tick()
    display.tick()
    late = out.getvalue()
    display.show(READY)
    now[0] = 60
    display.tick()

    assert early == ""
    assert late.splitlines() == ["  clip    fetching  812 MB / 1.7 GB   92.0 MB/s   10 s left"]
    assert len(out.getvalue().splitlines()) == 2


def test_what_takes_long_without_any_news_is_said_once():
    out, now = io.StringIO(), [0.0]
    display = PlainDisplay(out, io.StringIO(), lambda: now[0])
    loading = events.Working("clip", events.ServicePhase.LOADING)
    for again in (loading, loading, READY, loading):
        display.show(again)
        for _ in range(10):
            now[0] += 2.1
            display.tick()

    assert [line.split()[:2] for line in out.getvalue().splitlines()] == [
        ["clip", "loading"],
        ["clip", "ready"],
        ["clip", "loading"],
    ]


def test_a_program_reads_one_object_per_event():
    end = (events.LogLine("clip", "hello"), events.RunStopping(1), events.Stopped(0.1))
    out, err = shown(*EVENTS, *end, kind=JsonDisplay)
    told = [json.loads(line) for line in out.splitlines()]

    assert [event["event"] for event in told] == [
        *("starting", "fetching", "verified", "loading", "ready", "ready", "failed", "ready"),
        *("stopping", "stopped"),
    ]
    assert told[-3] == {
        "event": "ready",
        "address": "127.0.0.1:50051",
        "router": True,
        "seconds": 2.5,
        "failed": ["bioclip"],
    }
    assert told[2]["files"] == 4
    assert told[4]["parity"] == 1.0
    assert told[6]["reason"] == "ChecksumMismatch"
    assert told[6]["final"] is True
    assert err == "clip: hello\n"


def test_a_terminal_sees_the_same_words():
    out = Terminal()
    display = TerminalDisplay(out, out)
    for event in EVENTS:
        display.show(event)
        display.tick()
    display.close()

    assert "files verified (4 files, 5.1 MB)" in out.getvalue()
    assert "\x1b[" in out.getvalue()


HOSTILE = "[/b]\x1b]0;t\x07 \x9b2J\nready"


@pytest.mark.parametrize("kind", [PlainDisplay, TerminalDisplay, JsonDisplay])
def test_what_others_wrote_is_shown_as_text(kind):
    out = Terminal()
    display = kind(out, out)
    at_work = ProgressReport("Fetching", total_bytes=9, file=HOSTILE)
    failed = Failure(Reason.CHECKSUM_MISMATCH, HOSTILE.replace("\n", ""), HOSTILE, HOSTILE)
    for event in (
        events.Working("clip", events.ServicePhase.FETCHING, at_work),
        events.Warned("clip", HOSTILE),
        events.LogLine("clip", HOSTILE),
        events.Failed("bioclip", "resources", 0, failed, None),
    ):
        display.show(event)
        display.tick()
    display.close()

    written = out.getvalue()
    assert "\x1b]" not in written
    assert "\x07" not in written
    assert "\x9b" not in written
    assert not any(line.startswith("ready") for line in written.splitlines())
    assert "[/b]" in written


@pytest.mark.parametrize("kind", [PlainDisplay, JsonDisplay])
def test_a_closed_pipe_is_found_out(kind):
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(OutputClosed):
        kind(Closed(), io.StringIO()).show(STARTING)
