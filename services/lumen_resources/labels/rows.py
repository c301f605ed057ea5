"""What makes a row of label vectors useless: every one is looked at once, when it is put to use.

A row that is not finite has no cosine, one of zeros no direction; either would make a ranking
empty or wrong and say nothing. Vectors that were never normalised are, once; a row of another
length among unit rows was normalised like them, and then damaged.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Below, the length says more about rounding than about a direction.
SHORTEST = 1e-6
UNIT_TOLERANCE = 1e-3
# So few among unit rows are damage; more are vectors that nobody normalised.
STRAYS = 0.1


class WrongRowError(ValueError):
    """A row that no picture can be compared with; `row` says which."""

    def __init__(self, row: int, found: str) -> None:
        super().__init__(f"row {row} is {found}")
        self.row = row
        self.found = found


def refuse_wrong_rows(
    lengths: NDArray[np.floating], rows: Sequence[int] | NDArray[np.integer] | None = None
) -> None:
    """Raise WrongRowError for the first length of [N] that is zero, not finite, or a stray.

    The lengths are those of `rows`, which are 0 to N - 1 unless said otherwise.
    """
    good = (lengths >= SHORTEST) & (lengths < np.inf)
    if good.all():
        unit = _is_unit(lengths)
        if unit.all() or np.mean(~unit) > STRAYS:
            return
        good = unit
    at = int(np.argmin(good))
    raise WrongRowError(at if rows is None else int(rows[at]), _found(float(lengths[at])))


def _found(length: float) -> str:
    if not length < np.inf:
        return "not finite"
    return "zero" if length < SHORTEST else f"of length {length:.3f} among unit vectors"


def _is_unit(lengths: NDArray[np.floating]) -> NDArray[np.bool_]:
    unit: NDArray[np.bool_] = np.abs(lengths - 1) <= UNIT_TOLERANCE
    return unit


def lies_on_its_side(square: NDArray[Any]) -> bool:
    """Whether the columns of a matrix [dim, dim] have one length and its rows have not.

    Its shape does not tell which of the two are the labels; that vectors are of unit length does.
    """
    squares = np.square(square, dtype=np.float32)
    rows, columns = (np.sqrt(squares.sum(axis=axis, dtype=np.float64)) for axis in (1, 0))
    return bool(are_unit(columns) and not are_unit(rows))


def are_unit(lengths: NDArray[np.floating]) -> bool:
    """Whether rows need no normalising."""
    return bool(_is_unit(lengths).all())
