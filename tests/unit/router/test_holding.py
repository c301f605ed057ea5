"""How many calls wait for a pod, and for how long."""

import itertools
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_router.errors import RouterFull
from lumen_router.upstream.pending_calls import PendingCalls, hold_at_most_s


def test_the_room_is_full_at_its_limit_and_says_when_to_come_back():
    room = PendingCalls(limit=2)

    with room.enter("clip"), room.enter("bioclip"), pytest.raises(RouterFull) as refusal:
        room.enter("clip").__enter__()

    assert refusal.value.retry_after_ms == 500
    assert room.waiting == 0


def test_waiting_calls_are_counted_per_service_and_forgotten():
    room = PendingCalls()

    with room.enter("clip"):
        with room.enter("clip"):
            assert dict(room.by_service) == {"clip": 2}
        assert dict(room.by_service) == {"clip": 1}

    assert (room.waiting, dict(room.by_service)) == (0, {})


def test_one_caller_has_its_limit_and_three_quarters_of_it_for_one_service():
    room = PendingCalls(limit=8)
    with ExitStack() as places:
        for _ in range(6):
            places.enter_context(room.enter("clip"))
        with pytest.raises(RouterFull):
            places.enter_context(room.enter("clip"))
        for _ in range(2):
            places.enter_context(room.enter("siglip"))
        with pytest.raises(RouterFull):
            places.enter_context(room.enter("siglip"))

        assert dict(room.by_service) == {"clip": 6, "siglip": 2}
    assert (room.waiting, dict(room.by_service)) == (0, {})


@pytest.mark.parametrize("address", ["10.0.0.{}", "proxy"])
def test_callers_who_fill_the_room_for_a_service_leave_a_place_in_it_to_a_newcomer(address):
    room, refused = PendingCalls(), 0
    turns = itertools.cycle((address.format(n), str(n)) for n in range(16))
    with ExitStack() as places:
        while refused < 16:
            try:
                places.enter_context(room.enter("clip", next(turns)))
                refused = 0
            except RouterFull:
                refused += 1
        places.enter_context(room.enter("clip", (address.format(99), "99")))

        assert 3072 < room.waiting <= 6144


@given(st.floats(0.001, 1000), st.floats(0, 1000))
def test_a_wait_ends_before_the_deadline_and_within_patience(remaining_s, patience_s):
    hold_s = hold_at_most_s(remaining_s, patience_s)

    assert 0 <= hold_s <= patience_s
    assert hold_s < remaining_s


def test_a_wait_uses_nearly_all_of_the_deadline():
    assert hold_at_most_s(10.0, 30.0) == pytest.approx(9.5)
    assert hold_at_most_s(0.1, 30.0) == pytest.approx(0.09)
    assert hold_at_most_s(0.0, 30.0) == 0
