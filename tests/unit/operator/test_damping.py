"""How often a service's pages may change its status."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lumen_operator.polling.hearing import Damper

MINUTE_S = 60.0


def test_the_first_change_is_told_at_once_and_the_next_when_the_minute_is_over():
    damper = Damper()

    assert damper.offer("page", 1, 0.0, MINUTE_S) == {"page": 1}
    assert damper.offer("page", 2, 5.0, MINUTE_S) == {}
    assert damper.offer("page", 3, 59.0, MINUTE_S) == {}
    assert damper.offer("page", 4, 60.0, MINUTE_S) == {"page": 4}


def test_news_is_told_at_once_with_all_that_waits():
    damper = Damper()
    damper.offer("one", 1, 0.0, MINUTE_S)
    damper.offer("one", 2, 5.0, MINUTE_S)

    assert damper.offer("two", 1, 6.0, 0.0) == {"one": 2, "two": 1}
    assert damper.offer("one", 3, 60.0, MINUTE_S) == {}


def test_a_page_that_is_as_it_was_has_nothing_to_tell():
    damper = Damper()
    damper.offer("one", 1, 0.0, MINUTE_S)
    damper.offer("one", 2, 5.0, MINUTE_S)
    damper.withdraw("one")

    assert damper.offer("two", 1, 60.0, MINUTE_S) == {"two": 1}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), min_size=1, max_size=200))
def test_however_pages_change_a_service_is_told_of_once_a_minute_at_most(changes):
    damper, now, told = Damper(), 0.0, []
    for number, (page, wait_s) in enumerate(changes):
        now += wait_s
        if damper.offer(page, number, now, MINUTE_S):
            told.append(now)

    assert all(later - earlier >= MINUTE_S for earlier, later in pairwise(told))
