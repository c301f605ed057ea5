"""Who goes first when there is no room for all streams, and when the memory has none."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from lumen_process.heap import trim_heap
from lumen_wire.server.open_streams import (
    MemoryGuard,
    OpenStreams,
    memory_limit_bytes,
    own_memory,
)


@dataclass(eq=False)
class AStream:
    waiting_since: float | None = None
    busy: bool = False
    peer: str = "ipv4:10.0.0.1"
    ended: list[str] = field(default_factory=list)

    def give_way(self) -> None:
        self.ended.append("given way")


def ended(*streams: AStream) -> list[bool]:
    return [bool(stream.ended) for stream in streams]


def all_open(*streams: AStream, most: int = 100) -> OpenStreams:
    open_streams = OpenStreams(most)
    for stream in streams:
        open_streams.enter(stream)
    return open_streams


def test_the_stream_that_has_waited_longest_for_its_client_goes_first():
    young, old, middle = AStream(3.0), AStream(1.0), AStream(2.0)

    assert all_open(young, old, middle).end_waiting(2) == 2
    assert ended(young, old, middle) == [False, True, True]


def test_a_stream_with_requests_under_way_goes_after_the_idle_ones():
    busy, idle = AStream(1.0, busy=True), AStream(2.0)
    streams = all_open(busy, idle)

    streams.end_waiting(1)
    first = ended(busy, idle)
    streams.end_waiting(1)

    assert first == [False, True]
    assert ended(busy, idle) == [True, True]


def test_a_stream_that_waits_for_this_side_is_left_alone():
    assert all_open(computing := AStream(None)).end_waiting(5) == 0
    assert not computing.ended


def test_a_stream_is_told_once():
    streams = all_open(one := AStream(1.0))

    assert streams.end_waiting(1) == 1
    assert streams.end_waiting(1) == 0
    assert (one.ended, len(streams)) == (["given way"], 0)


def test_beyond_the_bound_a_new_stream_gets_in_and_old_ones_go():
    crowd = [AStream(float(i + 1), peer=f"ipv4:10.0.0.{i}") for i in range(100)]
    streams = all_open(*crowd)

    streams.enter(new := AStream(None, peer="ipv4:10.0.1.1"))

    assert len(streams) <= 100
    assert crowd[0].ended
    assert not crowd[-1].ended
    assert not new.ended


def test_one_peer_has_half_of_the_room_and_beyond_it_its_own_streams_go():
    others = [AStream(1.0, peer=f"ipv4:10.0.0.{i}") for i in range(20)]
    greedy = [AStream(2.0, peer="ipv4:10.9.9.9") for _ in range(70)]

    streams = all_open(*others, *greedy)

    assert not any(ended(*others))
    assert len(streams) <= 20 + 50
    assert sum(ended(*greedy)) >= 20


def test_streams_that_left_leave_room():
    streams = OpenStreams(4)
    for number in range(50):
        streams.enter(one := AStream(1.0, peer=f"ipv4:10.0.0.{number}"))
        streams.leave(one)
        assert not one.ended

    assert len(streams) == 0


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
class HalfSent(AStream):
    """A stream whose client sent most of a message; ending it frees that."""

    memory: Memory = field(default_factory=Memory)

    def give_way(self) -> None:
        super().give_way()
        self.memory.freed += 16 * MIB


def half_sent(memory: Memory, count: int) -> tuple[OpenStreams, list[HalfSent]]:
    made = [HalfSent(1.0 + number, memory=memory) for number in range(count)]
    return all_open(*made, most=1000), made


def a_guard(memory: Memory, streams: OpenStreams, limit: int | None = LIMIT) -> MemoryGuard:
    return MemoryGuard(streams, limit, memory.measure, memory.release)


async def test_near_the_limit_the_longest_waiting_streams_are_ended_until_it_is_not():
    memory = Memory()
    streams, crowd = half_sent(memory, 60)
    async with a_guard(memory, streams):
        memory.held = REST + 60 * 16 * MIB
        await memory.looked_at(100)

    gone = ended(*crowd)
    assert gone == sorted(gone, reverse=True)
    assert any(gone)
    assert not all(gone)
    assert memory.held < 0.7 * LIMIT


async def test_far_from_the_limit_nobody_is_disturbed():
    memory = Memory()
    streams, idle = half_sent(memory, 100)
    async with a_guard(memory, streams):
        memory.held = 500 * MIB
        await memory.looked_at(20)

    assert not any(ended(*idle))


async def test_what_was_freed_is_given_back_before_any_stream_is_ended():
    memory = Memory()
    streams, idle = half_sent(memory, 10)
    async with a_guard(memory, streams):
        memory.held, memory.freed = 900 * MIB, 700 * MIB
        await memory.looked_at(10)

    assert memory.held == 200 * MIB
    assert not any(ended(*idle))


async def test_a_model_that_needs_most_of_the_limit_does_not_look_like_an_attack():
    memory = Memory(held=950 * MIB)
    streams, idle = half_sent(memory, 10)
    async with a_guard(memory, streams):
        memory.held = 960 * MIB
        await memory.looked_at(10)

    assert not any(ended(*idle))


async def ends_nothing(limit: int | None, measure: Callable[[], int] | None) -> bool:
    memory = Memory()
    streams, idle = half_sent(memory, 10)
    async with MemoryGuard(streams, limit, measure, memory.release):
        await asyncio.sleep(0)
    return not any(ended(*idle))


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
