"""The parts of requests, while they arrive and once they are over.

Pure bookkeeping; `chunks` decides what they mean. Requests that are over are remembered, so that
their late parts are not taken for another's. That is charged to the stream's account; where it has
no room they are forgotten, and late parts are refused as a request that lacks its first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lumen_wire.errors import InvalidArgument
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.budget import PAST_BYTES, PRINT_BYTES, Account, text_bytes
from lumen_wire.request.containers import Ending, ending, may_end

MOST_META_ENTRIES = 64
MOST_META_BYTES = 64 * 1024

_KEPT_BYTES = 16

# What a part is recognised by: seq, size and its last bytes.
PartPrint = tuple[int, int, bytes]

_MOST_REMEMBERED = 64
_MOST_PRINTS = 1024


def meta_bytes(meta: Mapping[str, str]) -> int:
    """Return the size of a meta map; raises InvalidArgument when it exceeds the bounds."""
    size = sum(len(key) + len(value) for key, value in meta.items())
    if len(meta) > MOST_META_ENTRIES or size > MOST_META_BYTES:
        raise InvalidArgument(
            f"The request's meta has {len(meta)} entries of {size} characters; at most"
            f" {MOST_META_ENTRIES} entries of {MOST_META_BYTES} characters in all are read."
        )
    return size


@dataclass(slots=True, eq=False)
class PartBuffer:
    """The parts of one request: kept by seq, merged meta, counted bytes."""

    correlation_id: str
    total: int
    began_at: float
    last_at: float = field(init=False)
    task: str = ""
    mime: str = ""
    payload_bytes: int = 0
    charged_bytes: int = 0
    # The parts of an answered request of the same id, which this may merely repeat.
    repeat_of: frozenset[PartPrint] | None = None
    _parts: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    _meta: dict[str, tuple[int, str]] = field(default_factory=dict)
    _head: bytes = b""
    _tail: bytes = b""
    _first_ending: Ending | None = None

    def __post_init__(self) -> None:
        self.last_at = self.began_at

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, seq: int) -> bool:
        return seq in self._parts

    def has(self, seq: int, payload: bytes) -> bool:
        """Say whether this very part is here."""
        return seq in self._parts and self._parts[seq][1] == payload

    @property
    def only_repeats(self) -> bool:
        """Say whether nothing is here that an answered request did not have."""
        return self.repeat_of is not None and self.prints() <= self.repeat_of

    def repeats(self, seq: int, offset: int, payload: bytes) -> bool:
        """Say whether a part that is here already has come again.

        Raises InvalidArgument when another part has come under the same seq.
        """
        kept = self._parts.get(seq)
        if kept is None:
            return False
        if kept != (offset, payload):
            raise InvalidArgument(f"Part {seq} came twice with different bytes.")
        return True

    def add(self, seq: int, offset: int, payload: bytes) -> None:
        """Keep one part; the caller has checked it and paid for it."""
        self._parts[seq] = (offset, payload)
        self.payload_bytes += len(payload)
        if seq == 0:
            self._head = payload[:_KEPT_BYTES]
        self._tail = (self._tail + payload[-_KEPT_BYTES:])[-_KEPT_BYTES:]

    def describe(self, seq: int, task: str, mime: str, meta: Mapping[str, str]) -> None:
        """Merge what a part says of its request: the part with the lowest seq wins.

        Raises InvalidArgument when parts name different tasks, or meta exceeds its bounds.
        """
        if task and self.task and task != self.task:
            raise InvalidArgument("The parts of this request name different tasks.")
        self.task = self.task or task
        if mime and (seq == 0 or not self.mime):
            self.mime = mime
        changed = False
        for key, value in meta.items():
            known = self._meta.get(key)
            if known is None or seq < known[0]:
                self._meta[key] = (seq, value)
                changed = True
        if changed:
            meta_bytes(self.meta())

    def meta(self) -> dict[str, str]:
        """Return the merged meta."""
        return {key: value for key, (_, value) in self._meta.items()}

    @property
    def complete(self) -> bool:
        """Say whether every part of a known total is here."""
        return 0 < self.total == len(self._parts)

    @property
    def lone_first(self) -> bool:
        """Say whether only the first part is here, which may be a whole request."""
        return len(self._parts) == 1 and 0 in self._parts

    def ended_by_container(self) -> bool:
        """Say whether parts of unknown number make up a file that ends properly here."""
        if self.total or not may_end(self._head, self._tail, self.payload_bytes):
            return False
        if set(self._parts) != set(range(len(self._parts))):
            return False
        return ending(self.join(len(self._parts))) is Ending.PROPER

    @property
    def cut_inside(self) -> bool:
        """Say whether the first part's container says that more bytes must follow."""
        if self._first_ending is None:
            self._first_ending = ending(self._parts[0][1])
        return self._first_ending is Ending.MISSING

    def join(self, count: int = 0) -> bytes:
        """Return the payload of `count` parts in order of seq; 0: as many as there should be.

        Raises InvalidArgument when a part is missing, or begins where the one before it does
        not end.
        """
        count = count or self.total or max(self._parts) + 1
        missing = next((seq for seq in range(count) if seq not in self._parts), None)
        if missing is not None:
            of = f" of {self.total}" if self.total else ""
            raise InvalidArgument(f"Part {missing}{of} never came; send all parts of a request.")
        pieces: list[bytes] = []
        end = 0
        for seq in range(count):
            offset, payload = self._parts[seq]
            # Some clients leave `offset` out; then seq alone orders the parts.
            if offset not in {end, 0}:
                raise InvalidArgument(
                    f"Part {seq} begins at byte {offset}, but the part before it ends at {end}."
                )
            pieces.append(payload)
            end += len(payload)
        return pieces[0] if count == 1 else b"".join(pieces)

    def prints(self) -> frozenset[PartPrint]:
        """Return what tells these parts again without keeping them: seq, size and tail."""
        return frozenset(part_print(seq, payload) for seq, (_, payload) in self._parts.items())


def part_print(seq: int, payload: bytes) -> PartPrint:
    """Return what a part is recognised by once its bytes are gone."""
    return (seq, len(payload), payload[-64:])


@dataclass(slots=True)
class _Past:
    """One that is over.

    `prints` are the parts of a completed one, whose repetition is ignored. Of any other (None)
    whatever still comes is ignored, `remaining` messages long.
    """

    total: int
    has_first: bool
    remaining: int
    prints: frozenset[PartPrint] | None = None
    charged_bytes: int = 0


class RecentRequests:
    """The last requests in parts of a stream, by id; a bounded number of them."""

    def __init__(self, max_parts: int, account: Account) -> None:
        self._max_parts = max_parts
        self._account = account
        self._by_id: dict[str, _Past] = {}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def completed(self, buffer: PartBuffer) -> None:
        """Remember a request that was answered; a repetition of its parts is no news."""
        known = buffer.complete and len(buffer) <= _MOST_PRINTS
        self._note(buffer, buffer.prints() if known else None)

    def dropped(self, buffer: PartBuffer) -> None:
        """Remember a request that failed while parts of it were here."""
        self._note(buffer, None)

    def refused(self, message: pb.InferRequest) -> None:
        """Remember a request of which this part was refused, and no other is here."""
        left = max(message.total - 1, 1)
        self._keep(message.correlation_id, _Past(message.total, message.seq == 0, left))

    def begins_anew(self, buffer: PartBuffer) -> None:
        """Let a new request begin, which takes over the parts that it may merely repeat."""
        past = self._by_id.pop(buffer.correlation_id, None)
        if past is None:
            return
        if past.prints is None or past.total != buffer.total:
            self._account.give_back(past.charged_bytes)
            return
        buffer.repeat_of = past.prints
        buffer.charged_bytes += past.charged_bytes

    def forget_all(self) -> None:
        """Let nothing be remembered any more: no more parts come."""
        for key in list(self._by_id):
            self._forget(key)

    def has_late(self, message: pb.InferRequest, payload: bytes) -> bool:
        """Say whether a message is what is left of a request that is over."""
        past = self._by_id.get(message.correlation_id)
        if past is None or past.total != message.total:
            return False
        if message.seq == 0 and (past.has_first or not past.total):
            return False
        if past.prints is not None:
            return message.offset > 0 and part_print(message.seq, payload) in past.prints
        if message.offset == 0 and not past.total:
            return False
        past.has_first = past.has_first or message.seq == 0
        past.remaining -= 1
        if past.remaining <= 0:
            self._forget(message.correlation_id)
        return True

    def _note(self, buffer: PartBuffer, prints: frozenset[PartPrint] | None) -> None:
        # Without a total nobody knows how many parts are still to come: as many as there may be.
        remaining = (buffer.total or self._max_parts) - len(buffer)
        if prints is not None or remaining > 0:
            past = _Past(buffer.total, 0 in buffer, remaining, prints)
            self._keep(buffer.correlation_id, past)

    def _keep(self, key: str, past: _Past) -> None:
        self._forget(key)
        if len(self._by_id) >= _MOST_REMEMBERED:
            self._forget(next(iter(self._by_id)))
        past.charged_bytes = PAST_BYTES + text_bytes(key) + PRINT_BYTES * len(past.prints or ())
        if self._account.try_take(past.charged_bytes):
            self._by_id[key] = past

    def _forget(self, key: str) -> None:
        past = self._by_id.pop(key, None)
        if past is not None:
            self._account.give_back(past.charged_bytes)
