"""A cap on bytes that many streams share, and who may hold how much of it.

Whatever a request makes the process keep is charged here: while its parts arrive, while it waits
or is worked on, and while its answer is written. Nobody's share is fixed. A caller's address may
hold twice what is left to all, a connection twice what is left to its address, and a stream twice
what is left to its connection. So one stream alone comes to half of the limit, one address alone
to two thirds, and beside sixteen that take what they can get, a newcomer still finds 2 % of the
limit: 5 MiB of 256.
"""

from collections.abc import Callable

# How many times what is left anyone may come to hold.
_GENEROSITY = 2


class ByteBudget:
    """Counts bytes held, never above `limit_bytes`; used from one event loop only."""

    __slots__ = ("_held_bytes", "_shares", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._held_bytes = 0
        self._shares: dict[str, _Share] = {}

    @property
    def held_bytes(self) -> int:
        """Return what is taken and not yet given back."""
        return self._held_bytes

    @property
    def callers(self) -> int:
        """Return how many addresses and connections have an account now."""
        return len(self._shares)

    def try_take(self, count: int) -> bool:
        """Take `count` bytes, or say False and take nothing when that exceeds the limit."""
        if self._held_bytes + count > self.limit_bytes:
            return False
        self._held_bytes += count
        return True

    def give_back(self, count: int) -> None:
        """Return `count` bytes taken before."""
        self._held_bytes -= count
        assert self._held_bytes >= 0, "more bytes given back than taken"

    def account(self, address: str = "", connection: str = "") -> "Account":
        """Open the account of one stream; whoever opens it closes it."""
        return Account(self, self._share(f"{address} "), self._share(f"{address} {connection}."))

    def _share(self, key: str) -> "_Share":
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = _Share(lambda: self._shares.pop(key))
        share.accounts += 1
        return share


class _Share:
    """What the streams of an address, or of a connection, hold together."""

    __slots__ = ("_forget", "accounts", "held_bytes")

    def __init__(self, forget: Callable[[], object]) -> None:
        self._forget = forget
        self.accounts = 0
        self.held_bytes = 0

    def leave(self) -> None:
        """Count an account less; the last one takes the share with it."""
        self.accounts -= 1
        if not self.accounts:
            self._forget()


class Account:
    """What one stream holds, within the shares of its address and of its connection."""

    __slots__ = ("_address", "_budget", "_connection", "held_bytes")

    def __init__(self, budget: ByteBudget, address: _Share, connection: _Share) -> None:
        self._budget = budget
        self._address = address
        self._connection = connection
        self.held_bytes = 0

    @property
    def room_bytes(self) -> int:
        """Return how much more may be taken at once; below zero: something should go first."""
        budget = self._budget
        free = budget.limit_bytes - budget.held_bytes
        address = _GENEROSITY * free - self._address.held_bytes
        connection = _GENEROSITY * address - self._connection.held_bytes
        return min(free, address, connection, _GENEROSITY * connection - self.held_bytes)

    def try_take(self, count: int) -> bool:
        """Take `count` bytes, or say False and take nothing when that exceeds a share."""
        if count > self.room_bytes:
            return False
        self._change(count)
        return True

    def give_back(self, count: int) -> None:
        """Return `count` bytes taken before."""
        assert count <= self.held_bytes, "more bytes given back than taken"
        self._change(-count)

    def close(self) -> None:
        """Give back what is still held; the stream is gone."""
        self._change(-self.held_bytes)
        self._address.leave()
        self._connection.leave()

    def _change(self, count: int) -> None:
        if count > 0:
            taken = self._budget.try_take(count)
            assert taken, "room_bytes is never above what is free"
        else:
            self._budget.give_back(-count)
        self._address.held_bytes += count
        self._connection.held_bytes += count
        self.held_bytes += count
