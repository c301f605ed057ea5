"""Requests of a stream that are over, so that their late parts are not taken for another's."""

from dataclasses import dataclass

from lumen_wire.part_buffer import PartBuffer, PartPrint, part_print
from lumen_wire.pb import ml_service_pb2 as pb

_MOST_REMEMBERED = 64
_MOST_PRINTS = 1024


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


class PastRequests:
    """The last requests in parts of a stream, by id; a bounded number of them."""

    def __init__(self, max_parts: int) -> None:
        self._max_parts = max_parts
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

    def forget(self, message: pb.InferRequest) -> frozenset[PartPrint] | None:
        """Let a new request begin; return the parts that it may merely repeat, if any."""
        past = self._by_id.pop(message.correlation_id, None)
        return past.prints if past is not None and past.total == message.total else None

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
            del self._by_id[message.correlation_id]
        return True

    def _note(self, buffer: PartBuffer, prints: frozenset[PartPrint] | None) -> None:
        # Without a total nobody knows how many parts are still to come: as many as there may be.
        remaining = (buffer.total or self._max_parts) - len(buffer)
        if prints is not None or remaining > 0:
            past = _Past(buffer.total, 0 in buffer, remaining, prints)
            self._keep(buffer.correlation_id, past)

    def _keep(self, key: str, past: _Past) -> None:
        self._by_id.pop(key, None)
        if len(self._by_id) >= _MOST_REMEMBERED:
            del self._by_id[next(iter(self._by_id))]
        self._by_id[key] = past
