"""A request's deadline: the caller's own, or 30 seconds."""

import time

from lumen_wire.deadline import Deadline


class Context:
    def __init__(self, remaining_s: float | None) -> None:
        self._remaining_s = remaining_s

    def time_remaining(self) -> float | None:
        return self._remaining_s


def test_a_call_without_a_deadline_has_30_seconds():
    before = time.monotonic()

    assert Deadline.from_context(Context(None)).at >= before + 30


def test_the_callers_deadline_counts_even_when_it_has_passed():
    assert Deadline.from_context(Context(0.0)).expired
    assert Deadline.from_context(Context(0.0)).remaining_s() == 0.0
    assert not Deadline.from_context(Context(500.0)).expired


def test_a_deadline_can_leave_time_for_a_later_stage():
    assert Deadline(100.0).earlier_by(2.5) == Deadline(97.5)
