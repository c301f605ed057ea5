"""A cap on bytes that many streams share, such as the 256 MiB that a process may hold."""


class ByteBudget:
    """Counts bytes held, never above `limit_bytes`; used from one event loop only."""

    __slots__ = ("_held_bytes", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Return what is taken and not yet given back."""
        return self._held_bytes

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
