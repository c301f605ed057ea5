"""Which pod gets a call, and how many retries there are."""

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_manifest.spec.enums import Family
from lumen_router.routes.table import Service
from lumen_router.upstream.policy import (
    ALL_COMPARED,
    RetryBudget,
    choose_least_outstanding,
    choose_weighted,
)
from lumen_router.upstream.registry import BackendPool, CallRequirements
from lumen_wire.tasks import TaskKind


@dataclass
class APod:
    outstanding: int = 0


def some_pods(*outstanding: int) -> list[APod]:
    return [APod(count) for count in outstanding]


loads = st.lists(st.integers(0, 50), min_size=1, max_size=30)


def test_there_is_no_choice_among_no_pods():
    assert choose_least_outstanding([], random.Random(1).randrange) is None


@given(st.lists(st.integers(0, 50), min_size=1, max_size=ALL_COMPARED), st.randoms())
def test_up_to_eight_pods_the_least_busy_is_always_found(outstanding, rng):
    pods = some_pods(*outstanding)

    chosen = choose_least_outstanding(pods, rng.randrange)

    assert chosen is not None
    assert min(outstanding) == chosen.outstanding


@given(loads, st.randoms())
def test_of_many_pods_the_busiest_is_never_chosen_when_it_stands_alone(outstanding, rng):
    busiest = APod(max(outstanding) + 1)
    pods = [*some_pods(*outstanding), busiest]

    chosen = choose_least_outstanding(pods, rng.randrange)

    assert chosen is not busiest


@pytest.mark.parametrize("count", [2, 3, ALL_COMPARED, ALL_COMPARED + 1, 20])
def test_equally_busy_pods_share_the_calls(count):
    rng = random.Random(7)
    pods = some_pods(*[0] * count)

    hits = Counter(id(choose_least_outstanding(pods, rng.randrange)) for _ in range(400 * count))

    assert count == len(hits)
    assert min(hits.values()) > 280
    assert max(hits.values()) < 520


@given(st.integers(1, 30), st.integers(1, 400), st.randoms())
def test_calls_that_never_end_spread_evenly(count, calls, rng):
    pods = some_pods(*[0] * count)

    for _ in range(calls):
        chosen = choose_least_outstanding(pods, rng.randrange)
        assert chosen is not None
        chosen.outstanding += 1

    spread = max(p.outstanding for p in pods) - min(p.outstanding for p in pods)
    assert calls == sum(pod.outstanding for pod in pods)
    if count <= ALL_COMPARED:
        assert spread <= 1


@pytest.mark.parametrize(
    ("weights", "roll", "index"),
    [
        ([100], 0.0, 0),
        ([90, 10], 0.89, 0),
        ([90, 10], 0.91, 1),
        ([0, 10], 0.0, 1),
        ([10, 0], 0.999999, 0),
        ([0, 0], 0.5, None),
        ([], 0.5, None),
    ],
)
def test_a_roll_falls_on_a_weights_share(weights, roll, index):
    assert index == choose_weighted(weights, roll)


@given(st.lists(st.integers(0, 100), max_size=6), st.floats(0, 1, exclude_max=True))
def test_a_weight_of_zero_gets_nothing(weights, roll):
    index = choose_weighted(weights, roll)

    assert (index is None) == (sum(weights) == 0)
    assert index is None or weights[index] > 0


def test_a_burst_of_retries_is_saved_up_and_then_a_fifth_of_the_calls():
    budget = RetryBudget()
    burst = 0
    while budget.spend():
        burst += 1

    retries = 0
    for _ in range(1000):
        budget.earn()
        retries += budget.spend()

    assert burst == 50
    assert 199 <= retries <= 200


@given(st.lists(st.booleans()))
def test_the_budget_is_never_negative_nor_above_its_burst(steps):
    budget = RetryBudget()

    for earns in steps:
        if earns:
            budget.earn()
        else:
            budget.spend()
        assert 0 <= budget.tokens <= budget.burst


def test_spaces_that_nobody_offers_are_not_remembered():
    pods = BackendPool(Service("clip", Family.CLIP), lambda: None)

    found = [
        pods.choose(CallRequirements(TaskKind.CLASSIFY, f"space-{n}"), frozenset())
        for n in range(1000)
    ]

    assert set(found) == {None}
    assert len(pods._candidates) == 0
