"""Several things at once: within the bound, in order, and ended by the first that fails."""

import threading

import pytest

from lumen_resources.fetch.abreast import abreast


def test_results_come_in_the_order_of_the_things_whatever_ends_first():
    turns = [threading.Event() for _ in range(3)]
    turns[2].set()

    def last_first(number, stop):
        del stop
        assert turns[number].wait(10)
        if number:
            turns[number - 1].set()
        return number * 10

    assert abreast(last_first, range(3), at_once=3) == [0, 10, 20]


def test_no_more_than_the_bound_are_at_work():
    guard, at_work, most = threading.Lock(), 0, 0
    two = threading.Barrier(2)

    def counted(number, stop):
        nonlocal at_work, most
        del stop
        with guard:
            at_work += 1
            most = max(most, at_work)
        two.wait(10)
        with guard:
            at_work -= 1
        return number

    assert abreast(counted, range(8), at_once=2) == list(range(8))
    assert most == 2


def test_the_first_failure_stops_the_others_and_is_the_one_that_is_raised():
    begun, stopped = [], []
    other_waits = threading.Event()

    def fails_or_waits(name, stop):
        begun.append(name)
        if name == "bad":
            assert other_waits.wait(10)
            raise ValueError("the cause")
        other_waits.set()
        if stop.wait(10):
            stopped.append(name)
            raise OSError("what follows from it")
        return name

    with pytest.raises(ValueError, match="the cause"):
        abreast(fails_or_waits, ["bad", "good", "never begun"], at_once=2)

    assert stopped == ["good"]
    assert sorted(begun) == ["bad", "good"]


def test_one_thing_alone_needs_no_thread_and_none_gives_nothing():
    where = abreast(lambda thing, stop: (thing, threading.current_thread()), ["a"], at_once=4)

    assert where == [("a", threading.main_thread())]
    assert abreast(lambda thing, stop: thing, [], at_once=4) == []
