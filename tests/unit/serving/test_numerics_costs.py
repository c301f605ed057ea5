"""The cost curve and the batch cap, from made-up and from replayed timings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_serving.inference.costs import (
    BatchTiming,
    LatencyModel,
    chosen_cap,
    fitted,
    measure_batches,
    sizes_up_to,
)

times = st.floats(0.01, 5000)


@given(a=st.floats(0.01, 100), b=st.floats(0, 500))
def test_a_straight_line_is_found_again(a, b):
    curve = fitted([BatchTiming(n, a * n + b) for n in (1, 2, 4, 8, 16)])

    assert curve.a_ms == pytest.approx(a, rel=1e-3, abs=1e-3)
    assert curve.b_ms == pytest.approx(b, rel=1e-3, abs=1e-3)


@given(st.lists(st.tuples(st.integers(1, 64), times), min_size=1, max_size=8))
def test_any_timings_give_a_curve_that_never_falls_below_nothing(pairs):
    curve = fitted([BatchTiming(n, ms) for n, ms in pairs])

    assert curve.a_ms >= 0
    assert curve.b_ms >= 0
    assert curve.predict_ms(1) > 0


def test_one_sample_gives_a_line_through_the_origin():
    assert fitted([BatchTiming(4, 20.0)]) == LatencyModel(5.0, 0.0)


def cap_of(rates):
    return chosen_cap([BatchTiming(n, 1000 * n / rate) for n, rate in rates.items()])


def test_the_cap_is_the_smallest_size_within_five_percent_of_the_best():
    assert cap_of({1: 2.7, 2: 3.3, 4: 3.8, 8: 3.9, 32: 3.0}) == 4
    assert cap_of({1: 500, 8: 900, 16: 980, 32: 1000, 64: 1010}) == 16


def test_short_batches_are_as_large_as_costs_nothing():
    assert cap_of({1: 36, 2: 36, 4: 35.5, 8: 37.5}) == 8
    # Eight would take 0.4 s.
    assert cap_of({1: 18.7, 2: 20.0, 4: 20.2, 8: 20.2}) == 4
    # A busy warm-up sees nothing of what batches gain.
    assert cap_of({1: 36, 2: 36, 4: 36.4, 8: 36.4}) == 8
    assert cap_of({1: 100, 2: 120, 4: 119, 8: 100}) == 4
    assert cap_of({1: 100, 2: 80, 4: 70, 8: 60}) == 1


class Slow:
    """A model that takes as long as `ms_of` says, what it was asked, and the time it sees."""

    def __init__(self, ms_of):
        self.ms_of, self.asked, self.now = ms_of, [], 0.0

    def run(self, size):
        self.asked.append(size)
        self.now += self.ms_of(size) / 1000


@pytest.mark.parametrize(
    ("ms_of", "sizes", "budget_s", "tried", "caps"),
    [
        pytest.param(lambda _: 4, sizes_up_to(16), 5, [1, 2, 4, 8, 16], {16}, id="fixed cost"),
        pytest.param(lambda _: 3, sizes_up_to(6), 5, [1, 2, 4, 6], {6}, id="no power of two"),
        pytest.param(lambda n: n, sizes_up_to(64), 5, [1, 2, 4, 8], {8}, id="nothing gained"),
        # A processor that has nothing of two or four items, and much of eight.
        pytest.param(
            lambda n: n if n < 8 else 0.8 * n,
            sizes_up_to(16),
            5,
            [1, 2, 4, 8, 16],
            {8},
            id="late gain",
        ),
        pytest.param(lambda n: 20 * n, sizes_up_to(64), 0.001, [1, 2, 4], {4}, id="slow model"),
        pytest.param(lambda n: 2000 * n, sizes_up_to(64), 0.1, [1, 2], {1}, id="slowest model"),
        # As long as it pays, a slow machine must not end up with small batches.
        pytest.param(lambda _: 20, sizes_up_to(16), 0.001, [1, 2, 4, 8, 16], {16}, id="slow one"),
        pytest.param(lambda _: 3, sizes_up_to(16, (4, 8, 32)), 5, [4, 8], {8}, id="static shapes"),
    ],
)
def test_sizes_are_tried_for_as_long_as_larger_ones_pay(ms_of, sizes, budget_s, tried, caps):
    model = Slow(ms_of)

    measured = measure_batches(model.run, sizes, budget_s, clock=lambda: model.now)

    assert list(dict.fromkeys(model.asked)) == tried
    assert measured.max_batch_size in caps


def test_a_batch_of_static_shapes_costs_what_it_is_filled_up_to():
    assert sizes_up_to(2, (4, 8)) == [4]
    assert [LatencyModel(1, 0, (4, 8)).predict_ms(size) for size in (1, 4, 5)] == [4, 4, 8]


def test_what_disturbs_a_run_does_not_decide():
    disturbed = Slow(lambda n: 10 * n)
    once = iter([100.0])
    disturbed.ms_of = lambda n: 10 * n + (next(once, 0.0) if n == 2 else 0.0)

    measured = measure_batches(disturbed.run, sizes_up_to(4), 5, clock=lambda: disturbed.now)

    assert measured.curve.predict_ms(2) == pytest.approx(20)
