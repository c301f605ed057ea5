"""A cap on what many callers share, who may hold how much of it, and what a request is charged.

Whatever a request makes the process keep is charged here in bytes: while its parts arrive, while
it waits or is worked on, and while its answer is written. Places in a queue are shared by the same
rule. Nobody's share is fixed. A caller's address may hold twice what is left to all, a connection
twice what is left to its address, those whom it tells of (`callers`) likewise, and an account twice
what is left to its caller. So one stream alone comes to half of the limit, one address alone to
two thirds, and beside sixteen that take what they can get, a newcomer still finds 2 % of the
limit: 5 MiB of 256.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.callers import STRANGER

# How many times what is left anyone may come to hold.
_GENEROSITY = 2


class Budget:
    """Counts what is held, never above `limit`; used from one event loop or under one lock.

    `each` is the most that one caller may hold, whatever is left.
    """

    __slots__ = ("_all", "callers", "each", "limit")

    def __init__(self, limit: int, each: int | None = None) -> None:
        self.limit = limit
        self.each = limit if each is None else each
        self.callers = 0
        """How many addresses, connections and told callers have an account now."""
        self._all = _Share("")

    @property
    def held(self) -> int:
        """Return what is taken and not yet given back."""
        return self._all.held

    def account(self, *caller: str) -> "Account":
        """Open an account of a caller, a stranger by default; whoever opens it closes it."""
        shares = [self._all]
        for name in caller or STRANGER:
            share = shares[-1].inside.get(name)
            if share is None:
                share = shares[-1].inside[name] = _Share(name)
                self.callers += 1
            share.accounts += 1
            shares.append(share)
        return Account(self, shares)


class ByteBudget(Budget):
    """A budget of bytes."""

    __slots__ = ()

    @property
    def held_bytes(self) -> int:
        """Return how many bytes are taken and not yet given back."""
        return self.held


def places(each: int) -> Budget:
    """Return places in a queue: `each` for one caller, and by its share of twice as many."""
    # Of twice as many, a caller alone comes to more than half.
    return Budget(2 * each, each)


@dataclass(slots=True, eq=False)
class _Share:
    """What the accounts of all, of an address, or of a name within another's, hold together."""

    name: str
    accounts: int = 0
    held: int = 0
    inside: "dict[str, _Share]" = field(default_factory=dict)


class Account:
    """What one stream or request holds, within the shares of its caller."""

    __slots__ = ("_budget", "_shares", "held")

    def __init__(self, budget: Budget, shares: list[_Share]) -> None:
        self._budget = budget
        self._shares = shares
        self.held = 0

    @property
    def room(self) -> int:
        """Return how much more may be taken at once; below zero: something should go first."""
        left = self._budget.limit - self._budget.held
        room = min(left, self._budget.each - self._shares[-1].held)
        for share in self._shares[1:]:
            left = _GENEROSITY * left - share.held
            room = min(room, left)
        return min(room, _GENEROSITY * left - self.held)

    @property
    def ahead(self) -> int:
        """Return how much of what is held would go before one more of this account.

        What its own caller holds goes first; beyond that everybody takes turns, one at a time.
        """
        ahead = self._shares[-1].held
        for own, outer in pairwise(reversed(self._shares)):
            turns = ahead + 1
            ahead += sum(
                min(other.held, turns) for other in outer.inside.values() if other is not own
            )
        return ahead

    def try_take(self, count: int) -> bool:
        """Take `count`, or say False and take nothing when that exceeds a share."""
        if count > self.room:
            return False
        self._change(count)
        return True

    def give_back(self, count: int) -> None:
        """Return `count` of what was taken before."""
        assert count <= self.held, "more given back than taken"
        self._change(-count)

    def close(self) -> None:
        """Give back what is still held; the stream or request is gone."""
        self._change(-self.held)
        for share, outer in pairwise(reversed(self._shares)):
            share.accounts -= 1
            if not share.accounts:
                del outer.inside[share.name]
                self._budget.callers -= 1

    def _change(self, count: int) -> None:
        for share in self._shares:
            share.held += count
        self.held += count


# What a request costs beside its payload. Text outside ASCII takes up to four bytes a character
# in memory, and is charged for as many.

# A request in flight: its task, its timers, what it waits for, and its call to a pod.
REQUEST_OVERHEAD_BYTES = 16 * 1024
# What a part costs beside its payload: its objects, and its place in the tables.
PART_OVERHEAD_BYTES = 256
# One of the prints by which the repeated part of an answered request is known.
PRINT_BYTES = 320
# A request that is over and remembered, without its id and its prints.
PAST_BYTES = 512
_ENTRY_OVERHEAD_BYTES = 128
_TEXT_OVERHEAD_BYTES = 56


def described_bytes(message: pb.InferRequest) -> int:
    """Return what the names and the meta of one message take."""
    names = (message.correlation_id, message.task, message.payload_mime)
    return sum(map(text_bytes, names)) + meta_held_bytes(message.meta)


def meta_held_bytes(meta: Mapping[str, str]) -> int:
    """Return what a meta map takes once it is kept."""
    texts = sum(text_bytes(key) + text_bytes(value) for key, value in meta.items())
    return texts + _ENTRY_OVERHEAD_BYTES * len(meta)


def request_bytes(names: Iterable[str], payload_bytes: int, meta: Mapping[str, str]) -> int:
    """Return what a whole request takes until it is answered."""
    held = sum(map(text_bytes, names)) + meta_held_bytes(meta)
    return REQUEST_OVERHEAD_BYTES + payload_bytes + held


def text_bytes(text: str) -> int:
    """Return what a text takes at most."""
    return _TEXT_OVERHEAD_BYTES + (len(text) if text.isascii() else 4 * len(text))
