"""Lists of names that a label set is narrowed by: a checklist of a region, of a survey, of a park.

Written by other people: one name a line, or a table with a column that says what it holds. Read
where filters are, from a mounted ConfigMap, a file beside the manifest, or what was fetched.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lumen_manifest import names
from lumen_manifest.reading.regular_files import read_bounded
from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.model_spec import NamesSpec
from lumen_resources.errors import (
    ChecksumMismatchError,
    InvalidConfig,
    LabelSetError,
    translated,
)
from lumen_resources.json_text import utf8
from lumen_resources.labels.taxa import Term
from lumen_resources.model.layouts import NameList
from lumen_resources.model.lock_file import bytes_digest
from lumen_terms.taxonomy import Rank

MAX_BYTES = 8 * 1024 * 1024
MAX_NAMES = 200_000
MAX_NAME_CHARACTERS = 200
# Of a name the rank is not told: it is looked for among species, common names and taxa.
ANY = ""
# What tables call the column of names, the best first (GBIF, eBird, iNaturalist, pybioclip).
_COLUMNS = (
    "canonicalname",
    "species",
    "scientificname",
    "binomial",
    "vernacularname",
    "commonname",
    "taxonname",
    "name",
    *(rank.value for rank in Rank),
)
_DELIMITERS = ("\t", ";", ",")


# By label set and field (include_from, exclude_from).
NameLists = Mapping[tuple[str, str], NameList]


def mounted_lists(config: ServerConfig, source_dir: Path) -> NameLists:
    """Return the lists that nothing is fetched for, where they lie on this machine.

    Raises InvalidConfig for a file outside the folder that relative sources start at.
    """
    return {
        (spec.name, field): NameList(_place(spec.name, field, said, source_dir))
        for spec in config.label_sets
        for field, said in spec.name_lists.items()
        if said.uri is None
    }


def _place(label_set: str, field: str, said: NamesSpec, source_dir: Path) -> Path:
    if said.file is None:
        return Path(names.LISTS_DIR) / names.list_file(label_set, field)
    base = source_dir.resolve()
    place = (base / said.file).resolve()
    # What a pod's other files say must not come out as names that nobody knows.
    if not place.is_relative_to(base):
        raise InvalidConfig(
            f"spec.labelSets {label_set}: {said.file} leads out of the manifest's folder.",
            remedy="Put the list of names beside the manifest; in a cluster, into a ConfigMap.",
        )
    return place


def read_names(names_list: NameList) -> tuple[Term, ...]:
    """Return the names of a list as terms: (rank, name), with rank `ANY` where it is not told.

    Raises LabelSetError, and ChecksumMismatchError for a list that is not what was verified.
    """
    path = names_list.path
    if not path.exists():
        raise LabelSetError(
            f"The list of names {path} is not there.",
            remedy="Create the ConfigMap and the key that spec.labelSets names, or without a "
            "cluster name a `file` beside the manifest.",
            file=str(path),
        )
    with translated(path, "reading names"):
        content = read_bounded(path, MAX_BYTES)
    if names_list.sha256 not in {"", bytes_digest(content).sha256}:
        raise ChecksumMismatchError(
            f"The list of names {path} is not what was verified.",
            remedy="Start the service anew, so that it is verified again.",
            file=str(path),
        )
    return parse_names(content, path)


def parse_names(content: bytes, path: Path | str) -> tuple[Term, ...]:
    """Return the same of a list's bytes; `path` is what it is called. Raises LabelSetError."""
    try:
        return _checked(tuple(_terms(_text(content).splitlines())))
    except (ValueError, csv.Error) as error:
        raise LabelSetError(
            f"The list of names {path} cannot be read: {error}.",
            remedy="Write one name a line, or a CSV table with a column such as scientificName, "
            "species, commonName or class, in UTF-8.",
            file=str(path),
        ) from error


def _text(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    return utf8(content).decode()


def _checked(found: tuple[Term, ...]) -> tuple[Term, ...]:
    if not 1 <= len(found) <= MAX_NAMES:
        raise ValueError(f"it has {len(found):,} names; 1 to {MAX_NAMES:,} are read")
    longest = max(len(name) for _, name in found)
    if longest > MAX_NAME_CHARACTERS:
        raise ValueError(f"it has a name of {longest:,} characters; {MAX_NAME_CHARACTERS} are read")
    return tuple(dict.fromkeys(found))


def _terms(lines: Sequence[str]) -> Iterator[Term]:
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for delimiter in _DELIMITERS:
        header = next(csv.reader(lines[:1], delimiter=delimiter), [])
        columns = [column.strip().replace("_", "").replace(" ", "").lower() for column in header]
        named = next((name for name in _COLUMNS if name in columns), None)
        if named is not None:
            at, rank = columns.index(named), named if named in set(Rank) else ANY
            rows = csv.reader(io.StringIO("\n".join(lines[1:])), delimiter=delimiter, strict=True)
            values = (row[at].strip() for row in rows if len(row) > at)
            yield from ((rank, value) for value in values if value)
            return
    yield from ((ANY, line.strip()) for line in lines)


def without_author(name: str) -> str:
    """Return `Felis catus` of `Felis catus Linnaeus, 1758`: an author's name begins in capitals."""
    words = name.split()
    kept = words[:2]
    for word in words[2:]:
        if not word[0].islower():
            break
        kept.append(word)
    return " ".join(kept)
