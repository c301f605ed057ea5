"""What makes a row of label vectors useless: every one is looked at once, when it is put to use.

A row that is not finite has no cosine, one of zeros no direction; either would make a ranking
empty or wrong and say nothing. A row of another length than one is not wrong: it is normalised.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Below, the length says more about rounding than about a direction.
SHORTEST = 1e-6
UNIT_TOLERANCE = 1e-3


class WrongRowError(ValueError):
    """A row that no picture can be compared with; `row` says which."""

    def __init__(self, row: int, found: str) -> None:
        super().__init__(f"row {row} is {found}")
        self.row = row
        self.found = found


def refuse_wrong_rows(lengths: NDArray[np.floating], first: int = 0, step: int = 1) -> None:
    """Raise WrongRowError for the first length of [N] that is zero or not finite.

    The lengths are those of rows `first`, `first + step`, and so on.
    """
    good = (lengths >= SHORTEST) & (lengths < np.inf)
    if not good.all():
        at = int(np.argmin(good))
        found = "zero" if lengths[at] < SHORTEST else "not finite"
        raise WrongRowError(first + at * step, found)


def lies_on_its_side(square: NDArray[Any]) -> bool:
    """Whether the columns of a matrix [dim, dim] have one length and its rows have not.

    Its shape does not tell which of the two are the labels; that vectors are of unit length does.
    """
    squares = np.square(square, dtype=np.float32)
    rows, columns = (np.sqrt(squares.sum(axis=axis, dtype=np.float64)) for axis in (1, 0))
    return bool(are_unit(columns) and not are_unit(rows))


def are_unit(lengths: NDArray[np.floating]) -> bool:
    """Whether rows need no normalising."""
    return bool(np.all(np.abs(lengths - 1) <= UNIT_TOLERANCE))
