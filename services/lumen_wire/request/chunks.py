"""Whole requests out of the messages of one stream: five dialects, any order, any cut.

    1  seq = total = offset = 0, or total = 1        a whole request
    2  seq 0..n-1, total n, offset, meta on each     parts (ids are often empty)
    3  the same, meta on the first part alone        parts
    4  seq = index in a batch, offset 0, own ids     whole requests
    5  total 0, seq and offset counting up           parts, ended by half-close

A message with seq 0 and offset 0 looks alike in all of them. It is whole when it is text, or when
its image container ends properly; otherwise it waits for its next part, for half-close, or for
silence on the stream, and is then taken as whole. A first part whose container says that more
must follow, and whose total says so too, waits longer: on a slow line a part takes its time.

Pure: no asyncio, no clock but the one given. All that is kept is charged to the stream's account
of the budget that streams share; whoever receives an `Assembled` gives its `held_bytes` back when
it is done with it. Joining parts copies them: one request at a time, for as long as that takes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lumen_wire.capabilities import MAX_PAYLOAD_BYTES
from lumen_wire.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, WireError
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.budget import (
    PART_OVERHEAD_BYTES,
    REQUEST_OVERHEAD_BYTES,
    Account,
    ByteBudget,
    described_bytes,
    request_bytes,
)
from lumen_wire.request.part_buffer import PartBuffer, RecentRequests
from lumen_wire.request.reading import LONGEST_NAME, check_envelope, stands_alone

_MIB = 1024 * 1024
_ROUND_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """Bounds of one stream; `budget` is shared by all streams of the process."""

    max_request_bytes: int = MAX_PAYLOAD_BYTES
    max_open: int = 64
    max_parts: int = 16_384
    silence_s: float = 0.25
    first_part_silence_s: float = 10.0
    part_wait_s: float = 30.0
    # From a request's first part to its last, however often one comes.
    request_age_s: float = 120.0
    budget: ByteBudget = field(default_factory=lambda: ByteBudget(256 * _MIB))


@dataclass(slots=True)
class Assembled:
    """One whole request; `held_bytes` are owed to the stream's account."""

    correlation_id: str
    task: str
    payload: bytes
    mime: str
    meta: dict[str, str]
    held_bytes: int = field(default=0, compare=False)


@dataclass(slots=True)
class Rejected:
    """One request that cannot be assembled, and why; its neighbours are not concerned."""

    correlation_id: str
    task: str
    error: WireError
    error_mode: str = ""  # as the request's meta says it


Outcome = Assembled | Rejected


class Assembler:
    """The open requests of one stream. Not for use by several tasks at once.

    `account` is the stream's, which outlives the assembler; without one, a stranger's is opened.
    """

    def __init__(
        self,
        limits: ChunkLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        account: Account | None = None,
    ) -> None:
        self._limits = limits or ChunkLimits()
        self._clock = clock
        self._account = account or self._limits.budget.account()
        self._open: dict[str, PartBuffer] = {}
        self._past = RecentRequests(self._limits.max_parts, self._account)
        self._last_at = clock()

    @property
    def open_count(self) -> int:
        """Return how many requests have begun and are not decided."""
        return len(self._open)

    def push(self, message: pb.InferRequest) -> list[Outcome]:
        """Take one message; return what it completed, failed, or showed to be whole."""
        self._last_at = self._clock()
        try:
            check_envelope(message)
            return self._push(message)
        except WireError as error:
            return [self._refuse(message, error)]

    def half_close(self) -> list[Outcome]:
        """Take the end of the client's messages; nothing stays open, or is remembered."""
        outcomes = [o for buffer in list(self._open.values()) for o in self._end(buffer)]
        self._past.forget_all()
        return outcomes

    def expire(self, now: float) -> list[Outcome]:
        """Decide what silence, or age, has decided by `now`."""
        due = [b for b in self._open.values() if self._expiry(b) <= now]
        return [outcome for buffer in due for outcome in self._expired(buffer, now)]

    def next_expiry(self) -> float | None:
        """Return when `expire` has something to do if no message comes, by the clock given."""
        if not self._open:
            return None
        return min(self._expiry(buffer) for buffer in self._open.values())

    def now(self) -> float:
        """Return the time of the clock given."""
        return self._clock()

    def heard(self) -> None:
        """Start the silence anew: the stream was not read for a while, which is not silence."""
        now = self._last_at = self._clock()
        for buffer in self._open.values():
            buffer.last_at = now

    def close(self) -> None:
        """Give back what open requests hold; the stream is gone."""
        for buffer in self._open.values():
            self._account.give_back(buffer.charged_bytes)
        self._open.clear()
        self._past.forget_all()

    # One message

    def _push(self, message: pb.InferRequest) -> list[Outcome]:
        payload = message.payload
        seq = message.seq
        if message.total == 1:
            return [self._whole(message, payload)]
        if not self._open and not self._past:
            return self._begin(message, payload)
        buffer = self._open.get(message.correlation_id)
        if buffer is not None:
            if self._belongs(buffer, message, payload):
                return self._continue(buffer, message, payload)
            if seq == 0 and not stands_alone(message, payload):
                # Requests may share an (empty) id one after the other: the earlier one ends here.
                return self._after(self._end(buffer), self._begin, message, payload)
        elif self._past.has_late(message, payload):
            return []
        return self._begin(message, payload)

    def _belongs(self, buffer: PartBuffer, message: pb.InferRequest, payload: bytes) -> bool:
        """Say whether a message goes on with the open request of its id."""
        if message.seq > 0:
            return True
        if message.total != buffer.total:
            return False
        if 0 not in buffer:
            return True
        if message.total:
            return not buffer.only_repeats or buffer.has(0, payload)
        # seq = total = offset = 0 twice: with an id of its own it is the same request again.
        return bool(message.correlation_id) and not stands_alone(message, payload)

    def _begin(self, message: pb.InferRequest, payload: bytes) -> list[Outcome]:
        if message.seq == 0:
            if message.offset:
                raise InvalidArgument(
                    f"The first part (seq 0) must begin at byte 0, not at {message.offset}."
                )
            if stands_alone(message, payload):
                return [self._whole(message, payload)]
        elif message.offset == 0:
            return [self._whole(message, payload)]
        return self._after(self._make_room(), self._open_buffer, message, payload)

    def _after(
        self,
        decided: list[Outcome],
        begin: Callable[[pb.InferRequest, bytes], list[Outcome]],
        message: pb.InferRequest,
        payload: bytes,
    ) -> list[Outcome]:
        """Begin a request; what was decided to make room for it stays so when it fails."""
        try:
            return [*decided, *begin(message, payload)]
        except WireError as error:
            return [*decided, self._refuse(message, error)]

    def _open_buffer(self, message: pb.InferRequest, payload: bytes) -> list[Outcome]:
        self._take(REQUEST_OVERHEAD_BYTES)
        buffer = PartBuffer(message.correlation_id, message.total, self._last_at)
        buffer.charged_bytes = REQUEST_OVERHEAD_BYTES
        self._past.begins_anew(buffer)
        self._open[message.correlation_id] = buffer
        return self._continue(buffer, message, payload)

    def _whole(self, message: pb.InferRequest, payload: bytes) -> Outcome:
        key, task, mime = message.correlation_id, message.task, message.payload_mime
        meta = dict(message.meta)
        held = request_bytes((key, task, mime), len(payload), meta)
        try:
            self._check_size(len(payload))
            self._take(held)
        except WireError as error:  # an open request of the same id is not concerned
            return _rejected(message, error)
        return Assembled(key, task, payload, mime, meta, held)

    def _continue(
        self, buffer: PartBuffer, message: pb.InferRequest, payload: bytes
    ) -> list[Outcome]:
        seq, offset = message.seq, message.offset
        buffer.last_at = self._last_at
        if message.total and buffer.total and message.total != buffer.total:
            raise InvalidArgument(
                f"Parts of this request say total {buffer.total} and {message.total}."
            )
        if buffer.repeats(seq, offset, payload):
            return []
        self._check_size(max(buffer.payload_bytes, offset) + len(payload))
        if len(buffer) >= self._limits.max_parts or message.total > self._limits.max_parts:
            raise InvalidArgument(
                f"A request may have at most {self._limits.max_parts} parts; send larger ones."
            )
        charge = len(payload) + PART_OVERHEAD_BYTES + described_bytes(message)
        self._take(charge)
        buffer.charged_bytes += charge
        buffer.total = buffer.total or message.total
        buffer.add(seq, offset, payload)
        buffer.describe(seq, message.task, message.payload_mime, message.meta)
        if buffer.complete or (not buffer.lone_first and buffer.ended_by_container()):
            return self._end(buffer)
        return []

    # The end of a request

    def _expired(self, buffer: PartBuffer, now: float) -> list[Outcome]:
        """Decide one whose time is over: by silence as at half-close; by age it fails."""
        age_s = self._limits.request_age_s
        if now < buffer.began_at + age_s or self._may_be_whole(buffer):
            return self._end(buffer)
        error = DeadlineExceeded(
            f"The parts of this request took more than {age_s:g} s to come."
            " Send them faster, or send a smaller picture."
        )
        return [self._drop(buffer, error)]

    def _end(self, buffer: PartBuffer) -> list[Outcome]:
        """Decide an open request by what is there: whole, complete, or with parts missing."""
        if buffer.only_repeats and not buffer.complete:
            self._drop(buffer, InvalidArgument("repeated"))
            return []  # parts of a request that was answered came again: nobody waits
        try:
            payload = buffer.join(1 if self._may_be_whole(buffer) else 0)
        except WireError as error:
            return [self._drop(buffer, error)]
        del self._open[buffer.correlation_id]
        key, task, mime, meta = buffer.correlation_id, buffer.task, buffer.mime, buffer.meta()
        # The parts are gone with the buffer; the joined request is what stays held.
        held = request_bytes((key, task, mime), len(payload), meta)
        self._account.give_back(buffer.charged_bytes - held)
        self._past.completed(buffer)
        return [Assembled(key, task, payload, mime, meta, held)]

    def _refuse(self, message: pb.InferRequest, error: WireError) -> Rejected:
        """Fail the request that a message is, or is a part of."""
        key = message.correlation_id
        buffer = self._open.get(key)
        if buffer is not None and (message.seq or message.total == buffer.total):
            return self._drop(buffer, error)
        if (message.total > 1 or message.offset) and len(key) <= LONGEST_NAME:
            self._past.refused(message)
        return _rejected(message, error)

    def _drop(self, buffer: PartBuffer, error: WireError) -> Rejected:
        del self._open[buffer.correlation_id]
        self._account.give_back(buffer.charged_bytes)
        self._past.dropped(buffer)
        mode = buffer.meta().get("error_mode", "")
        return Rejected(buffer.correlation_id, buffer.task, error, mode)

    # Bounds and waiting

    def _may_be_whole(self, buffer: PartBuffer) -> bool:
        """Say whether a lone first message may be all: not if total and container deny it."""
        return buffer.lone_first and not (buffer.total > 1 and buffer.cut_inside)

    def _expiry(self, buffer: PartBuffer) -> float:
        return min(self._silence_ends(buffer), buffer.began_at + self._limits.request_age_s)

    def _silence_ends(self, buffer: PartBuffer) -> float:
        if not buffer.lone_first:
            return buffer.last_at + self._limits.part_wait_s
        # A round size is a client's part size: the file goes on, its total is not known yet.
        round_size = buffer.payload_bytes % _ROUND_BYTES == 0
        if buffer.cut_inside and (buffer.total > 1 or round_size):
            return self._last_at + self._limits.first_part_silence_s
        return self._last_at + self._limits.silence_s

    def _make_room(self) -> list[Outcome]:
        """Take the oldest undecided message as whole when too many are open."""
        if len(self._open) < self._limits.max_open:
            return []
        for buffer in self._open.values():
            if self._may_be_whole(buffer):
                return self._end(buffer)
        raise ResourceExhausted(
            f"{self._limits.max_open} requests in parts are open on this stream;"
            " finish some before beginning others."
        )

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_request_bytes:
            raise InvalidArgument(
                f"The payload exceeds {self._limits.max_request_bytes} bytes"
                f" ({self._limits.max_request_bytes // _MIB} MiB). Send a smaller one."
            )

    def _take(self, count: int) -> None:
        if self._account.try_take(count):
            return
        # What is over makes room for what comes.
        self._past.forget_all()
        if not self._account.try_take(count):
            raise ResourceExhausted(
                f"The server holds {self._limits.budget.held_bytes // _MIB} MiB already, of this"
                f" stream {self._account.held // _MIB} MiB, which is its share;"
                " try again in a moment.",
                retry_after_ms=1000,
            )


def _rejected(message: pb.InferRequest, error: WireError) -> Rejected:
    """Return the refusal of a message that stands alone; what it says of itself may be huge."""
    return Rejected(
        message.correlation_id[:LONGEST_NAME],
        message.task[:LONGEST_NAME],
        error,
        message.meta.get("error_mode", "")[:LONGEST_NAME],
    )
