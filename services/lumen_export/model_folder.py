"""What lies in an exported model's folder beside its graphs, and what its model info says.

All that decides a vector is written out: who serves the folder later has neither the checkpoint nor
its configuration to derive it from.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from lumen_export.errors import ExportRefused
from lumen_resources.fetch.golden_set import VECTORS
from lumen_resources.fetch.recording import record
from lumen_resources.fetch.verify import only_verified
from lumen_resources.model.choice import DECISIVE, MODALITIES, TOKENIZER
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.model.model_info import FILE_NAME, PreprocessInfo
from lumen_resources.progress import Progress
from lumen_serving.media.vocabulary import open_vocabulary
from lumen_serving.startup.golden import GoldenSet
from lumen_terms.modality import Modality


def copy_companions(source: VerifiedModel, folder: Path) -> None:
    """Copy configurations and tokenizer files, from verified bytes.

    A model of open_clip's that brings no tokenizer gets the one that open_clip has for it: no
    server of graphs has that library.
    """
    paths = [path for path in source.proofs if path.name in DECISIVE]
    with only_verified(source, paths) as verified:
        for path in paths:
            (folder / path.name).write_bytes((verified / path.name).read_bytes())
    if Modality.TEXT in source.modalities and source.files.tokenizer is None:
        core, _ = open_vocabulary(source)
        core.save(str(folder / TOKENIZER))


def write_model_info(
    source: VerifiedModel,
    golden: GoldenSet,
    runtimes: Mapping[str, Any],
    datasets: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write model_info.json with the digests of all files of the folder.

    `runtimes` has each runtime's files (for an NPU by chip), `datasets` the label sets. Raises
    ResourceError.
    """
    info = source.info
    document: dict[str, Any] = {
        "name": info.name,
        "version": info.version,
        "description": f"{info.name}, exported from {_weights(source).name}",
        "model_type": info.model_type,
        "embedding_dim": source.embedding_dim,
        "source": info.source.model_dump(mode="json"),
        "runtimes": {name: {"available": True, "files": files} for name, files in runtimes.items()},
        "datasets": dict(datasets),
        "extra_metadata": {"lumen": _lumen(source, golden)},
    }
    if info.metadata is not None:
        document["metadata"] = info.metadata.model_dump(mode="json", exclude_none=True)
    (folder / FILE_NAME).write_bytes(orjson.dumps(document))
    record(folder, Progress())


def add_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Keep in the model info what the export found: its versions and every product's cosines."""
    path = folder / FILE_NAME
    document = orjson.loads(path.read_bytes())
    document["extra_metadata"]["export"] = dict(report)
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def _lumen(source: VerifiedModel, golden: GoldenSet) -> dict[str, Any]:
    size = source.preprocess.size
    known = PreprocessInfo.model_fields
    picture = {k: v for k, v in asdict(source.preprocess).items() if k in known}
    lumen: dict[str, Any] = {
        "preprocess": {**picture, "size": [size, size]},
        "score": asdict(source.score),
        "checkpoint_sha256": source.info.lumen.checkpoint_sha256
        or source.proofs[_weights(source)].sha256,
        "parity": {"inputs": golden.inputs(), "vectors": VECTORS},
    }
    if Modality.TEXT in source.modalities:
        lumen["text"] = asdict(source.text)
    if source.modalities != frozenset(Modality):
        lumen["towers"] = [t.value for t, m in MODALITIES.items() if m in source.modalities]
    return lumen


def _weights(source: VerifiedModel) -> Path:
    if source.files.weights is None:
        raise ExportRefused(
            f"{source.name} has no weights of torch to export from.",
            remedy="Name a repository with .safetensors, .bin or .pt weights.",
        )
    return source.files.weights
