"""Waits double up to a bound, half of each is chance, and the other side's wish is kept."""

from lumen_process.backoff import Backoff

BACKOFF = Backoff(first_s=0.1, longest_s=10.0)


def test_waits_double_up_to_their_bound_and_up_to_half_of_each_is_chance():
    failures = (0, 1, 2, 4, 50, 10_000)

    longest = [BACKOFF.delay_s(count, draw=lambda: 0.0) for count in failures]
    shortest = [BACKOFF.delay_s(count, draw=lambda: 1.0) for count in failures]

    assert longest == [0.1, 0.1, 0.2, 0.8, 10.0, 10.0]
    assert shortest == [wait_s / 2 for wait_s in longest]


def test_without_chance_every_wait_is_as_long_as_it_may_be():
    assert [Backoff(1, 5, chance=0).delay_s(n) for n in (1, 2, 3, 4)] == [1, 2, 4, 5]


def test_the_time_that_the_other_side_asks_for_is_kept():
    assert BACKOFF.delay_s(1, 7.0) == 7.0
    assert BACKOFF.delay_s(50, 1.0, draw=lambda: 0.0) == 10.0
