"""The line in front of the model, replayed with arrivals, departures and deadlines."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lumen_serving.backends.base import Modality
from lumen_serving.batching import Line

CAPS = {Modality.IMAGE: 3, Modality.TEXT: 2}


@dataclass(eq=False)
class AnItem:
    number: int
    modality: Modality
    deadline_at: float
    abandoned: bool = False


@dataclass
class Fate:
    waiting: list[AnItem] = field(default_factory=list)
    left: Counter = field(default_factory=Counter)


class TheLine(RuleBasedStateMachine):
    """Nothing is lost, nothing leaves twice, nothing is mixed up, the dead fill no place."""

    def __init__(self):
        super().__init__()
        self.line = Line(CAPS)
        self.now = 0.0
        self.arrived = 0
        self.fate = Fate()

    @rule(modality=st.sampled_from(Modality), patience=st.integers(0, 5))
    def an_item_arrives(self, modality, patience):
        item = AnItem(self.arrived, modality, self.now + patience)
        self.arrived += 1
        self.fate.waiting.append(item)
        self.line.put(item)

    @precondition(lambda self: self.fate.waiting)
    @rule(data=st.data())
    def a_caller_leaves(self, data):
        data.draw(st.sampled_from(self.fate.waiting)).abandoned = True

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def the_engine_takes(self):
        living = [item for item in self.fate.waiting if self.lives(item)]
        taken = self.line.take(self.now)
        for item in [*taken.batch, *taken.dead]:
            self.fate.waiting.remove(item)
            self.fate.left[item.number] += 1

        assert not any(self.lives(item) for item in taken.dead)
        assert taken.batch == self.expected_batch(living)

    @rule()
    def the_engine_stops(self):
        left = self.line.drain()

        assert left == self.fate.waiting
        for item in left:
            self.fate.left[item.number] += 1
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


TestTheLine = TheLine.TestCase
