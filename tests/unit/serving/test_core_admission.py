"""Admission: what is refused, when, and what the caller is told."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_serving.errors import Overloaded, TooLate
from lumen_serving.inference.admission import Admission, AdmissionLimits
from lumen_serving.inference.costs import LatencyModel, Measured
from lumen_serving.metrics import ServerMetrics
from lumen_terms.modality import Modality
from lumen_wire.request.callers import STRANGER


def an_admission(requests=512, a_ms=90.0, b_ms=10.0, cap=10, **limits):
    return Admission(
        AdmissionLimits(requests, **limits),
        dict.fromkeys(Modality, Measured(cap, LatencyModel(a_ms, b_ms))),
        ServerMetrics(),
    )


def admit(admission, patience_s=30.0, modality=Modality.IMAGE, caller=STRANGER):
    place = admission.admit(modality, time.monotonic() + patience_s, caller)
    place.__enter__()
    return place


def leave(place):
    place.__exit__(None, None, None)


def test_requests_beyond_the_count_are_refused():
    admission = an_admission(requests=3)
    places = [admit(admission) for _ in range(3)]
    with pytest.raises(Overloaded, match="3 requests are in flight") as refused:
        admit(admission)

    # The batch that runs now should be done by then.
    assert refused.value.retry_after_ms == 280
    assert admission.in_flight == len(places)


def test_slots_share_the_work_but_no_batch_is_quicker_than_alone():
    admission = an_admission(slots=3)
    alone_s = admission.predicted_wait_s(Modality.IMAGE)
    places = [admit(admission) for _ in range(29)]

    assert alone_s == pytest.approx(0.1)
    assert admission.predicted_wait_s(Modality.IMAGE) == pytest.approx(0.91)
    assert admission.in_flight == len(places)


def test_an_idle_server_always_tries():
    admission = an_admission()
    place = admit(admission, patience_s=0.01)
    in_flight = admission.in_flight
    leave(place)

    assert (in_flight, admission.in_flight) == (1, 0)


def test_a_deadline_that_has_passed_is_too_late_even_when_idle():
    with pytest.raises(TooLate):
        admit(an_admission(), patience_s=-0.001)


def test_a_node_that_became_slow_refuses_earlier_and_recovers():
    admission = an_admission()
    as_measured = admission.predicted_wait_s(Modality.IMAGE)
    for _ in range(40):
        admission.batch_done(Modality.IMAGE, 10, 4 * 0.91)
    slow = admission.predicted_wait_s(Modality.IMAGE)
    for _ in range(40):
        admission.batch_done(Modality.IMAGE, 10, 0.91)

    assert slow == pytest.approx(4 * as_measured, rel=0.01)
    assert admission.predicted_wait_s(Modality.IMAGE) == pytest.approx(as_measured, rel=0.01)


def test_payloads_that_wait_to_be_decoded_count():
    admission = an_admission(a_ms=1.0, b_ms=0.0, decoders=2)
    for _ in range(60):
        admission.decode_begins()
        admission.decode_ended(0.1)
    for _ in range(40):
        admission.decode_begins()

    # Forty times 100 ms on two threads, and then its own.
    assert admission.predicted_wait_s(Modality.IMAGE) == pytest.approx(2.1, rel=0.01)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(Modality), st.floats(-1, 10)),
            st.integers(0, 50),
        ),
        max_size=60,
    )
)
def test_what_is_in_flight_never_passes_the_bound_and_ends_at_nothing(steps):
    admission, places = an_admission(requests=8), []
    pushbacks = []
    for step in steps:
        if isinstance(step, int):
            if places:
                leave(places.pop(step % len(places)))
            continue
        modality, patience_s = step
        try:
            places.append(admit(admission, patience_s, modality))
        except TooLate:
            assert patience_s < 0.001
        except Overloaded as refusal:
            pushbacks.append(refusal.retry_after_ms)

        assert admission.in_flight == len(places) <= 8
    for place in places:
        leave(place)

    assert all(after_ms >= 1 for after_ms in pushbacks)
    assert admission.in_flight == 0
    assert admission.predicted_wait_s(Modality.IMAGE) == pytest.approx(0.1)


def flooded(admission, callers):
    """Let the callers send in turn until nobody is admitted any more; return what they hold."""
    places, refused = [], 0
    turns = itertools.cycle(callers)
    while refused < len(callers):
        try:
            places.append(admit(admission, 1e6, caller=next(turns)))
            refused = 0
        except Overloaded:
            refused += 1
    return places


NEWCOMER = ("10.0.0.99", "1")
FLOODS = {
    "one connection": ([("10.0.0.1", "1")], NEWCOMER),
    "connections of an address": ([("10.0.0.1", str(n)) for n in range(99)], NEWCOMER),
    "connections of its own address": ([("proxy", str(n)) for n in range(16)], ("proxy", "good")),
    "addresses": ([(f"10.0.0.{n}", "1") for n in range(16)], NEWCOMER),
    "told by its router": (
        [("router", "1", f"{n}", "1") for n in range(16)],
        ("router", "1", "good", "1"),
    ),
    "names that one connection tells": (
        [("10.0.0.1", "1", f"{n}", f"{n}") for n in range(99)],
        ("10.0.0.1", "2"),
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_newcomer_beside_a_flood_finds_places_and_waits_for_a_turn_of_each_only(flood):
    attackers, newcomer = FLOODS[flood]
    admission = an_admission()
    held = flooded(admission, attackers)
    all_of_them_s = admission.predicted_wait_s(Modality.IMAGE)
    # A turn of each that holds something, the batch that runs, and its own: of ten in 0.91 s.
    turn_s = (min(len(attackers), len(held)) + 10 + 1) / 10 * 0.91 + 0.91
    places = [admit(admission, turn_s, caller=newcomer)]
    places += [admit(admission, 1e6, caller=newcomer) for _ in range(2)]

    assert 512 <= len(held) < admission.in_flight <= 1024
    assert turn_s < all_of_them_s / 2


def test_the_flood_itself_is_told_that_its_own_line_is_too_long():
    admission = an_admission()
    held = flooded(admission, [("10.0.0.1", "1")])
    newcomer = admit(admission, 3.0, caller=NEWCOMER)
    leave(held.pop())

    with pytest.raises(Overloaded, match="about 4"):
        admit(admission, 3.0, caller=("10.0.0.1", "1"))
    leave(newcomer)
    assert admission.in_flight == len(held)


@pytest.mark.parametrize("callers", [1, 4, 16])
def test_callers_who_are_all_alike_wait_for_all_that_is_in_flight(callers):
    admission = an_admission()
    places = [
        admit(admission, caller=(f"10.0.0.{caller}", "1"))
        for _ in range(32 // callers)
        for caller in range(callers)
    ]
    with pytest.raises(Overloaded) as refused:
        admit(admission, 2.5, caller=("10.0.0.0", "1"))
    places.append(admit(admission, 3.5, caller=("10.0.0.0", "1")))

    # It would be the last of three full batches and one of three: 3.01 s.
    assert refused.value.retry_after_ms in range(510, 700)
    assert admission.in_flight == len(places)
