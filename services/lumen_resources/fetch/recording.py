"""Writes sizes and SHA-256 of a folder's files into its model_info.json.

For the one who knows the files to be good: everyone after can then prove that they are the same.
"""

import os
from pathlib import Path
from typing import Any

import orjson

from lumen_resources.errors import ModelInfoError, translated
from lumen_resources.fetch.plan import listed_files
from lumen_resources.fetch.verify import inside
from lumen_resources.json_text import parse_json
from lumen_resources.model.choice import RUNTIME_SUFFIXES
from lumen_resources.model.contents import read_config
from lumen_resources.model.layouts import CONFIGS
from lumen_resources.model.lock_file import digest_of, write_durably
from lumen_resources.model.model_info import (
    FILE_NAME,
    FileDigest,
    ModelInfo,
    parse,
    read_bytes,
    relative_path,
)
from lumen_resources.model.onnx_graph import read_graph
from lumen_resources.progress import FetchPhase, Progress


def record(folder: Path, progress: Progress) -> dict[str, FileDigest]:
    """Hash every file that a layout knows or the model info names, and write the model info.

    A folder of an older layout without a model_info.json gets one. Keys that we do not know stay
    as they are. Raises ResourceError.
    """
    document = _document(folder)
    content = orjson.dumps(document)
    info, _ = parse(content, file=str(folder / FILE_NAME))
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
    return digests


def _document(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ModelInfoError(
            f"{folder} is not a folder.", remedy="Name the folder that holds the model's files."
        )
    if not (folder / FILE_NAME).exists():
        return _describe_older(folder)
    content = read_bytes(folder / FILE_NAME)
    parse(content, file=str(folder / FILE_NAME))
    document = parse_json(content)
    assert isinstance(document, dict), "parse() accepts objects only"
    return document


def _describe_older(folder: Path) -> dict[str, Any]:
    """Return the least that a model info must say, for a folder that never had one."""
    files = listed_files(folder)
    runtimes = {
        runtime: {"available": True, "files": sorted(p for p in files if p.endswith(suffixes))}
        for runtime, suffixes in RUNTIME_SUFFIXES.items()
        if any(p.endswith(suffixes) for p in files)
    }
    if not runtimes:
        raise ModelInfoError(
            f"{folder} holds no model files of a known layout.",
            remedy="docs/resources.md shows the layouts.",
            file=str(folder),
        )
    name = folder.resolve().name[:100]
    dim = _dimension(folder, files)
    return {
        "name": name,
        "version": "1.0.0",
        "description": f"{name}, described by lumen resources verify --write",
        "model_type": "bioclip" if "bioclip" in name.lower() else "clip",
        "source": {"format": "custom", "repo_id": name},
        "runtimes": runtimes,
        **({} if dim is None else {"embedding_dim": dim}),
    }


def _dimension(folder: Path, files: set[str]) -> int | None:
    """Return the vectors' length as a configuration or a graph has it, None when none says."""
    for name in CONFIGS:
        if name in files:
            section = (read_config(folder / name) or {}).get("model_cfg", {})
            dim = section.get("embed_dim") if isinstance(section, dict) else None
            if isinstance(dim, int) and dim > 0:
                return dim
    for path in sorted(files):
        if path.endswith(".onnx"):
            shapes = [value.shape for value in read_graph(folder / path).outputs]
            known = [shape[1] for shape in shapes if len(shape) == 2 and shape[1] is not None]
            if known:
                return known[0]
    return None


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
