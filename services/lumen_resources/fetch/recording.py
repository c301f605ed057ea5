"""Writes sizes and SHA-256 of a folder's files into its model_info.json.

For the one who knows the files to be good: everyone after can then prove that they are the same.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.errors import (
    ModelInfoError,
    ResourceError,
    ResourceValidationError,
    translated,
)
from lumen_resources.fetch.plan import listed_files
from lumen_resources.fetch.staging import SMALL_BYTES
from lumen_resources.fetch.verify import inside
from lumen_resources.json_text import parse_json
from lumen_resources.labels.label_sets import load_labels
from lumen_resources.model.choice import runtime_files
from lumen_resources.model.derive import derive
from lumen_resources.model.layouts import LabelSetFiles
from lumen_resources.model.lock_file import bytes_digest, digest_of, write_durably
from lumen_resources.model.model_info import (
    FILE_NAME,
    FileDigest,
    ModelInfo,
    ParityInfo,
    parse,
    read_bytes,
    relative_path,
)
from lumen_resources.model.onnx_graph import read_graph
from lumen_resources.progress import FetchPhase, Progress


@dataclass(frozen=True, slots=True)
class Recording:
    """What was written: the digests, and for a folder that had no model info what it is now."""

    digests: Mapping[str, FileDigest]
    derived: tuple[str, ...] = ()


def record(folder: Path, progress: Progress) -> Recording:
    """Hash every file that a layout knows or the model info names, and write the model info.

    A folder without a model_info.json gets one, derived from its files. Keys that we do not know
    stay as they are. Raises ResourceError.
    """
    document, derived = _document(folder)
    content = orjson.dumps(document)
    info, _ = parse(content, file=str(folder / FILE_NAME))
    if _lost_its_golden_set(folder, info):
        del document["extra_metadata"]["lumen"]["parity"]
        info, _ = parse(orjson.dumps(document), file=str(folder / FILE_NAME))
    at = inside(folder)
    paths = sorted(_recordable(folder, info))
    with translated(folder, "reading"):
        total = sum(at(path).stat().st_size for path in paths)
    progress.begin(FetchPhase.VERIFYING, total_bytes=total, files=len(paths))
    digests = {}
    for path in paths:
        progress.at(path)
        digests[path] = digest_of(at(path), progress.add)
        progress.file_done(path)
    files = {path: {"size": d.size, "sha256": d.sha256} for path, d in digests.items()}
    document.setdefault("extra_metadata", {}).setdefault("lumen", {})["files"] = files
    _write(folder / FILE_NAME, document)
    progress.begin(FetchPhase.DONE)
    return Recording(digests, derived)


def write_golden_set(folder: Path, parity: ParityInfo, files: Mapping[str, bytes]) -> None:
    """Put a golden set into a folder, and its digests into the model info that is there.

    `files` are its pictures and vectors by path. Raises ResourceError, also for files of others at
    these places.
    """
    document, _ = _document(folder)
    info, _ = parse(orjson.dumps(document), file=str(folder / FILE_NAME))
    lumen = document.setdefault("extra_metadata", {}).setdefault("lumen", {})
    _refuse_others(folder, info, files)
    if lumen.pop("parity", None) is not None:
        # The earlier set goes first: it would be named beside the new one's files.
        _write(folder / FILE_NAME, document)
    for path, content in files.items():
        with translated(folder / path, "writing"):
            (folder / path).parent.mkdir(exist_ok=True)
            write_durably(folder / path, content)
        digest = bytes_digest(content)
        lumen.setdefault("files", {})[path] = {"size": digest.size, "sha256": digest.sha256}
    lumen["parity"] = parity.model_dump(mode="json", exclude_none=True)
    _write(folder / FILE_NAME, document)


def _refuse_others(folder: Path, info: ModelInfo, files: Mapping[str, bytes]) -> None:
    mine = info.lumen.parity is not None and info.lumen.parity.reference is not None
    there = [path for path in files if (folder / path).exists()]
    if there and not mine:
        raise ResourceValidationError(
            f"{folder / there[0]} is there already, where a golden set would go.",
            remedy="Name it in extra_metadata.lumen.parity, or move it.",
            file=there[0],
        )


def _lost_its_golden_set(folder: Path, info: ModelInfo) -> bool:
    """Whether a set that was recorded here was removed since: another may be recorded then."""
    parity = info.lumen.parity
    if parity is None or parity.reference is None:
        return False
    return not (folder / parity.vectors).exists()


def _document(folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    if not folder.is_dir():
        raise ModelInfoError(
            f"{folder} is not a folder.", remedy="Name the folder that holds the model's files."
        )
    if not (folder / FILE_NAME).exists():
        return _labels_alone(folder) or _derived(folder)
    content = read_bytes(folder / FILE_NAME)
    parse(content, file=str(folder / FILE_NAME))
    document = parse_json(content)
    assert isinstance(document, dict), "parse() accepts objects only"
    return document, ()


def _labels_alone(folder: Path) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    """Return a model info for a folder of label sets, None for one that has files of a model."""
    there = listed_files(folder)
    if runtime_files(dict.fromkeys(there, 1)):
        return None
    found = (path for path in there if _is_set(folder, path))
    sets = {path.rpartition("/")[2].rpartition(".")[0]: path for path in found}
    if not sets:
        return None
    datasets = {}
    for name, labels in sorted(sets.items()):
        matrix = labels if labels.endswith(".npz") else f"{labels.removesuffix('.json')}.npy"
        datasets[name] = {"labels": labels} | ({"embeddings": matrix} if matrix in there else {})
    document = {
        "name": folder.resolve().name[:100],
        "version": "1.0.0",
        "description": "Label sets, without a model",
        "model_type": "labels",
        "source": {"format": "custom", "repo_id": folder.resolve().name},
        "runtimes": {"onnx": {"available": False}},
        "datasets": datasets,
    }
    return document, (f"{folder} holds label sets: {', '.join(sorted(sets))}.",)


def _is_set(folder: Path, path: str) -> bool:
    """Whether a file reads as labels; configurations and tokenizers do not."""
    if not _is_plain(path) or not path.endswith((".json", ".npz")):
        return False
    with contextlib.suppress(ResourceError):
        load_labels(LabelSetFiles("", inside(folder)(path), None, "", "", ""))
        return True
    return False


def _derived(folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a model info for a folder that never had one."""
    at = inside(folder)
    with translated(folder, "reading"):
        sizes = {path: at(path).stat().st_size for path in listed_files(folder) if _is_plain(path)}

    def read(path: str) -> bytes:
        with translated(at(path), "reading"):
            return read_bounded(at(path), SMALL_BYTES)

    info, sentences = derive(
        folder.resolve().name, sizes, read, measure=lambda path: read_graph(at(path))
    )
    return info.model_dump(mode="json", exclude_none=True, exclude_defaults=True), sentences


def _recordable(folder: Path, info: ModelInfo) -> set[str]:
    named = set(listed_files(folder))
    for dataset in info.datasets.values():
        named |= {p for p in (dataset.labels, dataset.embeddings) if p}
    for runtime in info.runtimes.values():
        named |= set(runtime.all_files())
    if info.lumen.parity:
        named |= {i.image for i in info.lumen.parity.inputs if i.image}
        named.add(info.lumen.parity.vectors)
    return {p for p in named if p != FILE_NAME and _is_plain(p) and (folder / p).is_file()}


def _is_plain(path: str) -> bool:
    try:
        relative_path(path)
    except ValueError:
        return False
    return not path.rpartition("/")[2].startswith(".")


def _write(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with translated(path, "writing"):
        try:
            write_durably(temporary, orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
