"""The largest of many values, found block by block: most blocks need no second look."""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 32


def block_tops(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest value of each block of rows.

    Block j is the rows j, j + W, j + 2 W, ... for W = N // 32 blocks, so that all are found in one
    sweep over the array; the rows left over at its end are blocks of their own.
    """
    width = len(values) // _BLOCK
    whole = width * _BLOCK
    tops: NDArray[np.float32] = values[:whole].reshape(_BLOCK, width).max(axis=0)
    return np.append(tops, values[whole:])


def rows_of_blocks(blocks: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return the rows of some blocks of `block_tops` over `count` values, in row order."""
    width = count // _BLOCK
    full = blocks[blocks < width]
    rows = (full[None, :] + width * np.arange(_BLOCK)[:, None]).ravel()
    left_over = blocks[blocks >= width] - width + width * _BLOCK
    return np.concatenate([rows, left_over])


def largest(values: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Return where the k largest values are, in any order; all places if there are fewer."""
    first = max(0, len(values) - k)
    places: NDArray[np.intp] = np.argpartition(values, first)[first:]
    return places
