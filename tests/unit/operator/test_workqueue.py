import asyncio

import pytest

from lumen_cluster.errors import Throttled
from lumen_operator import workqueue
from lumen_operator.workqueue import Workqueue
from lumen_process.backoff import Backoff


class Counts:
    def __init__(self):
        self.done = 0
        self.errors = []

    def worked(self, seconds):
        self.done += 1

    def failed(self, error, seconds):
        self.errors.append(error)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Worker:
    """Work that tests hold up and let go, and that answers what they say."""

    def __init__(self):
        self.started = []
        self.answers = {}
        self.gates = {}
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self, key):
        self.started.append(key)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if key in self.gates:
                await self.gates[key].wait()
        finally:
            self.at_once -= 1
        answer = self.answers.get(key)
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def a_queue(**more):
    work = Worker()
    return work, Workqueue(work, Counts(), **more)


def timed(**more):
    clock = Clock()
    return *a_queue(clock=clock, **more), clock


def idle(queue):
    """Whether nothing waits and nothing is in work; dates may lie ahead."""
    return not queue._waiting and not queue._in_work


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


@pytest.fixture
async def running():
    tasks = []

    def run(queue, workers=4):
        tasks.append(asyncio.create_task(queue.run(workers)))

    yield run
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_key_added_many_times_before_its_turn_is_worked_on_once(running):
    work, queue = a_queue()
    for _ in range(100):
        queue.add("a")
    queue.add("b")
    running(queue)
    await until(lambda: idle(queue))

    assert work.started == ["a", "b"]


async def test_a_key_added_while_in_work_is_worked_on_once_more_and_never_twice_at_once(running):
    work, queue = a_queue()
    work.gates["a"] = asyncio.Event()
    queue.add("a")
    running(queue)
    await until(lambda: work.started == ["a"])
    for _ in range(10):
        queue.add("a")
    work.gates["a"].set()
    await until(lambda: idle(queue))

    assert work.started == ["a", "a"]
    assert work.most_at_once == 1


async def test_no_more_keys_are_in_work_than_there_are_workers(running):
    work, queue = a_queue()
    for number in range(20):
        work.gates[number] = asyncio.Event()
        queue.add(number)
    running(queue, workers=3)
    await until(lambda: len(work.started) == 3)
    for number in range(20):
        work.gates[number].set()
    await until(lambda: idle(queue))

    assert work.most_at_once == 3
    assert sorted(work.started) == list(range(20))


async def test_a_failure_is_retried_later_and_others_go_on_meanwhile(running, monkeypatch):
    monkeypatch.setattr(workqueue, "BACKOFF", Backoff(0.01, 0.02))
    work, counts = Worker(), Counts()
    work.answers["bad"] = [ValueError("broken"), ValueError("broken again")]
    queue = Workqueue(work, counts)
    queue.add("bad")
    queue.add("good")
    running(queue)
    await until(lambda: work.started.count("bad") == 3 and idle(queue))

    assert len(counts.errors) == 2
    assert work.started.count("good") == 1
    assert queue.failing() == 0


async def test_a_failure_waits_at_least_as_long_as_the_server_asked(running):
    work, queue, clock = timed()
    work.answers["a"] = [Throttled("busy", retry_after_s=30.0)]
    queue.add("a")
    running(queue)
    await until(lambda: len(queue._due) == 1)
    clock.now += 29.9
    queue.add("b")
    await until(lambda: "b" in work.started and idle(queue))
    assert work.started == ["a", "b"]

    clock.now += 0.2
    queue.add("b")
    await until(lambda: work.started.count("a") == 2)


async def test_a_key_whose_work_says_so_is_due_again_then_and_an_earlier_date_stands(running):
    work, queue, clock = timed()
    work.answers["a"] = [60.0]
    queue.add("a")
    running(queue)
    await until(lambda: len(queue._due) == 1)
    queue.add_after("a", 600.0)
    clock.now += 60.1
    queue.add("b")
    await until(lambda: work.started.count("a") == 2)

    assert len(queue._due) == 0


async def test_an_event_overtakes_the_date_of_a_key(running):
    work, queue = a_queue()
    work.answers["a"] = [600.0]
    queue.add("a")
    running(queue)
    await until(lambda: len(queue._due) == 1)
    queue.add("a")
    await until(lambda: work.started == ["a", "a"] and idle(queue))

    assert len(queue._due) == 0


async def test_a_key_rests_after_its_work_and_what_comes_meanwhile_is_one_piece_of_work(running):
    work, queue, clock = timed(rest_s=1.0)
    queue.add("a")
    running(queue)
    await until(lambda: work.started == ["a"] and idle(queue))
    for _ in range(10):
        clock.now += 0.05
        queue.add("a")
    assert (len(queue._due), queue.depth()) == (1, 0)

    clock.now += 0.6
    queue.add("b")
    await until(lambda: work.started == ["a", "b", "a"] and idle(queue))
    clock.now += 5
    queue.add("a")
    assert queue.depth() == 1


async def test_a_key_added_while_its_work_fails_waits_for_the_back_off(running, monkeypatch):
    monkeypatch.setattr(workqueue, "BACKOFF", Backoff(600, 600))
    work, queue = a_queue()
    work.answers["a"] = [ValueError("broken")]
    work.gates["a"] = asyncio.Event()
    queue.add("a")
    running(queue)
    await until(lambda: work.started == ["a"])
    queue.add("a")
    work.gates["a"].set()
    await until(lambda: idle(queue))

    assert (len(queue._due), queue.depth()) == (1, 0)


async def test_the_age_is_that_of_the_oldest_key_whether_it_waits_or_hangs(running):
    work, queue, clock = timed()
    work.gates["hangs"] = asyncio.Event()
    assert queue.oldest_s() == 0
    queue.add("waits")
    clock.now += 7
    assert queue.oldest_s() == 7

    running(queue)
    await until(lambda: idle(queue))
    queue.add("hangs")
    await until(lambda: "hangs" in work.started)
    clock.now += 90
    assert queue.oldest_s() == 90


async def test_a_long_line_does_not_stand_still_while_it_gets_shorter(running):
    work, queue, clock = timed()
    gates = work.gates = {number: asyncio.Event() for number in range(5)}
    for number in gates:
        queue.add(number)
    running(queue, workers=1)
    for number, gate in gates.items():
        await until(lambda number=number: number in work.started)
        clock.now += 200
        assert queue.stands_still_s() == 200
        gate.set()
    await until(lambda: idle(queue))

    assert queue.stands_still_s() == 0


async def test_keys_that_nobody_takes_up_stand_still():
    _, queue, clock = timed()
    clock.now += 1000
    queue.add("a")
    assert queue.stands_still_s() == 0
    clock.now += 400

    assert queue.stands_still_s() == 400


def owner_of(key):
    return key.partition("/")[0]


async def test_a_thousand_keys_of_one_owner_come_after_the_first_of_another(running):
    work, queue = a_queue(owner=owner_of)
    for number in range(1000):
        queue.add(f"crowd/{number}")
    queue.add("quiet/one")
    running(queue, workers=1)
    await until(lambda: idle(queue))

    assert work.started.index("quiet/one") <= 1
    assert len(set(work.started)) == 1001


async def test_slow_keys_of_one_owner_never_have_every_worker(running):
    work, queue = a_queue(owner=owner_of)
    slow = [f"slow/{number}" for number in range(50)]
    for key in slow:
        work.gates[key] = asyncio.Event()
        queue.add(key)
    running(queue, workers=4)
    await until(lambda: len(work.started) == 3)
    queue.add("quiet/one")
    queue.add("quiet/two")
    await until(lambda: {"quiet/one", "quiet/two"} <= set(work.started))
    assert work.most_at_once == 4
    assert set(work.started) & set(slow) == set(slow[:3])

    for key in slow:
        work.gates[key].set()
    await until(lambda: idle(queue))
    assert set(slow) <= set(work.started)


async def test_a_date_that_lies_ahead_is_no_age():
    _, queue, clock = timed()
    queue.add_after("a", 3600)
    clock.now += 3000

    assert queue.oldest_s() == 0


async def test_forgetting_a_key_drops_its_date_and_its_failures(running):
    work, queue = a_queue()
    work.answers["a"] = [ValueError("broken")]
    queue.add("a")
    running(queue)
    await until(lambda: queue.failing() == 1)
    queue.forget("a")

    assert (queue.failing(), len(queue._due)) == (0, 0)


async def test_many_changed_dates_leave_nothing_behind():
    _, queue, _ = timed()
    for earlier in range(10_000):
        queue.add_after("a", 20_000 - earlier)

    assert len(queue._heap) < 200


async def test_keys_that_came_and_went_leave_nothing_behind(running):
    work, queue, clock = timed(rest_s=1.0)
    running(queue)
    for number in range(2_000):
        queue.add(number)
        clock.now += 0.5
        await until(lambda: idle(queue))

    assert len(work.started) == 2_000
    assert len(queue._resting) < 200
