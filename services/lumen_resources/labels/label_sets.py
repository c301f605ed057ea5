"""Label sets: names with their lineages, how they are written, and their matrix of vectors.

Read by the checks of this package, by the server when it builds its index, and by `prepare` when
it computes vectors that were not shipped (see `prepared_labels`).
"""

import gc
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.arrays import UnreadableArrayError, map_npy, read_npz
from lumen_resources.errors import LabelSetError, translated
from lumen_resources.json_text import utf8
from lumen_resources.labels.rows import lies_on_its_side
from lumen_resources.labels.taxa import TaxonIndex
from lumen_resources.model.layouts import LabelSetFiles
from lumen_terms.taxonomy import LabelFormat, Rank

MAX_LABELS_BYTES = 512 * 1024 * 1024
MAX_LABELS = 2_000_000
# A thousand of them make an answer, and one stands in a warning.
MAX_LABEL_CHARACTERS = 2000
UNKNOWN = "*"
BLOCK_BYTES = 1024 * 1024
# Where one `[[lineage], name]` entry ends and the next begins.
_BETWEEN_ENTRIES = re.compile(rb"\]\s*,\s*(?=\[\s*\[)")


RANKS = tuple(Rank)
Lineage = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one set, in the order of the matrix's rows.

    `names` are class names, or the common names of a taxonomy (empty when there is none);
    `lineages` has seven parts an entry, kingdom to epithet (empty where unknown), or is None.
    """

    names: list[str]
    lineages: list[Lineage] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def texts(self, label_format: str = LabelFormat.COMMON) -> list[str]:
        """Return how every label is written; plain names know one format only."""
        if self.lineages is None:
            return list(self.names)
        write = _WRITERS[LabelFormat(label_format)]
        return [write(*entry) for entry in zip(self.lineages, self.names, strict=True)]

    def at(self, rows: Sequence[int]) -> "Labels":
        """Return the labels of some rows."""
        lineages = None if self.lineages is None else [self.lineages[row] for row in rows]
        return Labels([self.names[row] for row in rows], lineages)

    def remarks(self, label_format: str = LabelFormat.COMMON) -> tuple[str, ...]:
        """Return what is right and yet surprises: labels that are empty, or written alike."""
        first: dict[str, int] = {}
        texts = self.texts(label_format)
        alike = [row for row, text in enumerate(texts) if first.setdefault(text, row) != row]
        empty = [row for text, row in first.items() if not text.strip()]
        said = []
        if alike:
            text = texts[alike[0]]
            said.append(
                f"{len(alike):,} label{'s are' if len(alike) > 1 else ' is'} written like an "
                f"earlier one (first {text!r}, rows {first[text]} and {alike[0]}): a picture's "
                "share is split between them."
            )
        if empty:
            said.append(f"The label of row {min(empty)} is empty.")
        return tuple(said)

    def embedded(self, *, taxonomic: bool) -> list[str]:
        """Return what of each label is embedded, however it is shown.

        `taxonomic` is BioCLIP's own text, which its published vectors are made of: the known ranks
        from kingdom to epithet, and `with common name NAME`. Otherwise the name a person would say.
        """
        if taxonomic and self.lineages is not None:
            return [taxonomic_text(*each) for each in zip(self.lineages, self.names, strict=True)]
        return self.texts(LabelFormat.COMMON)

    def digest(self, *, taxonomic: bool) -> str:
        """Return the SHA-256 over what is embedded: computed vectors are valid while it stays."""
        digest = hashlib.sha256()
        for text in self.embedded(taxonomic=taxonomic):
            digest.update(text.encode() + b"\n")
        return digest.hexdigest()

    def taxa(self) -> TaxonIndex:
        """Return what finds rows by the names of their ranks; keep it to ask more than once."""
        return TaxonIndex(self.names, self.lineages, RANKS)


def species_name(lineage: Lineage) -> str:
    """Return `Genus epithet`, or the most exact rank that is known."""
    genus, epithet = lineage[5], lineage[6]
    if genus and epithet:
        return f"{genus} {epithet}"
    return next((part for part in reversed(lineage) if part), UNKNOWN)


def taxonomic_text(lineage: Lineage, name: str) -> str:
    """Return `Animalia Chordata ... rubecula with common name European Robin`.

    As Imageomics' make_txt_embedding.py writes it; what is unknown leaves no gap behind.
    """
    ranks = " ".join(part for part in lineage if part)
    return f"{ranks} with common name {name}".lstrip() if name else ranks


_WRITERS: Mapping[str, Callable[[Lineage, str], str]] = {
    LabelFormat.COMMON: lambda lineage, name: name or species_name(lineage),
    LabelFormat.SCIENTIFIC: lambda lineage, _: species_name(lineage),
    LabelFormat.PATH8: lambda lineage, name: "/".join(part or UNKNOWN for part in (*lineage, name)),
}


def load_labels(files: LabelSetFiles) -> Labels:
    """Read a label set's labels: a JSON list, an id2label object, TreeOfLife entries, or an npz.

    450,000 entries take about a second and no more memory than they then occupy, plus the file.
    Raises LabelSetError.
    """
    try:
        if files.labels.suffix == ".npz":
            return Labels(_bounded(_texts(npz_member(files.labels, ("labels", "names")))))
        return parse_labels(_read_bounded(files.labels))
    except (ValueError, _MalformedError) as error:
        raise LabelSetError(
            f"{files.labels}: {error}.",
            remedy="Expected: a list of names, an object from index to name, or a list of "
            "[[kingdom, phylum, class, order, family, genus, epithet], common name].",
            file=str(files.labels),
        ) from error


class _MalformedError(Exception):
    """A labels file has another shape than the known ones."""


def parse_labels(content: bytes) -> Labels:
    """Parse the JSON of a labels file; its formats are those of `load_labels`."""
    content = utf8(content)
    start = content.lstrip()[:256]
    if re.match(rb"\[\s*\[\s*\[", start):
        return _parse_taxonomy(content)
    document = orjson.loads(content)
    if isinstance(document, dict):
        document = document.get("id2label", document)
    if isinstance(document, dict):
        document = _in_index_order(document)
    if not isinstance(document, list) or not all(isinstance(name, str) for name in document):
        raise _MalformedError("is neither a list of names nor an id2label object")
    return Labels(_bounded(document))


def _texts(array: NDArray[Any]) -> list[str]:
    """Return an npz's names; as bytes, numbers or rows of a table they would read as Python."""
    if array.ndim != 1 or array.dtype.kind != "U":
        raise _MalformedError(f"has names of {array.dtype} {list(array.shape)}, not texts [N]")
    codes = array.astype(array.dtype.newbyteorder("=")).view(np.uint32) if array.size else array
    if array.size and (np.any(codes >> 11 == 0xD800 >> 11) or np.any(codes > sys.maxunicode)):
        raise _MalformedError("has names that are not Unicode")
    return [str(name) for name in array]


def _in_index_order(document: dict[str, Any]) -> list[Any]:
    """id2label: the keys are the rows, 0 to N-1; as text they would sort 0, 1, 10."""
    try:
        rows = {int(key): value for key, value in document.items()}
    except ValueError as error:
        raise _MalformedError("is an object whose keys are not all integers") from error
    if sorted(rows) != list(range(len(document))):
        raise _MalformedError(f"is an object whose keys are not 0 to {len(document) - 1}")
    return [rows[row] for row in range(len(rows))]


def _bounded(items: list[str]) -> list[str]:
    if not 1 <= len(items) <= MAX_LABELS:
        raise _MalformedError(f"has {len(items):,} labels; 1 to {MAX_LABELS:,} are accepted")
    _refuse_long(items)
    return items


def _refuse_long(texts: Iterable[str]) -> None:
    longest = max(map(len, texts), default=0)
    if longest > MAX_LABEL_CHARACTERS:
        raise _MalformedError(
            f"has a label of {longest:,} characters; at most {MAX_LABEL_CHARACTERS:,} are accepted"
        )


def _parse_taxonomy(content: bytes) -> Labels:
    """Entries block by block: parsed at once, 450,000 of them would hold 470 MB for a moment.

    The collector pauses: it would look at every one of a million new objects again and again,
    though none of them can be part of a cycle.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _taxonomy(content)
    finally:
        if collecting:
            gc.enable()


def _taxonomy(content: bytes) -> Labels:
    names: list[str] = []
    lineages: list[Lineage] = []
    # Every text once: kingdoms to genera repeat. An absent rank (null) reads as empty.
    once: dict[Any, str] = {None: ""}
    keep = once.setdefault
    for entry in _taxonomy_entries(content):
        try:
            ranks, name = entry
            lineage = tuple(map(keep, ranks, ranks))
            names.append(keep(name, name))
        except (TypeError, ValueError) as error:
            raise _no_entry(len(names)) from error
        if type(entry) is not list or type(ranks) is not list:
            raise _no_entry(len(lineages))
        if len(lineage) != len(RANKS):
            lineage = _padded(lineage, len(lineages))
        lineages.append(lineage)
    if not all(type(text) is str for text in once.values()):
        raise _MalformedError("has ranks or names that are not text")
    _refuse_long(once.values())
    return Labels(_bounded(names), lineages)


def _padded(lineage: Lineage, row: int) -> Lineage:
    if len(lineage) > len(RANKS):
        raise _no_entry(row)
    return lineage + ("",) * (len(RANKS) - len(lineage))


def _no_entry(row: int) -> _MalformedError:
    return _MalformedError(f"entry {row} is not [[seven ranks], common name]")


def _taxonomy_entries(content: bytes) -> Iterator[Any]:
    body = content.strip()
    if not (body.startswith(b"[") and body.endswith(b"]")):
        raise _MalformedError("is not a complete JSON list")
    start, end = 1, len(body) - 1
    while start < end:
        split = _BETWEEN_ENTRIES.search(body, min(start + BLOCK_BYTES, end), end)
        stop, following = (split.start() + 1, split.end()) if split else (end, end)
        try:
            entries = orjson.loads(b"[%b]" % body[start:stop])
        except orjson.JSONDecodeError:
            # What looked like an end stood inside a name: the rest is read at once.
            entries, following = orjson.loads(b"[%b]" % body[start:end]), end
        yield from entries
        start = following


def _read_bounded(path: Path) -> bytes:
    with translated(path, "reading labels"):
        content = read_bounded(path, MAX_LABELS_BYTES)
    if len(content) > MAX_LABELS_BYTES:
        raise LabelSetError(
            f"{path} is larger than the {MAX_LABELS_BYTES:,} bytes that are read.",
            remedy="Split the label set.",
            file=str(path),
        )
    return content


def npz_member(path: Path, names: Sequence[str]) -> NDArray[Any]:
    """Return the first array of these names; raises LabelSetError."""
    with _readable(path):
        return read_npz(path, names)


def stored_matrix(path: Path) -> NDArray[Any]:
    """Return a file's matrix as it lies there, an npy memory-mapped; raises LabelSetError."""
    if path.suffix == ".npz":
        return npz_member(path, ("embeddings", "vecs"))
    with _readable(path):
        return map_npy(path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        with translated(path, "reading"):
            yield
    except UnreadableArrayError as error:
        raise LabelSetError(
            f"{path} cannot be read: {error}.",
            remedy="Write it anew with numpy.save, or numpy.savez(path, labels=..., "
            "embeddings=...), without Python objects (pickles are never read).",
            file=str(path),
        ) from error


def load_matrix(path: Path, dim: int, count: int) -> NDArray[np.float32] | NDArray[np.float16]:
    """Return [count, dim], float32 or float16; an npy is memory-mapped, not read.

    Some published matrices are [dim, count]: those come back as a transposed view. Of a square one
    the lengths of rows and columns tell.
    Raises LabelSetError when the shape or dtype is another.
    """
    matrix = stored_matrix(path)
    if matrix.dtype not in (np.float32, np.float16):
        raise LabelSetError(
            f"{path} is {matrix.dtype}; float32 or float16 is expected.",
            remedy="Save it as float32.",
            file=str(path),
        )
    if matrix.shape == (count, dim) and not (count == dim and lies_on_its_side(matrix)):
        return matrix
    if matrix.shape == (dim, count):
        return matrix.T
    raise LabelSetError(
        f"{path} has shape {matrix.shape}; [{count}, {dim}] is expected ({count} labels, the "
        f"model's dimension {dim}).",
        remedy="Take the matrix out of the model info's datasets, and it is computed from the "
        "labels.",
        file=str(path),
    )
