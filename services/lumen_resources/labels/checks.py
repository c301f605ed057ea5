"""Whether a label set's shipped matrix may be used as it is, or not at all."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.spec.enums import Family
from lumen_manifest.spec.model_spec import LabelSetSpec
from lumen_resources.errors import LabelSetError
from lumen_resources.labels.filters import kept
from lumen_resources.labels.label_sets import Labels, load_labels, load_matrix, stored_matrix
from lumen_resources.labels.name_lists import NameLists
from lumen_resources.labels.rows import WrongRowError, refuse_wrong_rows
from lumen_resources.model.contents import rows_to_sample
from lumen_resources.model.layouts import LabelSetFiles
from lumen_resources.model.model_info import FileDigest

NOT_SHIPPED = "No vectors are shipped; they are computed from the labels."
# Of a larger matrix the other rows are looked at when its search codes are made.
SAMPLED_ROWS = 4096


def label_set_files(
    spec: LabelSetSpec,
    family: Family,
    labels: Path,
    digest: FileDigest,
    lists: NameLists = MappingProxyType({}),
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
        include_names=lists.get((spec.name, "include_from")),
        exclude_names=lists.get((spec.name, "exclude_from")),
        taxonomic=family is Family.BIOCLIP,
        note=NOT_SHIPPED,
    )


@dataclass(frozen=True, slots=True)
class MatrixCheck:
    """One shipped matrix [N, dim] or [dim, N] against its labels and the model's dimension.

    It is searched where it lies, whichever its rows are and whatever their length: a published one
    of 3 GB has no room beside itself in a cache.
    """

    matrix: Path
    digest: FileDigest
    dim: int

    def check(self, files: LabelSetFiles) -> LabelSetFiles:
        """Check labels and matrix thoroughly. Raises LabelSetError."""
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
        if self.dim in shape:
            matrix = load_matrix(self.matrix, self.dim, len(labels))
            try:
                _look_at(matrix)
            except WrongRowError as error:
                raise wrong_row(error, self.matrix, files, labels) from error
        return self.recall(files)

    def recall(self, files: LabelSetFiles) -> LabelSetFiles:
        """Return what `check` found for the same verified files, without reading labels."""
        shape = matrix_shape(self.matrix)
        if self.dim in shape:
            return replace(
                files, embeddings=self.matrix, embeddings_digest=self.digest.sha256, note=""
            )
        return replace(
            files,
            note=f"{self.matrix.name} is {shape[0]} x {shape[1]}, the model's vectors have "
            f"{self.dim} numbers: it is from another model and is not used. The vectors are "
            "computed from the labels.",
        )


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


def _look_at(matrix: NDArray[Any]) -> None:
    """Raise WrongRowError for a row of a small matrix, or a sampled one of a large one."""
    rows = rows_to_sample(matrix.shape[0], SAMPLED_ROWS)
    refuse_wrong_rows(np.linalg.norm(np.asarray(matrix[rows], np.float32), axis=1), rows)


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
