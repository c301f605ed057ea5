"""A tower that is loaded twice: with all threads for who is alone, with half for two at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest

from lumen_serving.backends.graph_tower import BatchMode, GraphTower
from lumen_serving.graphs.ports import Port

WAIT_S = 30
ITEMS = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)


class Copies:
    """A graph that gives back what goes in, changed by `change`; `entered` tells who is inside."""

    remarks: ClassVar[dict[str, str]] = {}
    inputs = outputs = (Port("x", np.float32, (None, 6)),)

    def __init__(self, change=lambda rows: rows, hold=None):
        self._change, self._hold = change, hold
        self.entered = threading.Event()
        self.runs = 0

    def run(self, outputs, feeds):
        self.runs += 1
        self.entered.set()
        if self._hold is not None:
            assert self._hold.wait(WAIT_S)
        return [self._change(feeds["x"].copy())]


def a_tower(whole, half, batching=BatchMode.TOGETHER):
    return GraphTower(whole, lambda items: {"x": items}, whole.outputs[0], batching, half)


def test_who_is_alone_has_all_threads_and_two_at_once_a_half_each():
    release = threading.Event()
    whole, half = Copies(hold=release), Copies()
    tower = a_tower(whole, half)

    with ThreadPoolExecutor(1) as other:
        first = other.submit(tower.rows, ITEMS[:1])
        assert whole.entered.wait(WAIT_S)
        second = tower.rows(ITEMS[:1])
        assert (whole.runs, half.runs) == (1, 1)
        release.set()
        assert first.result(WAIT_S).tobytes() == second.tobytes()
    tower.rows(ITEMS[:1])

    assert (whole.runs, half.runs) == (2, 1)


def test_a_failure_leaves_no_place_taken():
    def refuse(rows):
        raise ValueError("no")

    whole, half = Copies(refuse), Copies()
    tower = a_tower(whole, half)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            tower.rows(ITEMS)

    assert (whole.runs, half.runs) == (2, 0)


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        (lambda rows: rows, True),
        (lambda rows: rows + np.float32(1e-3) * np.arange(6, dtype=np.float32), False),
        (lambda rows: rows + np.float32(1e-3) * rows[::-1] * (len(rows) > 1), False),
    ],
    ids=["the same bytes", "another kernel", "neighbours"],
)
def test_a_half_that_gives_other_bytes_is_given_up(change, stays):
    tower = a_tower(Copies(), Copies(change))

    tower.check_batch_invariance(ITEMS)

    assert (tower.half is not None) == stays
    assert tower.batching is BatchMode.TOGETHER


def test_a_tower_that_runs_singly_has_no_half():
    mixing = Copies(lambda rows: rows + rows.mean(axis=0) * (len(rows) > 1))
    tower = a_tower(mixing, Copies())

    tower.check_batch_invariance(ITEMS)

    assert (tower.batching, tower.half) == (BatchMode.SINGLY, None)
