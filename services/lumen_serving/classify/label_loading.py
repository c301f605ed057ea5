"""Label sets from verified files: labels, their matrix, the index over it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lumen_resources.labels import prepared_labels
from lumen_resources.labels.checks import wrong_row
from lumen_resources.labels.label_sets import Labels, load_labels, load_matrix
from lumen_resources.labels.rows import WrongRowError
from lumen_resources.model.layouts import LabelSetFiles, VerifiedModel, folder_name
from lumen_serving.classify.label_ranking import LabelSet, Mask
from lumen_serving.errors import LabelsUnusable
from lumen_serving.label_index.codes import CodeCache
from lumen_serving.label_index.index import LabelIndex


def load_label_sets(model: VerifiedModel, threads: int) -> Iterator[LabelSet]:
    """Yield the model's label sets in the order of the manifest.

    Raises:
        LabelsUnusable: vectors are not there, or the manifest's filters leave no label.
        LabelSetError: the files can't be read, or a row is zero or not finite.

    """
    for files in model.label_sets:
        yield _load(model, files, threads)


def _load(model: VerifiedModel, files: LabelSetFiles, threads: int) -> LabelSet:
    labels = load_labels(files)
    path = files.embeddings or prepared_labels.prepared(model, files, labels)
    if path is None:
        raise LabelsUnusable(
            f"The label set {files.name} has no vectors. {files.note}".strip(),
            remedy="Let the init container `prepare` compute them, "
            "or run `python -m lumen_serving prepare` with the same configuration.",
            file=str(files.labels),
        )
    matrix = load_matrix(path, model.embedding_dim, len(labels))
    with rows_named(path, files, labels):
        index = LabelIndex.build(matrix, threads=threads, cache=code_cache(model, files))
    return LabelSet(files, labels, index, _allowed(files, labels))


@contextmanager
def rows_named(matrix: Path, files: LabelSetFiles, labels: Labels) -> Iterator[None]:
    """Turn a wrong row that is found while a matrix is indexed into a LabelSetError."""
    try:
        yield
    except WrongRowError as error:
        raise wrong_row(error, matrix, files, labels) from error


def code_cache(model: VerifiedModel, files: LabelSetFiles) -> CodeCache:
    """Return where the codes of a label set's matrix are kept, and under which key."""
    depends_on = (model.digest, files.name, files.digest, files.template, files.label_format)
    return CodeCache(
        folder=model.cache / "codes" / folder_name(files.name),
        key=hashlib.sha256("\n".join(depends_on).encode()).hexdigest(),
    )


def _allowed(files: LabelSetFiles, labels: Labels) -> Mask | None:
    if not files.include and not files.exclude:
        return None
    mask = labels.mask(files.include, files.exclude)
    if not mask.any():
        raise LabelsUnusable(
            f"include and exclude leave no label of {files.name}.",
            remedy="Correct spec.labelSets[].include and exclude.",
            file=str(files.labels),
        )
    return mask
