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


def test_the_cap_is_the_smallest_size_within_five_percent_of_the_best():
    # 27, 33, 38, 39 and 30 pictures a second: 4 is within 5 % of 8.
    rates = {1: 27, 2: 33, 4: 38, 8: 39, 32: 30}

    assert chosen_cap([BatchTiming(n, 1000 * n / rate) for n, rate in rates.items()]) == 4


def test_a_model_that_gains_nothing_by_batches_gets_a_cap_of_one():
    assert chosen_cap([BatchTiming(n, 10.0 * n) for n in (1, 2, 4)]) == 1


class Slow:
    """A model that takes as long as `ms_of` says, what it was asked, and the time it sees."""

    def __init__(self, ms_of):
        self.ms_of, self.asked, self.now = ms_of, [], 0.0

    def run(self, size):
        self.asked.append(size)
        self.now += self.ms_of(size) / 1000

    def measured(self, max_batch, budget_s, possible=()):
        sizes = sizes_up_to(max_batch, possible)
        return measure_batches(self.run, sizes, budget_s, clock=lambda: self.now)


def test_a_fixed_cost_makes_the_largest_batch_the_best():
    model = Slow(lambda size: 4)

    measured = model.measured(16, budget_s=5)

    assert measured.max_batch_size == 16
    assert max(model.asked) == 16


def test_sizes_are_not_tried_once_larger_ones_bring_nothing():
    model = Slow(lambda size: 1.0 * size)

    measured = model.measured(64, budget_s=5)

    assert measured.max_batch_size <= 4
    assert max(model.asked) <= 16


def test_a_slow_model_is_measured_at_the_smallest_sizes_alone():
    model = Slow(lambda size: 20 * size)

    measured = model.measured(64, budget_s=0.001)

    assert model.asked == [1, 1, 2]
    assert measured.max_batch_size in {1, 2}


def test_a_slow_machine_still_finds_that_larger_batches_pay():
    model = Slow(lambda _size: 20)

    measured = model.measured(16, budget_s=0.001)

    assert model.asked == [1, 1, 2, 4, 8, 16]
    assert measured.max_batch_size == 16


def test_the_largest_allowed_batch_is_tried_though_no_power_of_two():
    model = Slow(lambda size: 3)

    model.measured(6, budget_s=5)

    assert max(model.asked) == 6


def test_a_runtime_of_static_shapes_is_tried_at_its_own_sizes_and_charged_for_filling_up():
    model = Slow(lambda size: 3)

    measured = model.measured(16, budget_s=5, possible=(4, 8, 32))

    assert set(model.asked) == {4, 8}
    assert measured.max_batch_size == 8
    assert sizes_up_to(2, (4, 8)) == [4]
    assert [LatencyModel(1, 0, (4, 8)).predict_ms(size) for size in (1, 4, 5)] == [4, 4, 8]
