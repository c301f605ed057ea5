from datetime import UTC, datetime, timedelta

import pytest

from lumen_operator.observe.clock import Clock

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Machine:
    """A machine whose wall clock may be set, and which may sleep."""

    def __init__(self):
        self.wall = START
        self.steady = 1000.0
        self.clock = Clock(lambda: self.wall, lambda: self.steady)

    def works(self, seconds):
        self.wall += timedelta(seconds=seconds)
        self.steady += seconds

    def is_set(self, by_s):
        self.wall += timedelta(seconds=by_s)


def test_a_clock_that_only_goes_on_was_not_set():
    machine = Machine()
    for seconds in (0.1, 300, 7200):
        machine.works(seconds)
        assert machine.clock.now() == machine.wall

    assert machine.clock.set_at is None
    assert machine.clock.set_at_s() == 0


def test_a_clock_that_is_disciplined_was_not_set():
    machine = Machine()
    for _ in range(100):
        machine.works(300)
        machine.is_set(0.15)
        machine.clock.now()

    assert machine.clock.set_at is None


@pytest.mark.parametrize("by_s", [3600, -3600, 6, -6])
def test_a_clock_that_was_set_says_when_and_goes_on_from_there(by_s):
    machine = Machine()
    machine.works(50)
    machine.is_set(by_s)
    machine.works(10)
    noticed = machine.clock.now()
    machine.works(900)

    assert machine.clock.now() == noticed + timedelta(seconds=900)
    assert machine.clock.set_at == noticed
    assert machine.clock.set_at_s() == noticed.timestamp()


def test_the_last_time_counts():
    machine = Machine()
    for _ in range(2):
        machine.works(50)
        machine.is_set(3600)
        noticed = machine.clock.now()

    assert machine.clock.set_at == noticed
