"""Whether a label set's shipped matrix may be used as it is, once copied, or not at all."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from lumen_manifest.spec.enums import Family
from lumen_manifest.spec.model_spec import LabelSetSpec
from lumen_resources.errors import LabelSetError, translated
from lumen_resources.json_text import read_meta
from lumen_resources.labels.filters import kept
from lumen_resources.labels.label_sets import Labels, load_labels, load_matrix, stored_matrix
from lumen_resources.labels.rows import WrongRowError, are_unit, refuse_wrong_rows
from lumen_resources.model.contents import rows_to_sample
from lumen_resources.model.layouts import LabelSetFiles, folder_name
from lumen_resources.model.model_info import FileDigest

NOT_SHIPPED = "No vectors are shipped; they are computed from the labels."
COPY = "shipped.npy"
COPY_META = "shipped.json"
COPY_BLOCK_ROWS = 8192
# Of a larger matrix the other rows are looked at when its search codes are made.
SAMPLED_ROWS = 4096


def label_set_files(
    spec: LabelSetSpec, family: Family, labels: Path, digest: FileDigest
) -> LabelSetFiles:
    """Return a label set as the manifest wants it, without vectors yet."""
    return LabelSetFiles(
        name=spec.name,
        labels=labels,
        embeddings=None,
        digest=digest.sha256,
        template=spec.template_for(family),
        label_format=str(spec.label_format),
        include=tuple(spec.include),
        exclude=tuple(spec.exclude),
        taxonomic=family is Family.BIOCLIP,
        note=NOT_SHIPPED,
    )


@dataclass(frozen=True, slots=True)
class MatrixCheck:
    """One shipped matrix [N, dim] against its labels and the model's dimension.

    `copies` is the model's folder in the cache; a matrix that is transposed or not of unit length
    is put right there once.
    """

    matrix: Path
    digest: FileDigest
    dim: int
    copies: Path

    def check(self, files: LabelSetFiles) -> LabelSetFiles:
        """Check labels and matrix thoroughly, make the copy when one is needed.

        Raises LabelSetError.
        """
        labels = load_labels(files)
        files = checked(files, labels)
        shape = matrix_shape(self.matrix)
        if len(labels) not in shape:
            raise LabelSetError(
                f"{self.matrix} has {shape[0]} x {shape[1]} values, {files.labels.name} has "
                f"{len(labels)} labels.",
                remedy="They are from different releases: take both from the same one, or remove "
                "`embeddings` from the model info to compute them.",
                file=self.matrix.name,
            )
        if self.dim not in shape:
            return self._of_another_dimension(files, shape)
        matrix = load_matrix(self.matrix, self.dim, len(labels))
        try:
            if _is_unit(matrix) and matrix.flags.c_contiguous:
                return replace(files, embeddings=self.matrix, note="")
            copy = self._copy(files.name, matrix)
        except WrongRowError as error:
            raise wrong_row(error, self.matrix, files, labels) from error
        return replace(files, embeddings=copy, note="normalised once, in the cache")

    def recall(self, files: LabelSetFiles) -> LabelSetFiles:
        """Return what `check` found for the same verified files, without reading labels."""
        shape = matrix_shape(self.matrix)
        if self.dim not in shape:
            return self._of_another_dimension(files, shape)
        copy = self._place(files.name)
        if (copy / COPY).is_file() and self._copy_meta() == read_meta(copy / COPY_META):
            return replace(files, embeddings=copy / COPY, note="normalised once, in the cache")
        return replace(files, embeddings=self.matrix, note="")

    def _of_another_dimension(self, files: LabelSetFiles, shape: tuple[int, int]) -> LabelSetFiles:
        return replace(
            files,
            note=f"{self.matrix.name} is {shape[0]} x {shape[1]}, the model's vectors have "
            f"{self.dim} numbers: it is from another model and is not used. The vectors are "
            "computed from the labels.",
        )

    def _copy(self, name: str, matrix: NDArray[Any]) -> Path:
        """Write float32 unit rows, block by block, and return the file."""
        place = self._place(name)
        temporary = place / f".{COPY}.{os.getpid()}"
        with translated(place, "writing normalised label vectors"):
            place.mkdir(parents=True, exist_ok=True)
            if (place / COPY).is_file() and self._copy_meta() == read_meta(place / COPY_META):
                return place / COPY
            try:
                copy = np.lib.format.open_memmap(
                    temporary, mode="w+", dtype=np.float32, shape=matrix.shape
                )
                for start in range(0, len(matrix), COPY_BLOCK_ROWS):
                    block = np.asarray(matrix[start : start + COPY_BLOCK_ROWS], np.float32)
                    copy[start : start + len(block)] = _unit(block, start)
                copy.flush()
                (place / COPY_META).unlink(missing_ok=True)
                temporary.replace(place / COPY)
                (place / COPY_META).write_bytes(orjson.dumps(self._copy_meta()))
            finally:
                temporary.unlink(missing_ok=True)
        return place / COPY

    def _place(self, name: str) -> Path:
        return self.copies / "prepared" / folder_name(name)

    def _copy_meta(self) -> dict[str, Any]:
        return {"source_sha256": self.digest.sha256, "dim": self.dim}


def checked(files: LabelSetFiles, labels: Labels) -> LabelSetFiles:
    """Return the set with what is to be said of its labels; LabelSetError if no filter fits."""
    said = (*kept(labels, files).remarks, *labels.remarks(files.label_format))
    return replace(files, remarks=said)


def wrong_row(
    error: WrongRowError, matrix: Path, files: LabelSetFiles, labels: Labels
) -> LabelSetError:
    """Return the error that names the row by its label, too."""
    (label,) = labels.at([error.row]).texts(files.label_format)
    return LabelSetError(
        f"{matrix}: row {error.row} ({label!r} of {files.name}) is {error.found}.",
        remedy="Take the matrix from where it was published, or remove `embeddings` from the "
        "model info to compute the vectors anew.",
        file=matrix.name,
    )


def _is_unit(matrix: NDArray[Any]) -> bool:
    """Whether all rows of a small matrix, or the sampled ones of a large one, have length one."""
    rows = rows_to_sample(matrix.shape[0], SAMPLED_ROWS)
    lengths = np.linalg.norm(np.asarray(matrix[rows], np.float32), axis=1)
    refuse_wrong_rows(lengths, rows)
    return are_unit(lengths)


def _unit(block: NDArray[np.float32], start: int) -> NDArray[np.float32]:
    lengths = np.linalg.norm(block, axis=1, keepdims=True)
    refuse_wrong_rows(lengths[:, 0], range(start, start + len(block)))
    unit: NDArray[np.float32] = block / lengths
    return unit


def matrix_shape(path: Path) -> tuple[int, int]:
    """Return a matrix's shape from its header; raises LabelSetError when it is none.

    The file's length is checked against the header, the data is not read.
    """
    shape = stored_matrix(path).shape
    if len(shape) != 2 or 0 in shape:
        raise LabelSetError(
            f"{path} has shape {shape}; [labels, dimension] is expected.",
            remedy="Write it with numpy.save as a matrix with one row a label.",
            file=path.name,
        )
    return int(shape[0]), int(shape[1])
