"""Computed label vectors: written block by block, kept beside a small meta file.

The server's `prepare` writes them, so that a label set needs its vectors computed once; a killed
run goes on where it was. The meta names all that the vectors depend on, so a change of it is seen.

Vectors that the older server computed are taken over where that can be proven:
`data/{clip,bioclip}/{runtime}/{model_id}/text_vectors.npz` holds `vecs`, beside it
`text_vectors.meta.json` says for which labels. Its `names` are pickled Python objects: they are
never read, so only a cache whose meta has the labels' hash is taken.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import orjson
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from lumen_manifest.spec.model_spec import ONE_SENTENCE
from lumen_resources.errors import LabelSetError, ResourceError, translated
from lumen_resources.json_text import read_meta
from lumen_resources.labels.label_sets import Labels, load_labels, npz_member
from lumen_resources.labels.rows import WrongRowError, refuse_wrong_rows
from lumen_resources.model.layouts import LabelSetFiles, VerifiedModel, beside, folder_name

MATRIX = "vectors.npy"
META = "meta.json"
PARTIAL = "vectors.partial"
PARTIAL_META = "partial.json"

OLDER_MATRIX, OLDER_META = "text_vectors.npz", "text_vectors.meta.json"


@dataclass(frozen=True, slots=True)
class Meta:
    """All that computed vectors depend on; equal metas mean the vectors may be used.

    `labels_sha256` is over the texts that are embedded, and so over the rule that wrote them.
    """

    embedding_space: str
    labels_sha256: str
    template: str
    dim: int
    rows: int


def _folder(model: VerifiedModel, files: LabelSetFiles, meta: Meta) -> Path:
    """Return where the vectors of one label set are kept.

    Another service may have other vectors of a set that is called the same: they stay.
    """
    place = model.cache / "prepared" / folder_name(files.name)
    said = [document for name in (META, PARTIAL_META) if (document := read_meta(place / name))]
    return place if not said or asdict(meta) in said else beside(place, repr(meta))


def meta_of(model: VerifiedModel, files: LabelSetFiles, labels: Labels) -> Meta:
    """Return what the vectors of these labels must say of themselves."""
    return Meta(
        embedding_space=model.embedding_space,
        labels_sha256=labels.digest(taxonomic=files.taxonomic),
        template=files.template,
        dim=model.embedding_dim,
        rows=len(labels),
    )


def prepared(
    model: VerifiedModel, files: LabelSetFiles, labels: Labels | None = None
) -> Path | None:
    """Return the computed matrix (npy, float32 [N, dim]) when it is complete and still valid.

    `labels` spares reading them again.
    """
    if not (model.cache / "prepared").is_dir():
        return None
    wanted = meta_of(model, files, labels or load_labels(files))
    place = _folder(model, files, wanted)
    if not (place / MATRIX).is_file():
        return None
    return place / MATRIX if read_meta(place / META) == asdict(wanted) else None


def begin(
    model: VerifiedModel, files: LabelSetFiles, labels: Labels | None = None
) -> "Preparation":
    """Open a preparation, at the row where an earlier one of the same meta was stopped."""
    meta = meta_of(model, files, labels or load_labels(files))
    return Preparation(_folder(model, files, meta), meta)


class Preparation:
    """A matrix that is being computed: `append` blocks in row order, then `commit`.

    A context manager; leaving it without commit keeps the rows for the next run.
    """

    def __init__(self, place: Path, meta: Meta) -> None:
        self._place = place
        self._meta = meta
        self._row_bytes = meta.dim * 4
        with translated(place, "preparing label vectors"):
            place.mkdir(parents=True, exist_ok=True)
            self.done_rows = self._resume()
            self._file: BinaryIO = (place / PARTIAL).open("r+b")
            self._file.seek(self._header_bytes() + self.done_rows * self._row_bytes)
            self._file.truncate()

    @property
    def rows(self) -> int:
        """How many rows the finished matrix has."""
        return self._meta.rows

    def append(self, block: NDArray[np.float32]) -> None:
        """Add rows, float32 [k, dim], finite, not zero; they survive a kill once this returns."""
        if block.ndim != 2 or block.shape[1] != self._meta.dim:
            raise LabelSetError(
                f"Computed label vectors have shape {block.shape}, dimension {self._meta.dim} "
                "was expected.",
                remedy="Correct embedding_dim in model_info.json.",
            )
        if self.done_rows + len(block) > self._meta.rows:
            raise LabelSetError(
                f"More than the {self._meta.rows} label vectors were computed that are needed.",
                remedy="Run the preparation again.",
            )
        try:
            lengths = np.linalg.norm(block, axis=1)
            refuse_wrong_rows(lengths, range(self.done_rows, self.done_rows + len(block)))
        except WrongRowError as error:
            raise LabelSetError(
                f"Computed label vectors cannot be used: {error}.",
                remedy="Check the model: its parity, and its precision on this device.",
            ) from error
        with translated(self._place / PARTIAL, "writing label vectors"):
            self._file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
            self._file.flush()
            os.fdatasync(self._file.fileno())
        self.done_rows += len(block)

    def commit(self) -> Path:
        """Put the complete matrix into place and return its path."""
        if self.done_rows != self._meta.rows:
            raise LabelSetError(
                f"{self.done_rows} of {self._meta.rows} label vectors were computed.",
                remedy="Run the preparation again; it goes on from there.",
            )
        self._file.close()
        with translated(self._place, "finishing label vectors"):
            (self._place / META).unlink(missing_ok=True)
            (self._place / PARTIAL).replace(self._place / MATRIX)
            _write_meta(self._place / META, self._meta)
            (self._place / PARTIAL_META).unlink(missing_ok=True)
        return self._place / MATRIX

    def close(self) -> None:
        """Stop; complete rows stay for the next run."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _header_bytes(self) -> int:
        return len(_npy_header(self._meta))

    def _resume(self) -> int:
        """Return how many complete rows an earlier run left; begin anew when its meta differs."""
        partial = self._place / PARTIAL
        if partial.is_file() and read_meta(self._place / PARTIAL_META) == asdict(self._meta):
            left = partial.stat().st_size - self._header_bytes()
            if left >= 0:
                return min(left // self._row_bytes, self._meta.rows)
        partial.write_bytes(_npy_header(self._meta))
        _write_meta(self._place / PARTIAL_META, self._meta)
        return 0


def _npy_header(meta: Meta) -> bytes:
    """An npy header for the whole matrix: the rows follow, so the finished file needs no copy."""
    buffer = io.BytesIO()
    npy_format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (meta.rows, meta.dim)}
    )
    return buffer.getvalue()


def _write_meta(path: Path, meta: Meta) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(orjson.dumps(asdict(meta), option=orjson.OPT_INDENT_2))
    temporary.replace(path)


def adopt(model: VerifiedModel) -> None:
    """Take over the older server's vectors for label sets with none, shipped or computed.

    It knew one sentence only.
    """
    for files in model.label_sets:
        if files.embeddings is None and files.template == ONE_SENTENCE:
            labels = load_labels(files)
            if labels.lineages is None and prepared(model, files, labels) is None:
                _adopt(model, files, labels)


def _adopt(model: VerifiedModel, files: LabelSetFiles, labels: Labels) -> None:
    wanted = (labels_hash(labels), model.embedding_dim, model.name.replace("::", "_"))
    for place in _older_folders(model.cache):
        meta = read_meta(place / OLDER_META)
        if (meta.get("labels_hash"), meta.get("embed_dim"), meta.get("model_id")) != wanted:
            continue
        try:
            vectors = npz_member(place / OLDER_MATRIX, ("vecs",))
        except ResourceError:
            # A damaged cache counts as none: the vectors are computed.
            continue
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
        whole = vectors.shape == (len(labels), model.embedding_dim) and bool(np.all(lengths > 1e-6))
        if whole and np.isfinite(vectors).all():
            with begin(model, files, labels) as preparation:
                preparation.append((vectors / lengths)[preparation.done_rows :].astype(np.float32))
                preparation.commit()
            return


def labels_hash(labels: Labels) -> str:
    """Return the hash as the older server made it: over the JSON list of names."""
    text = json.dumps(labels.names, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _older_folders(model_cache: Path) -> Iterator[Path]:
    """Yield the older server's folders beside the cache, or beside its `models`."""
    for base in (model_cache.parent, model_cache.parent.parent):
        for family in ("clip", "bioclip"):
            yield from sorted(p.parent for p in (base / "data" / family).glob(f"*/*/{OLDER_META}"))
