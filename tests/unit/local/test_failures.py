"""What a process's end means."""

import orjson
import pytest

from lumen_local.supervise.child import STABLE_S, Exit, failure_of, failures_after
from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import MAX_MESSAGE_BYTES, Failure, parse_termination, verified_of


def test_a_process_is_believed_when_it_names_its_failure():
    said = {"reason": "ChecksumMismatch", "message": "Bad.", "remedy": "Fetch.", "file": "a.onnx"}
    failure = failure_of(said, Exit(1), ["noise"], init=True)

    assert failure == Failure(Reason.CHECKSUM_MISMATCH, "Bad.", "Fetch.", "a.onnx")
    assert failure.final


def test_without_a_message_the_last_lines_speak():
    failure = failure_of({}, Exit(3), ["a", "b", "c", "ImportError: no onnx"], init=False)

    assert failure.reason is Reason.SERVER_CRASHED
    assert "exit code 3" in failure.message
    assert failure.message.endswith("ImportError: no onnx")
    assert not failure.final


def test_a_reason_that_nobody_knows_is_not_believed():
    said = {"reason": "Sunspots", "message": "x"}

    assert failure_of(said, Exit(1), [], init=True).reason is Reason.UNKNOWN


def test_a_kill_from_outside_suggests_that_memory_is_short():
    assert "memory" in failure_of({}, Exit(-9), [], init=False).message
    assert "SIGKILL" in failure_of({}, Exit(-9), [], init=False).message
    assert "memory" not in failure_of({}, Exit(-11), [], init=False).message


TOO_LONG = orjson.dumps({"reason": "Verified", "message": "x" * MAX_MESSAGE_BYTES})


@pytest.mark.parametrize(
    "raw", [b"", b"  \n", b"no json", b"[1]", b"{", b'"' + b"x" * 20_000, TOO_LONG]
)
def test_a_termination_log_of_anything_else_or_above_the_bound_is_empty(raw):
    assert parse_termination(raw) == {}


def test_odd_types_in_a_message_count_as_absent():
    verified = verified_of({"bytes": "many", "files": ["a", "b"], "embeddingSpace": 7})

    assert (verified.file_bytes, verified.files, verified.embedding_space) == (0, 2, "")


def test_a_source_that_is_away_may_heal_and_a_wrong_token_does_not():
    assert not Failure(Reason.SOURCE_UNREACHABLE, "").final
    assert not Failure(Reason.DISK_FULL, "").final
    assert Failure(Reason.UNAUTHORIZED, "").final


def test_failures_are_counted_afresh_after_a_stable_time():
    assert failures_after(7, uptime_s=STABLE_S - 1) == 8
    assert failures_after(7, uptime_s=STABLE_S) == 1
