"""When the memory guard ends streams, and when it does not."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from lumen_process.heap import trim_heap
from lumen_wire.server.open_streams import MemoryGuard, OpenStreams, memory_limit_bytes, own_memory

MIB = 1 << 20
LIMIT = 1000 * MIB
REST = 100 * MIB


@dataclass
class Memory:
    """A process whose memory is what a test says; each look at it is counted."""

    held: int = REST
    freed: int = 0
    looks: int = 0
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    def measure(self) -> int:
        self.looks += 1
        self.looked.set()
        return self.held

    def release(self) -> None:
        """Give back what is free."""
        self.held -= self.freed
        self.freed = 0

    async def looked_at(self, times: int) -> None:
        end = self.looks + times
        async with asyncio.timeout(60):
            while self.looks < end:
                self.looked.clear()
                await self.looked.wait()


@dataclass(eq=False)
class HalfSent:
    """A stream whose client sent most of a message; ending it frees that."""

    memory: Memory
    waiting_since: float | None = 1.0
    busy: bool = False
    peer: str = "ipv4:10.0.0.1"
    ended: bool = False

    def give_way(self) -> None:
        self.ended = True
        self.memory.freed += 16 * MIB


def half_sent(memory: Memory, streams: OpenStreams, count: int) -> list[HalfSent]:
    made = [HalfSent(memory, waiting_since=1.0 + number) for number in range(count)]
    for one in made:
        streams.enter(one)
    return made


def a_guard(memory: Memory, streams: OpenStreams, limit: int | None = LIMIT) -> MemoryGuard:
    return MemoryGuard(streams, limit, memory.measure, memory.release)


async def test_near_the_limit_the_longest_waiting_streams_are_ended_until_it_is_not():
    memory, streams = Memory(), OpenStreams()
    crowd = half_sent(memory, streams, 60)
    async with a_guard(memory, streams):
        memory.held = REST + 60 * 16 * MIB
        await memory.looked_at(100)

    ended = [one.ended for one in crowd]
    assert ended == sorted(ended, reverse=True)
    assert any(ended)
    assert not all(ended)
    assert memory.held < 0.7 * LIMIT


async def test_far_from_the_limit_nobody_is_disturbed():
    memory, streams = Memory(), OpenStreams()
    idle = half_sent(memory, streams, 100)
    async with a_guard(memory, streams):
        memory.held = 500 * MIB
        await memory.looked_at(20)

    assert not any(one.ended for one in idle)


async def test_what_was_freed_is_given_back_before_any_stream_is_ended():
    memory, streams = Memory(), OpenStreams()
    idle = half_sent(memory, streams, 10)
    async with a_guard(memory, streams):
        memory.held, memory.freed = 900 * MIB, 700 * MIB
        await memory.looked_at(10)

    assert memory.held == 200 * MIB
    assert not any(one.ended for one in idle)


async def test_a_model_that_needs_most_of_the_limit_does_not_look_like_an_attack():
    memory, streams = Memory(held=950 * MIB), OpenStreams()
    idle = half_sent(memory, streams, 10)
    async with a_guard(memory, streams):
        memory.held = 960 * MIB
        await memory.looked_at(10)

    assert not any(one.ended for one in idle)


async def ends_nothing(limit: int | None, measure: Callable[[], int] | None) -> bool:
    memory, streams = Memory(), OpenStreams()
    idle = half_sent(memory, streams, 10)
    async with MemoryGuard(streams, limit, measure, memory.release):
        await asyncio.sleep(0)
    return not any(one.ended for one in idle)


async def test_without_a_limit_or_a_measure_it_does_nothing():
    assert await ends_nothing(None, lambda: 2 * LIMIT)
    assert await ends_nothing(LIMIT, None)


def test_the_limit_is_the_least_of_what_is_known():
    known = memory_limit_bytes()

    assert known is not None
    assert memory_limit_bytes(10 * MIB) == 10 * MIB
    assert memory_limit_bytes(2**62) == known


def test_own_memory_grows_with_what_is_kept():
    measure = own_memory()
    assert measure is not None
    trim_heap()  # what earlier tests freed would be taken first, and is resident already
    before = measure()
    kept = bytearray(b"x") * (64 * MIB)

    assert measure() - before > 60 * MIB
    del kept
