"""Answers that come one by one as one array, with what was lost or cut on the way."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumen_client.answers import Embedding
from lumen_client.errors import ItemError, ServerError
from lumen_client.ordered import ItemAnswer

EmbeddingAnswer = ItemAnswer[Embedding]
Callback = Callable[[EmbeddingAnswer], object]


class TextCut(UserWarning):
    """A text was longer than the model reads; its vector is of what came before."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Whom to tell of an item: when it is answered, when it failed, in either case.

    What one of them raises ends the batch and reaches the caller.
    """

    done: Callback | None = None
    error: Callback | None = None
    always: Callback | None = None

    @property
    def take_all(self) -> bool:
        """Whether answers go to these alone, and nothing is gathered."""
        return self.done is not None or self.always is not None

    def tell(self, answer: EmbeddingAnswer) -> None:
        """Tell those whom the answer concerns."""
        for callback in (self.done if answer.error is None else self.error, self.always):
            if callback is not None:
                callback(answer)


@dataclass(slots=True)
class Matrix:
    """The rows so far."""

    callbacks: Callbacks
    _rows: list[NDArray[np.float32] | None] = field(default_factory=list)
    _failures: list[ItemError] = field(default_factory=list)
    _space: str | None = None
    _cut: list[int] = field(default_factory=list)

    def take(self, answer: EmbeddingAnswer) -> None:
        """Tell of one answer and keep it, unless it belongs to whoever was told.

        Raises ServerError when it is of another embedding space than those before.
        """
        self.callbacks.tell(answer)
        found = answer.answer
        if found is not None:
            self._same_space(found)
            if found.truncated:
                self._cut.append(answer.index)
        elif not (self.callbacks.error or self.callbacks.always) and answer.error is not None:
            error = ItemError(answer.index, answer.error, name_of(answer.item))
            error.__cause__ = answer.error
            self._failures.append(error)
        if not self.callbacks.take_all:
            self._rows.append(None if found is None else found.vector)

    def result(self) -> NDArray[np.float32]:
        """Return float32 [N, dim]: NaN in the row of an item whose failure was told.

        None when all went to callbacks. Raises ItemError for the first that failed untold.
        """
        self.warn()
        vectors: NDArray[np.float32] = None if self.callbacks.take_all else self._stacked()  # type: ignore[assignment]
        if self._failures:
            first = self._failures[0]
            first.vectors, first.failures = vectors, tuple(self._failures)
            raise first
        return vectors

    def warn(self) -> None:
        """Say once that texts were cut."""
        if self._cut:
            which = ", ".join(map(str, self._cut[:5])) + (", ..." if len(self._cut) > 5 else "")
            warnings.warn(
                f"the model reads no more than the beginning of {len(self._cut)} of the texts "
                f"(items {which}). Shorten them, or embed their parts.",
                TextCut,
                stacklevel=4,
            )

    def _stacked(self) -> NDArray[np.float32]:
        dim = next((len(row) for row in self._rows if row is not None), 0)
        out = np.full((len(self._rows), dim), np.nan, np.float32)
        for index, row in enumerate(self._rows):
            if row is not None:
                out[index] = row
        return out

    def _same_space(self, found: Embedding) -> None:
        space = f"{found.embedding_space} [{len(found.vector)}]"
        if self._space is None:
            self._space = space
        elif space != self._space:
            raise ServerError(
                "FAILED_PRECONDITION",
                f"the model was replaced meanwhile: vectors came of {self._space} and now of "
                f"{space}, which cannot be compared. Start again.",
            )


def name_of(item: Any) -> str:
    """Return what to call an item by: its path, or nothing."""
    return str(item) if isinstance(item, PurePath) else ""
