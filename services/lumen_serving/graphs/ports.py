"""What a loaded graph takes and gives, whichever library runs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph; a dimension is None where it is free."""

    name: str
    dtype: type[np.generic] | None
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        kind = np.dtype(self.dtype).name if self.dtype else "another type"
        shape = ", ".join("?" if edge is None else str(edge) for edge in self.shape)
        return f"{self.name}: {kind} [{shape}]"


class RunFailed(RuntimeError):
    """The library failed on an input; its own words are the cause."""


class GraphSession(Protocol):
    """A graph that one thread at a time may run.

    `remarks` is what is worth knowing of how it was loaded, by a word each.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    remarks: Mapping[str, str]

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the named outputs, arrays of the caller's own.

        Raises:
            RunFailed: the library's own failure, as the cause.

        """
        ...
