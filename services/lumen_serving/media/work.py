"""One payload's way to the model's input, and what it will cost: `decoding` orders by it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

_MIB = 1 << 20
# More than a picture of 12 megapixels usually costs: such work takes turns among its own kind.
_LARGE_BYTES = 160 * _MIB
_LARGE_S = 0.7


@dataclass(frozen=True, slots=True)
class PreprocessWork:
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
