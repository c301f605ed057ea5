"""The engine's threads: each caller gets its own answer, whatever happens to the neighbours."""

import asyncio
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumen_serving.backends.base import BackendReport
from lumen_serving.errors import BackendFailed, Stopping, TooLate
from lumen_serving.inference.engine import Engine
from lumen_serving.inference.queue import Item
from lumen_serving.metrics import ServerMetrics
from lumen_terms.modality import Modality
from lumen_wire.errors import WireError

DIM = 4
POISON = 13
CAPS = {Modality.IMAGE: 4, Modality.TEXT: 4}


def a_vector(number: int) -> list[float]:
    """A unit vector that carries a number."""
    share = number / 1000
    return [share, (1 - share**2) ** 0.5] + [0.0] * (DIM - 2)


def carried(vector: np.ndarray) -> int:
    return round(float(vector[0]) * 1000)


@dataclass
class ABackend:
    """Vectors that carry the number of their item; waits at a gate; fails on the poisoned one."""

    slots: int = 1
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batches: list[tuple[str, list[int]]] = field(default_factory=list)
    rows_too_many: int = 0
    length: float = 1.0

    def embed_images(self, images):
        return self._vectors("image", images)

    def embed_texts(self, tokens):
        return self._vectors("text", tokens)

    def report(self):
        return BackendReport(runtime="fake", version="1", device="fake", precision="fp32", dim=DIM)

    def _vectors(self, kind, data):
        numbers = [int(row.ravel()[0]) for row in data]
        self.batches.append((kind, numbers))
        self.begun.release()
        assert self.gate.wait(20)
        if POISON in numbers:
            raise RuntimeError("poisoned")
        rows = [a_vector(number) for number in numbers] + [[0] * DIM] * self.rows_too_many
        return np.array(rows, np.float32) * self.length


class Doubling:
    """A scoring that says how many vectors it was asked for together."""

    def __init__(self):
        self.sizes = []

    def prepare(self):
        raise AssertionError("what reaches the engine is prepared")

    def score(self, vectors):
        self.sizes.append(len(vectors))
        return [carried(v) * 2.0 for v in vectors]


def an_item(number, modality=Modality.IMAGE, patience_s=60.0, scoring=None):
    data = np.full((1,), number, np.int64)
    if modality is Modality.IMAGE:
        data = np.full((2, 2, 3), number, np.uint8)
    answer = asyncio.get_running_loop().create_future()
    return Item(modality, time.monotonic() + patience_s, answer, scoring, data)


def an_engine(backend, metrics=None, heard=None):
    heard = [] if heard is None else heard
    return Engine(backend, CAPS, metrics or ServerMetrics(), lambda *batch: heard.append(batch[:2]))


async def number_of(item):
    async with asyncio.timeout(20):
        return carried((await item.answer).vector)


async def one_that_runs(backend, engine):
    """An item that keeps the model busy until the gate opens."""
    item = an_item(0)
    engine.submit(item)
    assert await asyncio.to_thread(backend.begun.acquire, timeout=20)
    return item


async def test_items_that_arrive_while_the_model_is_busy_leave_together_oldest_kind_first():
    backend, heard = ABackend(), []
    async with an_engine(backend, heard=heard) as engine:
        first = await one_that_runs(backend, engine)
        items = [an_item(n, Modality.TEXT if n % 2 else Modality.IMAGE) for n in range(1, 8)]
        for item in items:
            engine.submit(item)
        backend.gate.set()
        numbers = [await number_of(item) for item in [first, *items]]

    assert numbers == list(range(8))
    assert backend.batches == [("image", [0]), ("text", [1, 3, 5, 7]), ("image", [2, 4, 6])]
    assert heard == [(Modality.IMAGE, 1), (Modality.TEXT, 4), (Modality.IMAGE, 3)]


async def test_a_poisoned_item_fails_alone_and_the_engine_goes_on():
    backend = ABackend()
    async with an_engine(backend) as engine:
        first = await one_that_runs(backend, engine)
        neighbours = [an_item(n) for n in (1, POISON, 2)]
        for item in neighbours:
            engine.submit(item)
        backend.gate.set()
        numbers = [await number_of(item) for item in (first, neighbours[0], neighbours[2])]
        with pytest.raises(BackendFailed) as failed:
            await number_of(neighbours[1])
        after = an_item(9)
        engine.submit(after)
        last = await number_of(after)

    assert numbers == [0, 1, 2]
    assert last == 9
    assert "poisoned" not in str(failed.value)
    assert isinstance(failed.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    "wrong", [{"rows_too_many": 1}, {"length": 0.0}, {"length": np.nan}, {"length": 1.01}]
)
async def test_vectors_too_many_or_not_of_length_one_fail_their_callers(wrong):
    backend = ABackend(**wrong)
    backend.gate.set()
    async with an_engine(backend) as engine:
        item = an_item(3)
        engine.submit(item)
        with pytest.raises(BackendFailed):
            await number_of(item)


async def test_the_dead_are_dropped_and_counted_before_the_batch_forms():
    backend, metrics = ABackend(), ServerMetrics()
    async with an_engine(backend, metrics) as engine:
        await one_that_runs(backend, engine)
        late, gone, alive = an_item(1, patience_s=-1), an_item(2), an_item(3)
        for item in (late, gone, alive):
            engine.submit(item)
        gone.answer.cancel()
        backend.gate.set()
        number = await number_of(alive)
        with pytest.raises(TooLate):
            await number_of(late)

    assert number == 3
    assert backend.batches == [("image", [0]), ("image", [3])]
    assert "lumen_dropped_dead_total 2.0" in metrics.page()[1].decode()


async def test_equal_scorings_are_asked_once_per_batch():
    backend, scoring, other = ABackend(), Doubling(), Doubling()
    async with an_engine(backend) as engine:
        await one_that_runs(backend, engine)
        items = [an_item(1, scoring=scoring), an_item(2), an_item(3, scoring=scoring)]
        items.append(an_item(4, scoring=other))
        for item in items:
            engine.submit(item)
        backend.gate.set()
        async with asyncio.timeout(20):
            scored = [(await item.answer).scored for item in items]

    assert scored == [2.0, None, 6.0, 8.0]
    assert scoring.sizes == [2]
    assert other.sizes == [1]


async def test_leaving_the_engine_answers_what_still_waits():
    backend = ABackend()
    engine = an_engine(backend)
    async with engine:
        running, waiting = await one_that_runs(backend, engine), an_item(1)
        engine.submit(waiting)
        threading.Timer(0.05, backend.gate.set).start()

    afterwards = an_item(2)
    engine.submit(afterwards)
    assert await number_of(running) == 0
    for item in (waiting, afterwards):
        with pytest.raises(Stopping):
            await number_of(item)


@settings(max_examples=25)
@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from(Modality),
            st.sampled_from(["stays", "leaves", "is late"]),
            st.integers(0, 20),
        ),
        max_size=40,
    ),
    slots=st.integers(1, 3),
)
def test_every_item_gets_its_own_answer_exactly_once(plan, slots):
    async def replay():
        backend, metrics = ABackend(slots=slots), ServerMetrics()
        backend.gate.set()
        items = []
        async with an_engine(backend, metrics) as engine:
            for modality, fate, number in plan:
                item = an_item(number, modality, patience_s=-1 if fate == "is late" else 60)
                items.append((item, fate, number))
                engine.submit(item)
                if fate == "leaves":
                    item.answer.cancel()
            outcomes = [await outcome_of(item) for item, _, _ in items]
        for (_, fate, number), outcome in zip(items, outcomes, strict=True):
            assert outcome in allowed_outcomes(fate, number)
        assert all(len(numbers) <= CAPS[Modality(kind)] for kind, numbers in backend.batches)

    asyncio.run(replay())


async def outcome_of(item):
    try:
        return await number_of(item)
    except asyncio.CancelledError:
        return "left"
    except WireError as error:
        return type(error)


def allowed_outcomes(fate, number):
    own = BackendFailed if number == POISON else number
    return {"stays": [own], "leaves": ["left"], "is late": [TooLate]}[fate]
