"""Streams of all dialects, in any order they may have, cut anywhere: replayed with invariants."""

import dataclasses
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import (
    MIB,
    Clock,
    a_budget,
    a_jpeg,
    a_png,
    a_webp,
    an_assembler,
    an_avif,
    an_image_request,
    buffered_bytes,
    remembered_bytes,
)

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.chunks import Assembled, Assembler, Rejected

MAKERS = {
    "jpeg": a_jpeg,
    "jpeg and a camera's trailer": lambda size: a_jpeg(size) + b"trailer",
    "png": a_png,
    "webp": a_webp,
    "avif": an_avif,
    "no container": lambda size: b"?" * size,
}


@dataclasses.dataclass(frozen=True)
class Sent:
    """One request as a client sends it; `tag` makes its payload unlike any other."""

    tag: int
    dialect: int
    kind: str
    size: int
    own_id: bool
    cuts: tuple[int, ...]
    repeats: tuple[int, ...]
    shuffled: int

    @property
    def correlation_id(self) -> str:
        return f"id-{self.tag}" if self.own_id or self.dialect == 4 else ""

    @property
    def payload(self) -> bytes:
        file = MAKERS[self.kind](self.size)
        mark = f"<{self.tag:06}>".encode()
        middle = len(file) // 2
        return file[:middle] + mark + file[middle + len(mark) :]

    def pieces(self) -> list[tuple[int, bytes]]:
        payload = self.payload
        # A file with a trailer that is cut at its end looks like a whole file: nobody could tell.
        forbidden = {payload.rfind(b"\xff\xd9") + 2}
        at = sorted({0, *(c % len(payload) for c in self.cuts)} - forbidden)
        return [(a, payload[a:b]) for a, b in zip(at, [*at[1:], len(payload)], strict=True)]

    def messages(self) -> list[pb.InferRequest]:
        who = {"correlation_id": self.correlation_id, "meta": {"tag": str(self.tag)}}
        pieces = self.pieces()
        if self.dialect == 1 or len(pieces) == 1:
            return [an_image_request(self.payload, total=self.repeats[0] % 2, **who)]
        if self.dialect == 4:
            return [an_image_request(self.payload, seq=1 + self.repeats[0], total=99, **who)]
        parts = []
        for seq, (offset, piece) in enumerate(pieces):
            said = {} if self.dialect in {3, 5} and seq else who["meta"]
            total = 0 if self.dialect == 5 else len(pieces)
            place = {"seq": seq, "total": total, "offset": offset}
            parts.append(an_image_request(piece, **{**who, "meta": said}, **place))
        if self.own_id:  # these may come in any order, and one of them more than once
            repeated = parts[self.repeats[0] % len(parts)]
            parts += [repeated for _ in self.repeats if self.dialect != 5]
            random.Random(self.shuffled).shuffle(parts)
        return parts


def sent() -> st.SearchStrategy[list[Sent]]:
    one = st.builds(
        Sent,
        tag=st.just(0),
        dialect=st.integers(1, 5),
        kind=st.sampled_from(sorted(MAKERS)),
        size=st.integers(150, 400),
        own_id=st.booleans(),
        cuts=st.lists(st.integers(1, 400), max_size=12).map(tuple),
        repeats=st.lists(st.integers(0, 50), min_size=1, max_size=4).map(tuple),
        shuffled=st.integers(0, 999),
    )
    return st.lists(one, min_size=1, max_size=8).map(
        lambda requests: [dataclasses.replace(r, tag=i) for i, r in enumerate(requests)]
    )


def interleaved(requests: list[Sent], seed: int) -> list[pb.InferRequest]:
    """Mix requests with ids of their own into the others, which share the empty id in turn."""
    queues = [r.messages() for r in requests if r.correlation_id]
    queues.append([m for r in requests if not r.correlation_id for m in r.messages()])
    chance = random.Random(seed)
    stream = []
    while queues := [q for q in queues if q]:
        stream.append(chance.choice(queues).pop(0))
    return stream


@settings(max_examples=300)
@given(requests=sent(), seed=st.integers(0, 999))
def test_every_request_of_every_dialect_comes_out_whole_exactly_once(requests, seed):
    budget = a_budget(MIB)
    assembler = an_assembler(budget=budget)

    outcomes = [o for message in interleaved(requests, seed) for o in assembler.push(message)]
    outcomes += assembler.half_close()

    assert not [o.error for o in outcomes if isinstance(o, Rejected)]
    by_tag = {int(o.meta["tag"]): o for o in outcomes}
    assert len(outcomes) == len(by_tag) == len(requests)
    for request in requests:
        assert by_tag[request.tag].payload == request.payload
        assert by_tag[request.tag].correlation_id == request.correlation_id
    assert assembler.open_count == 0
    assert budget.held_bytes == sum(o.held_bytes for o in outcomes)


def any_message() -> st.SearchStrategy[pb.InferRequest]:
    files = [a_jpeg(200), a_jpeg(200)[:90], a_png(100), b"", b"x" * 300, b"RIFF", b"\xff\xd8\xff"]
    return st.builds(
        an_image_request,
        payload=st.sampled_from(files),
        correlation_id=st.sampled_from(["", "a", "b"]),
        task=st.sampled_from(["clip_image_embed", "embed", ""]),
        payload_mime=st.sampled_from(["image/jpeg", "", "text/plain", "application/octet-stream"]),
        meta=st.sampled_from([{}, {"top_k": "3"}, {"lumen.input.kind": "tensor"}]),
        seq=st.sampled_from([0, 0, 1, 2, 3, 2**63]),
        total=st.sampled_from([0, 0, 1, 2, 4, 2**63]),
        offset=st.sampled_from([0, 0, 90, 200, 2**63]),
    )


def checked(assembler: Assembler, budget_bytes: int, owed: int) -> None:
    assert assembler.open_count <= 2
    assert buffered_bytes(assembler) + remembered_bytes(assembler) + owed == budget_bytes


@settings(max_examples=500)
@given(messages=st.lists(any_message(), max_size=30), waits=st.integers(0, 40))
def test_no_order_of_any_messages_breaks_a_bound_or_loses_a_byte_of_the_budget(messages, waits):
    clock = Clock()
    # Room for four or five requests of this stream: some are refused by its share.
    budget = a_budget(200_000)
    assembler = an_assembler(clock, budget=budget, max_open=2, max_parts=5, max_request_bytes=900)
    owed = 0

    for index, message in enumerate(messages):
        outcomes = assembler.push(message)
        if waits and index % waits == 0:
            clock.now += 1
            outcomes += assembler.expire(clock.now)
        owed += sum(o.held_bytes for o in outcomes if isinstance(o, Assembled))
        checked(assembler, budget.held_bytes, owed)
    owed += sum(o.held_bytes for o in assembler.half_close() if isinstance(o, Assembled))

    checked(assembler, budget.held_bytes, owed)
    assert assembler.open_count == 0
