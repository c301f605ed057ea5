"""Requests of a stream that are over, so that their late parts are not taken for another's.

What is remembered is charged to the stream's account; where that has no room it is forgotten,
and late parts of such a request are refused as another one that lacks its first.
"""

from dataclasses import dataclass

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.budget import Account
from lumen_wire.request.charges import PAST_BYTES, PRINT_BYTES, text_bytes
from lumen_wire.request.part_buffer import PartBuffer, PartPrint, part_print

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
    charged_bytes: int = 0


class RecentRequests:
    """The last requests in parts of a stream, by id; a bounded number of them."""

    def __init__(self, max_parts: int, account: Account) -> None:
        self._max_parts = max_parts
        self._account = account
        self._by_id: dict[str, _Past] = {}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    @property
    def charged_bytes(self) -> int:
        """Return what the account is charged for all that is remembered."""
        return sum(past.charged_bytes for past in self._by_id.values())

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
