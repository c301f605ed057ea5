"""Who is asked next: replayed with owners of any number of slow and quick pages."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lumen_operator.polling.turns import FairSchedule


def test_nothing_is_taken_before_its_time():
    turns = FairSchedule(at_once=2, of_one_at_once=1)
    assert turns.wait_s(0.0) is None
    turns.add("a", 5.0, "page")

    assert turns.take(4.0) is None
    assert turns.wait_s(4.0) == 1.0
    assert turns.take(5.0) == ("a", "page")
    assert turns.wait_s(5.0) is None


moves = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 5), st.floats(0, 20)),
    st.tuples(st.just("done"), st.integers(0, 100), st.just(0.0)),
    st.tuples(st.just("pass"), st.just(0), st.floats(0, 5)),
)


class Replay:
    """Takes all that can be taken after each move, and looks at each taking."""

    def __init__(self, at_once, of_one):
        self.turns, self.at_once, self.of_one = FairSchedule(at_once, of_one), at_once, of_one
        self.now, self.due, self.out, self.taken = 0.0, {}, [], []

    def move(self, what, number, seconds):
        if what == "add":
            item = len(self.due)
            self.due[item] = f"owner {number}", self.now + seconds
            self.turns.add(*self.due[item], item)
        elif what == "done" and self.out:
            self.turns.done(self.out.pop(number % len(self.out)))
        elif what == "pass":
            self.now += seconds
        self.take_all()

    def take_all(self):
        lately = []
        while (turn := self.turns.take(self.now)) is not None:
            owner, item = turn
            waiting = self.waiting(owner)
            assert self.due[item][1] == min(at for at, _ in waiting)
            self.out.append(owner)
            self.taken.append(item)
            passed_over = {o for o, _ in self.due.values() if self.waiting(o)} - set(lately)
            assert owner not in lately or all(self.is_full(other) for other in passed_over)
            lately.append(owner)
            assert len(self.out) <= self.at_once
            assert max(Counter(self.out).values()) <= self.of_one
        free = len(self.out) < self.at_once
        owners = {owner for owner, _ in self.due.values()}
        assert not free or all(self.is_full(o) for o in owners if self.waiting(o))

    def waiting(self, owner):
        return [
            (at, item)
            for item, (whose, at) in self.due.items()
            if whose == owner and at <= self.now and item not in self.taken
        ]

    def is_full(self, owner):
        return Counter(self.out)[owner] >= self.of_one


@given(st.lists(moves, max_size=60), st.integers(1, 6), st.integers(1, 3))
def test_bounds_are_kept_no_place_stays_empty_and_nobody_comes_twice_before_another(
    script, at_once, of_one
):
    replay = Replay(at_once, of_one)
    for move in script:
        replay.move(*move)
    replay.move("pass", 0, 1000.0)
    while replay.out:
        replay.move("done", 0, 0.0)

    assert sorted(replay.taken) == list(replay.due)
