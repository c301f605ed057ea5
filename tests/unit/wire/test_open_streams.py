"""Who goes first when there is no room for all streams."""

from dataclasses import dataclass, field

from lumen_wire.server.open_streams import OpenStreams


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
