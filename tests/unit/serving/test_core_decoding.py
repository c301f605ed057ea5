"""The decode threads: what waits for whom, how much they hold, and that nothing ends them."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from unittest.mock import create_autospec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from lumen_serving.backends.base import BackendReport
from lumen_serving.errors import BackendFailed, BadImage, Overloaded, Stopping
from lumen_serving.inference.admission import Admission
from lumen_serving.inference.engine import Engine
from lumen_serving.inference.preprocess_pool import PreprocessPool
from lumen_serving.inference.queue import DecodeQueues, Item, Job
from lumen_serving.media.preprocess import PreprocessWork
from lumen_serving.metrics import ServerMetrics
from lumen_terms.modality import Modality
from lumen_wire.request.callers import STRANGER

MIB = 1 << 20
MEMORY = 1024 * MIB


def lines(workers=2, memory=MEMORY, most_large=100) -> DecodeQueues:
    return DecodeQueues(workers, memory, most_large)


def a_job(peak_mib=1, seconds=0.01, patience_s=60.0, caller=STRANGER) -> Job:
    item = Item(Modality.IMAGE, time.monotonic() + patience_s, Future(), caller=caller)
    return Job(item, lambda: looked_at(peak_mib, seconds))


def looked_at(
    peak_mib=1, seconds=0.01, make=lambda: np.zeros((2, 2, 3), np.uint8)
) -> PreprocessWork:
    return PreprocessWork(make, peak_mib * MIB, seconds)


def begun(line: DecodeQueues, job: Job) -> bool:
    """Look at a job, and ask whether it goes on at once."""
    job.work = job.look()
    return line.begin(job, time.monotonic())


def large_ones(line: DecodeQueues, count: int, **changes) -> list[Job]:
    """Jobs that wait as large ones."""
    jobs = [a_job(**{"seconds": 2.0, **changes}) for _ in range(count)]
    for job in jobs:
        begun(line, job)
    return jobs


def test_small_work_goes_on_at_once_and_large_work_waits_apart():
    line = lines()

    assert begun(line, a_job())
    assert not begun(line, a_job(seconds=2.0))
    assert not begun(line, a_job(peak_mib=300))
    # What finds no room among the small waits with the large.
    narrow = lines(memory=400 * MIB)
    assert begun(narrow, a_job(peak_mib=90))
    assert not begun(narrow, a_job(peak_mib=90))


def test_large_work_leaves_a_thread_to_the_small():
    line = lines(workers=2)
    large = large_ones(line, 2)
    first = line.take()
    small = a_job()
    line.put(small)

    assert first is large[0]
    assert line.take() is small
    assert line.take() is None
    line.end(first)
    assert line.take() is large[1]


def test_large_and_small_take_turns_on_the_one_thread_there_is():
    line = lines(workers=1)
    large = large_ones(line, 2)
    small = [a_job() for _ in range(2)]
    for job in small:
        line.put(job)
    order = []
    for _ in range(4):
        job = line.take()
        order.append(job)
        if job.large:
            line.end(job)

    assert order == [large[0], small[0], large[1], small[1]]


def test_large_work_that_would_begin_too_late_is_refused_with_the_time_to_come_back():
    line = lines(workers=2)
    large_ones(line, 10)

    with pytest.raises(Overloaded, match="large pictures wait") as refused:
        begun(line, a_job(seconds=2.0, patience_s=5.0))

    assert refused.value.retry_after_ms == 20_000
    assert begun(line, a_job())


def test_so_many_large_ones_wait_and_those_whose_callers_left_are_not_counted():
    line = lines(most_large=2)
    left, _ = large_ones(line, 2)
    with pytest.raises(Overloaded):
        begun(line, a_job(seconds=2.0))
    left.item.answer.set_result(None)

    assert not begun(line, a_job(seconds=2.0))


def test_callers_take_turns_so_that_a_hundred_delay_another_ones_by_one():
    line = lines()
    flood = [a_job(caller=("a", "1")) for _ in range(100)]
    lone = [a_job(caller=("a", "2")), a_job(caller=("b", "1"))]
    for job in [*flood, *lone]:
        line.put(job)

    assert [line.take() for _ in range(4)] == [flood[0], lone[1], lone[0], flood[1]]


def test_large_ones_take_turns_and_a_flood_of_them_leaves_places_and_time_to_others():
    line = lines(most_large=50)
    flood = large_ones(line, 50, patience_s=1e6, caller=("a", "1"))
    with pytest.raises(Overloaded):
        begun(line, a_job(seconds=2.0, patience_s=1e6, caller=("a", "1")))
    (lone,) = large_ones(line, 1, patience_s=5.0, caller=("b", "1"))
    first = line.take()
    line.end(first)

    assert first is flood[0]
    assert line.take() is lone


@given(st.lists(st.tuples(st.integers(1, 700), st.booleans()), max_size=40), st.integers(1, 8))
def test_whatever_runs_together_holds_no_more_than_the_memory_and_everything_has_its_turn(
    works, workers
):
    line = lines(workers=workers, memory=MEMORY, most_large=1000)
    for peak_mib, slow in works:
        line.put(a_job(peak_mib, seconds=1.0 if slow else 0.01, patience_s=1e6))
    running, done = [], 0
    while True:
        assert line.held_bytes <= MEMORY
        job = line.take() if len(running) < workers else None
        if job is None:
            if not running:
                break
            line.end(running.pop(0))
            done += 1
        elif job.work is not None:
            running.append(job)
        else:
            job.work = job.look()
            if line.begin(job, time.monotonic()):
                running.append(job)

    assert done == len(works)
    assert line.held_bytes == 0


class ABackend:
    """Vectors of equal components, of unit length."""

    slots = 1

    def embed_images(self, images):
        return np.full((len(images), 4), 0.5, np.float32)

    embed_texts = embed_images

    def report(self):
        return BackendReport(runtime="fake", version="1", device="fake", precision="fp32", dim=4)


def an_engine() -> Engine:
    return Engine(ABackend(), dict.fromkeys(Modality, 4), ServerMetrics(), lambda *_: None)


def decoders(engine: Engine, workers=1, admission=None) -> PreprocessPool:
    """Decoders in front of an engine."""
    admission = admission or create_autospec(Admission)
    return PreprocessPool(workers, lines(workers), engine, ServerMetrics(), admission)


@contextlib.asynccontextmanager
async def a_pool(workers=1, admission=None) -> AsyncIterator[PreprocessPool]:
    """Decoders in front of an engine, both running."""
    async with an_engine() as engine, decoders(engine, workers, admission) as pool:
        yield pool


def an_item() -> Item:
    answer = asyncio.get_running_loop().create_future()
    return Item(Modality.IMAGE, time.monotonic() + 60, answer)


async def vector_of(item):
    async with asyncio.timeout(20):
        return (await item.answer).vector


def panicking() -> PreprocessWork:
    """Make a library in Rust panic: a pattern that backtracks past its limit."""
    core = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "removed")
    core.encode("a" * 60 + "!")
    raise AssertionError("the library did not panic")


def raising(error: BaseException) -> PreprocessWork:
    raise error


@pytest.mark.parametrize(
    ("look", "error"),
    [
        (panicking, BackendFailed),
        (lambda: raising(MemoryError()), BackendFailed),
        (lambda: raising(RecursionError()), BackendFailed),
        (lambda: raising(SystemError("error return without exception set")), BackendFailed),
        (lambda: PreprocessWork(panicking), BackendFailed),
        (lambda: raising(BadImage("The payload is a GIF.")), BadImage),
    ],
)
async def test_whatever_a_look_raises_the_caller_is_told_and_the_thread_goes_on(look, error):
    async with a_pool() as pool:
        failed, after = an_item(), an_item()
        pool.submit(failed, look)
        pool.submit(after, looked_at)
        with pytest.raises(error):
            await vector_of(failed)

        assert (await vector_of(after)).shape == (4,)


def a_slow_decoder():
    """What opens it, what says that it has begun, and its work."""
    gate, begins = threading.Event(), threading.Event()

    def slow() -> np.ndarray:
        begins.set()
        assert gate.wait(20)
        return np.zeros((2, 2, 3), np.uint8)

    return gate, begins, slow


async def test_small_pictures_pass_while_large_ones_are_decoded():
    gate, _, slow = a_slow_decoder()
    async with a_pool(workers=2) as pool:
        large = [an_item() for _ in range(6)]
        for item in large:
            pool.submit(item, lambda: looked_at(seconds=2.0, make=slow))
        small = an_item()
        pool.submit(small, looked_at)
        first = await vector_of(small)
        waiting = [item.answer.done() for item in large]
        gate.set()

        assert first.shape == (4,)
        assert not any(waiting)
        assert all([(await vector_of(item)).shape == (4,) for item in large])


async def test_every_item_leaves_the_count_of_what_is_to_be_decoded_once():
    admission = create_autospec(Admission)
    async with a_pool(admission=admission) as pool:
        items = [an_item() for _ in range(4)]
        looks = [looked_at, lambda: looked_at(seconds=2.0), panicking, looked_at]
        for item, look in zip(items, looks, strict=True):
            pool.submit(item, look)
        await asyncio.wait([item.answer for item in items], timeout=20)
        for item in items:
            item.answer.exception()

    assert admission.decode_begins.call_count == admission.decode_ended.call_count == 4


async def test_what_still_waits_when_the_server_stops_is_told_so():
    gate, begins, slow = a_slow_decoder()
    async with an_engine() as engine:
        async with decoders(engine) as pool:
            running, waiting = an_item(), an_item()
            pool.submit(running, lambda: looked_at(make=slow))
            assert await asyncio.to_thread(begins.wait, 20)
            pool.submit(waiting, looked_at)
            asyncio.get_running_loop().call_soon(gate.set)

        with pytest.raises(Stopping):
            await waiting.answer
        # The engine, which would answer the same when it stops, still runs.
        assert (await vector_of(running)).shape == (4,)
