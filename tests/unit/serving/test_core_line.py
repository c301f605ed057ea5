"""The line in front of the model, replayed with arrivals, departures and deadlines.

One caller alone is served in order of arrival; several take turns.
"""

from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lumen_serving.inference.queue import Item, RequestQueue
from lumen_terms.modality import Modality
from lumen_wire.request.callers import STRANGER

CAPS = {Modality.IMAGE: 3, Modality.TEXT: 2}


def an_item(number, modality, deadline_at, caller=STRANGER) -> Item:
    return Item(modality, deadline_at, Future(), data=number, caller=caller)


@dataclass
class Fate:
    waiting: list[Item] = field(default_factory=list)
    left: Counter = field(default_factory=Counter)


class TheLine(RuleBasedStateMachine):
    """Nothing is lost, nothing leaves twice, nothing is mixed up, the dead fill no place."""

    def __init__(self):
        super().__init__()
        self.line = RequestQueue(CAPS)
        self.now = 0.0
        self.arrived = 0
        self.fate = Fate()

    @rule(modality=st.sampled_from(Modality), patience=st.integers(0, 5))
    def an_item_arrives(self, modality, patience):
        item = an_item(self.arrived, modality, self.now + patience)
        self.arrived += 1
        self.fate.waiting.append(item)
        self.line.put(item)

    @precondition(lambda self: self.fate.waiting)
    @rule(data=st.data())
    def a_caller_leaves(self, data):
        data.draw(st.sampled_from(self.fate.waiting)).answer.cancel()

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def the_engine_takes(self):
        living = [item for item in self.fate.waiting if self.lives(item)]
        taken = self.line.take(self.now)
        for item in [*taken.batch, *taken.dead]:
            self.fate.waiting.remove(item)
            self.fate.left[item.data] += 1

        assert not any(self.lives(item) for item in taken.dead)
        assert taken.batch == self.expected_batch(living)

    @rule()
    def the_engine_stops(self):
        left = self.line.drain()

        assert left == self.fate.waiting
        for item in left:
            self.fate.left[item.data] += 1
        self.fate.waiting.clear()

    @invariant()
    def what_waits_is_what_arrived_and_has_not_left(self):
        assert len(self.line) == len(self.fate.waiting)
        assert self.arrived == len(self.fate.waiting) + len(self.fate.left)
        assert all(times == 1 for times in self.fate.left.values())

    def lives(self, item):
        return not item.abandoned and item.deadline_at > self.now

    def expected_batch(self, living):
        """The oldest living item's modality, in order of arrival, as many as fit."""
        if not living:
            return []
        modality = living[0].modality
        return [item for item in living if item.modality is modality][: CAPS[modality]]


# Two connections of one address, another address, and two whom a router tells of.
CALLERS = [
    ("a", "1"),
    ("a", "2"),
    ("b", "1"),
    ("router", "1", "c", "1"),
    ("router", "1", "d", "1"),
]


def a_line(waiting):
    """A line with an item of each (caller, modality, dies); and the items."""
    line = RequestQueue(CAPS)
    items = [
        an_item(number, modality, 0.0 if dies else 9.0, caller)
        for number, (caller, modality, dies) in enumerate(waiting)
    ]
    for item in items:
        line.put(item)
    return line, items


def batches_of(line):
    while len(line):
        yield line.take(now=1.0)


some_items = st.lists(
    st.tuples(st.sampled_from(CALLERS), st.sampled_from(Modality), st.booleans()), max_size=60
)


@given(some_items)
def test_batches_are_full_of_one_modality_and_of_the_living_each_callers_in_its_order(waiting):
    line, items = a_line(waiting)
    left = [item for item in items if item.deadline_at > 1.0]
    order = []

    for taken in batches_of(line):
        if taken.batch:
            (modality,) = {item.modality for item in taken.batch}
            there = sum(item.modality is modality for item in left)
            assert len(taken.batch) == min(CAPS[modality], there)
        assert all(item.deadline_at <= 1.0 for item in taken.dead)
        left = [item for item in left if item not in taken.batch]
        order += [(item.caller, item.modality, item.data) for item in taken.batch]
    assert not left
    # Stable: the numbers of a caller and a modality stay as they left.
    own = sorted(order, key=lambda one: (one[0], one[1]))
    assert own == sorted(order)


@given(some_items, st.sampled_from(Modality))
def test_who_has_one_item_waits_for_one_batch_and_one_item_of_each_other(waiting, modality):
    line, _ = a_line([*waiting, (("newcomer", "1"), modality, False)])
    before = []
    for taken in batches_of(line):
        before.append(taken.batch)
        if any(item.caller == ("newcomer", "1") for item in taken.batch):
            break

    # Those of three other addresses have a turn each; a batch in between is of one modality.
    batches_at_turns = len({address for (address, *_), _, _ in waiting}) + 1
    assert len(before) <= batches_at_turns


def test_callers_of_one_address_and_those_of_whom_a_router_tells_take_turns_too():
    flood = [(caller, Modality.IMAGE, False) for caller in CALLERS[:1] * 9 + CALLERS[3:4] * 9]
    line, _ = a_line([*flood, (CALLERS[1], Modality.IMAGE, False)])
    first = [item.caller for taken in (line.take(1.0), line.take(1.0)) for item in taken.batch]

    assert first == [CALLERS[0], CALLERS[3], CALLERS[1], CALLERS[3], CALLERS[0], CALLERS[3]]


def test_the_dead_cost_their_caller_no_turn():
    waiting = [(("a", "1"), Modality.IMAGE, dies) for dies in (True, True, True, False)]
    line, items = a_line([*waiting, *[(("b", "1"), Modality.IMAGE, False)] * 5])
    taken = line.take(1.0)

    assert taken.dead == items[:3]
    assert taken.batch[0] is items[3]


TestTheLine = TheLine.TestCase
