"""A matrix of vectors that grows on disk, and beside it a line for each item.

`v.npy` holds what was embedded, float32 [N, dim]; `v.items.jsonl` says which row is whose, and why
an item has none. Both come under their names when the file is closed, whatever ended the work.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lumen_cli.output_file import part_of
from lumen_process.printable import printable_json

# The format's first version: magic, two bytes of length, a dictionary padded to a multiple of 64.
_HEAD_BYTES = 128
_MAGIC = b"\x93NUMPY\x01\x00"


class VectorFile:
    """Takes vectors one by one; memory is that of one.

    Raises OSError when the disk takes no more; what was added before is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.items_path = path.with_suffix(".items.jsonl")
        self.rows = 0
        self.dim = 0
        self._vectors = _Growing(path)
        try:
            self._items = _Growing(self.items_path)
            self._vectors.append(bytes(_HEAD_BYTES))
        except OSError:
            self._discard()
            raise

    def add(self, item: str, vector: NDArray[np.float32]) -> None:
        """Append a vector, float32 [dim]; raises ValueError for one of another length."""
        if self.rows and len(vector) != self.dim:
            raise ValueError(f"its vector has {len(vector)} numbers, those before it {self.dim}")
        self.dim = len(vector)
        self._vectors.append(vector.astype("<f4").tobytes())
        self._note({"item": item, "row": self.rows})
        self.rows += 1

    def skip(self, item: str, error: str) -> None:
        """Note that an item has no vector, and why."""
        self._note({"item": item, "row": None, "error": error})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put both files in place; a matrix without rows is none, and replaces nothing."""
        if self.rows == 0:
            self._discard()
            return
        # The head takes the place that was kept for it: this works on a full disk.
        self._vectors.finish(_HEAD_BYTES + 4 * self.dim * self.rows, _head(self.rows, self.dim))
        self._items.finish(self._items.bytes)

    def _note(self, line: dict[str, Any]) -> None:
        self._items.append(f"{printable_json(line)}\n".encode())

    def _discard(self) -> None:
        for path in (self.path, self.items_path):
            part_of(path).unlink(missing_ok=True)


class _Growing:
    """A file under its temporary name; `bytes` is how much of it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Unbuffered: what a full disk refused is not tried again when the file is closed.
        self._file = part_of(path).open("wb", buffering=0)
        self.bytes = 0

    def append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.bytes += len(data)

    def finish(self, length: int, head: bytes = b"") -> None:
        with self._file as file:
            file.truncate(length)
            file.seek(0)
            file.write(head)
        part_of(self._path).replace(self._path)


def _head(rows: int, dim: int) -> bytes:
    said = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}".encode()
    room = _HEAD_BYTES - len(_MAGIC) - 2
    return _MAGIC + room.to_bytes(2, "little") + said.ljust(room - 1) + b"\n"
