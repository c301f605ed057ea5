"""The whole export: towers to graphs, all that belongs to a model, the proof, and then the move.

Everything is made in a hidden folder beside the goal and moved there in one step: there is a
complete and proven model, or nothing.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from lumen_export.errors import ExportRefused
from lumen_export.golden import GoldenSet, golden_set, stacked, write_pictures
from lumen_export.graphs import InputSize, embed, write_graph, write_int8
from lumen_export.int8 import OPSET
from lumen_export.model_folder import VECTORS, add_report, copy_companions, write_model_info
from lumen_export.proof import Proof, prove_onnx
from lumen_manifest.spec.enums import Precision
from lumen_process.wording import size
from lumen_resources.errors import DiskFullError, translated
from lumen_resources.fetch.verify import ensure_unchanged
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import FetchPhase, Progress
from lumen_serving.backends.torch.library import VERSION, TorchTower, bytes_of
from lumen_serving.backends.torch.towers import open_towers
from lumen_serving.media.preprocess import Normaliser
from lumen_terms.modality import Modality

GRAPH_NAMES = {Modality.IMAGE: "vision", Modality.TEXT: "text"}
# Which files a precision needs; bf16 is computed from fp32 files.
_FILES = {
    Precision.FP32: Precision.FP32,
    Precision.BF16: Precision.FP32,
    Precision.FP16: Precision.FP16,
    Precision.INT8: Precision.INT8,
}
# Bytes of a weight in a file.
_WIDTHS = {Precision.FP32: 4, Precision.FP16: 2, Precision.INT8: 1}
_ROOM_BESIDE_BYTES = 64 * 1024 * 1024

Towers = Mapping[Modality, TorchTower]


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What to make, and where: `out` must not hold anything yet."""

    precisions: tuple[Precision, ...]
    out: Path


@dataclass(frozen=True, slots=True)
class Exported:
    """What was made: the folder, the embedding space it shares with the source, the proofs."""

    folder: Path
    embedding_space: str
    proofs: tuple[Proof, ...]
    bytes: int


def export(source: VerifiedModel, plan: ExportPlan, progress: Progress) -> Exported:
    """Export a verified model of torch.

    Raises ExportError, ResourceError, StartError; nothing is left of what could not be finished.
    """
    refuse_if_taken(plan.out)
    with translated(plan.out, "preparing"):
        plan.out.parent.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(prefix=f".{plan.out.name}.", dir=plan.out.parent)
    with scratch as place:
        folder = Path(place) / "model"
        with translated(plan.out, "writing"):
            proofs = _made(source, plan, folder, progress)
            written = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            folder.replace(plan.out)
    return Exported(plan.out, source.embedding_space, proofs, written)


def refuse_if_taken(out: Path) -> None:
    """Raise ExportRefused when there is anything at `out` already."""
    with translated(out, "looking at"):
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise ExportRefused(
                f"{out} is there already, and nothing is overwritten.",
                remedy="Name another folder with --out, or remove this one.",
            )


def _made(
    source: VerifiedModel, plan: ExportPlan, folder: Path, progress: Progress
) -> tuple[Proof, ...]:
    (folder / "onnx").mkdir(parents=True)
    golden = golden_set(source.modalities)
    progress.begin(FetchPhase.CHECKING)
    progress.at("the checkpoint")
    towers = open_towers(source)
    _refuse_full_disk(towers, plan, folder)
    wanted = source_vectors(source, towers, golden)
    ensure_unchanged(source)
    files = _write_graphs(source, towers, plan, folder, progress)
    del towers
    write_pictures(golden, folder)
    np.save(folder / VECTORS, stacked(wanted))
    copy_companions(source, folder)
    write_model_info(source, golden, {"onnx": files}, {}, folder)
    proofs: list[Proof] = []
    for precision in plan.precisions:
        progress.begin(FetchPhase.CHECKING)
        progress.at(f"{precision.value} beside the source")
        proofs += prove_onnx(folder, source, golden, wanted, precision)
    add_report(folder, {"torch": VERSION, "opset": OPSET, "proofs": _documents(proofs)})
    return tuple(proofs)


def _documents(proofs: list[Proof]) -> list[dict[str, object]]:
    return [proof.as_document() for proof in proofs]


def source_vectors(
    source: VerifiedModel, towers: Towers, golden: GoldenSet
) -> dict[Modality, NDArray[np.float32]]:
    """Return the checkpoint's own unit vectors of the golden set, in fp32."""
    items = golden.items(source)
    if Modality.IMAGE in items:
        items[Modality.IMAGE] = Normaliser.of(source.preprocess)(items[Modality.IMAGE])
    return {modality: embed(towers[modality], batch) for modality, batch in items.items()}


def _write_graphs(
    source: VerifiedModel, towers: Towers, plan: ExportPlan, folder: Path, progress: Progress
) -> list[str]:
    """Write the graphs of every precision and return their paths."""
    wanted = {_FILES[precision] for precision in plan.precisions}
    shape = InputSize(source.preprocess.size, source.text.context_length)
    progress.begin(FetchPhase.PREPARING, files=len(wanted | {Precision.FP32}) * len(towers))

    def at(modality: Modality, precision: Precision) -> Path:
        path = folder / "onnx" / f"{GRAPH_NAMES[modality]}.{precision.value}.onnx"
        progress.at(path.name)
        return path

    for modality, tower in towers.items():
        full = at(modality, Precision.FP32)
        write_graph(tower, modality, shape, full)
        progress.file_done(full.name)
        if Precision.INT8 in wanted:
            small = at(modality, Precision.INT8)
            write_int8(full, small)
            progress.file_done(small.name)
        if Precision.FP32 not in wanted:
            for path in folder.glob(f"onnx/{full.name}*"):
                path.unlink()
    if Precision.FP16 in wanted:
        for modality in towers:
            half = open_towers(source, Precision.FP16, [modality])[modality]
            path = at(modality, Precision.FP16)
            write_graph(half, modality, shape, path)
            progress.file_done(path.name)
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("onnx/*"))


def _refuse_full_disk(towers: Towers, plan: ExportPlan, folder: Path) -> None:
    """Refuse before the first graph what would stop at the last."""
    weights = sum(bytes_of(tower) for tower in towers.values()) // _WIDTHS[Precision.FP32]
    kept = {_FILES[precision] for precision in plan.precisions} | {Precision.FP32}
    needed = weights * sum(_WIDTHS[precision] for precision in kept) + _ROOM_BESIDE_BYTES
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFullError(
            f"{plan.out}: about {size(needed)} are needed, {size(free)} are free.",
            remedy="Free space, name a folder on another disk, or ask for fewer precisions.",
            file=str(plan.out),
        )
