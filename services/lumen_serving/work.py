"""One payload's way to the model's input, and what it will cost: `decoding` orders by it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

_MIB = 1 << 20
# What a picture of a few megapixels costs: more than that takes its turn among its own kind.
_LARGE_BYTES = 64 * _MIB
_LARGE_S = 0.3


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do for an item: `make` returns its row of the model's input.

    `peak_bytes` is the most memory that it holds at a time, `seconds` about what it takes of one
    core; both are judged beforehand, since nothing can end it.
    """

    make: Callable[[], NDArray[Any]]
    peak_bytes: int = 0
    seconds: float = 0.0

    @property
    def large(self) -> bool:
        """Whether it would hold up others."""
        return self.peak_bytes > _LARGE_BYTES or self.seconds > _LARGE_S
