"""The whole export: towers to graphs, all that belongs to a model, the proof, and then the move.

Everything is made in a hidden folder beside the goal and moved there in one step: there is a
complete and proven model, or nothing.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from lumen_export.errors import ExportRefused
from lumen_export.graphs import InputSize, embed, write_graph, write_int8
from lumen_export.int8 import OPSET
from lumen_export.label_files import LabelPlan, label_set_specs, write_labels
from lumen_export.model_folder import add_report, copy_companions, write_model_info
from lumen_export.npu import NpuPlan, prove_rknn
from lumen_export.proof import Proof, SourceModel, prove_onnx
from lumen_manifest.spec.enums import Precision, Runtime
from lumen_process.wording import size
from lumen_resources.errors import DiskFullError, translated
from lumen_resources.fetch.verify import ensure_unchanged
from lumen_resources.labels.rows import WrongRowError, refuse_wrong_rows
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import FetchPhase, Progress
from lumen_serving.backends.torch.library import VERSION, TorchTower, bytes_of
from lumen_serving.backends.torch.towers import open_towers
from lumen_serving.media.preprocess import Normaliser
from lumen_serving.startup.golden import GoldenSet, golden_set
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
    """What to make, and where: `out` must not hold anything yet.

    `onnx` are the precisions of ONNX files, none for none; `npu` what to make of them for an NPU.
    """

    onnx: tuple[Precision, ...]
    out: Path
    npu: NpuPlan | None = None
    labels: LabelPlan = field(default_factory=LabelPlan)

    @property
    def files(self) -> frozenset[Precision]:
        """The ONNX files that are kept."""
        return frozenset(_FILES[precision] for precision in self.onnx)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was made: the folder, the embedding space it shares with the source, the proofs."""

    folder: Path
    embedding_space: str
    proofs: tuple[Proof, ...]
    bytes: int


def export(model: VerifiedModel, plan: ExportPlan, progress: Progress) -> Exported:
    """Export a verified model of torch.

    Raises ExportError, ResourceError, StartError; nothing is left of what could not be finished.
    """
    refuse_unusable(plan.out)
    with translated(plan.out, "preparing"):
        plan.out.parent.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(prefix=f".{plan.out.name}.", dir=plan.out.parent)
    with scratch as place:
        folder = Path(place) / "model"
        with translated(plan.out, "writing"):
            proofs = _made(model, plan, folder, progress)
            written = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            folder.replace(plan.out)
    return Exported(plan.out, model.embedding_space, proofs, written)


def refuse_unusable(out: Path) -> None:
    """Raise ExportRefused when there is anything at `out` already, or nothing can be made there."""
    with translated(out, "looking at"):
        # A folder takes the place of an empty one, but not that of a link.
        if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
            raise ExportRefused(
                f"{out} is there already, and nothing is overwritten.",
                remedy="Name another folder with --out, or remove this one.",
            )
        above = next(folder for folder in out.parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            why = "may not be written to" if above.is_dir() else "is not a folder"
            raise ExportRefused(
                f"{out} cannot be made: {above} {why}.",
                remedy="Name another folder with --out.",
            )


def _made(
    model: VerifiedModel, plan: ExportPlan, folder: Path, progress: Progress
) -> tuple[Proof, ...]:
    (folder / "onnx").mkdir(parents=True)
    golden = golden_set(model.modalities)
    progress.begin(FetchPhase.CHECKING)
    progress.at("the checkpoint")
    towers = open_towers(model)
    _refuse_full_disk(towers, plan, folder)
    source = SourceModel(
        model,
        golden,
        _vectors(model, towers, golden),
        plan.labels.family,
        label_set_specs(plan.labels),
    )
    ensure_unchanged(model)
    datasets = _labels(model, towers, plan, folder, progress)
    _write_graphs(model, towers, plan, folder, progress)
    del towers
    for path, content in golden.files(source.vectors).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    copy_companions(model, folder)
    proofs = [*_npu_files(source, plan, folder, progress)]
    if Precision.FP32 not in plan.files:
        for graph in folder.glob("onnx/*.fp32.onnx*"):
            graph.unlink()
    if not plan.onnx:
        (folder / "onnx").rmdir()
    write_model_info(model, golden, _runtimes(plan, folder), datasets, folder)
    for precision in plan.onnx:
        progress.begin(FetchPhase.CHECKING)
        progress.at(f"{precision.value} beside the source")
        proofs += prove_onnx(folder, source, precision)
    add_report(
        folder,
        {"torch": VERSION, "opset": OPSET, "proofs": [proof.as_document() for proof in proofs]},
    )
    return tuple(proofs)


def _npu_files(
    source: SourceModel, plan: ExportPlan, folder: Path, progress: Progress
) -> Iterator[Proof]:
    if plan.npu is not None:
        graphs = {m: _graph(folder, m, Precision.FP32) for m in source.model.modalities}
        progress.begin(FetchPhase.PREPARING, files=len(graphs) * len(plan.npu.precisions))
        yield from prove_rknn(graphs, source, plan.npu, folder, progress)


def _runtimes(plan: ExportPlan, folder: Path) -> dict[str, object]:
    """Return each runtime's files, for an NPU by chip."""
    found: dict[str, object] = {}
    if plan.onnx:
        found[Runtime.ONNX.value] = _paths(folder, "onnx/*")
    if plan.npu is not None:
        found[Runtime.RKNN.value] = {plan.npu.target: _paths(folder, "rknn/*/*")}
    return found


def _labels(
    model: VerifiedModel, towers: Towers, plan: ExportPlan, folder: Path, progress: Progress
) -> dict[str, dict[str, str]]:
    if not plan.labels.files:
        return {}
    if Modality.TEXT not in towers:
        raise ExportRefused(
            f"{model.name} has no text tower, so no label gets a vector.",
            remedy="Leave --labels out.",
        )
    return write_labels(plan.labels, model, towers[Modality.TEXT], folder, progress)


def _vectors(
    model: VerifiedModel, towers: Towers, golden: GoldenSet
) -> dict[Modality, NDArray[np.float32]]:
    """Return the checkpoint's own unit vectors of the golden set, in fp32.

    Raises ExportRefused for weights that give a picture or a text none.
    """
    items = golden.items(model)
    if Modality.IMAGE in items:
        items[Modality.IMAGE] = Normaliser.of(model.preprocess)(items[Modality.IMAGE])
    vectors = {modality: embed(towers[modality], batch) for modality, batch in items.items()}
    for modality, rows in vectors.items():
        try:
            refuse_wrong_rows(np.linalg.norm(rows, axis=1))
        except WrongRowError as error:
            raise ExportRefused(
                f"The weights of {model.name} give {modality.value} {error.row} of the golden set "
                f"a vector that is {error.found}.",
                remedy="Take the weights as they were published: these are damaged.",
            ) from error
    return vectors


def _write_graphs(
    model: VerifiedModel, towers: Towers, plan: ExportPlan, folder: Path, progress: Progress
) -> None:
    """Write the graphs of every precision; fp32's are needed for the others."""
    shape = InputSize(model.preprocess.size, model.text.context_length)
    progress.begin(FetchPhase.PREPARING, files=len(plan.files | {Precision.FP32}) * len(towers))

    def at(modality: Modality, precision: Precision) -> Path:
        path = _graph(folder, modality, precision)
        progress.at(path.name)
        return path

    for modality, tower in towers.items():
        full = at(modality, Precision.FP32)
        write_graph(tower, modality, shape, full)
        progress.file_done(full.name)
        if Precision.INT8 in plan.files:
            small = at(modality, Precision.INT8)
            write_int8(full, small)
            progress.file_done(small.name)
    if Precision.FP16 in plan.files:
        for modality in towers:
            half = open_towers(model, Precision.FP16, [modality])[modality]
            path = at(modality, Precision.FP16)
            write_graph(half, modality, shape, path)
            progress.file_done(path.name)


def _graph(folder: Path, modality: Modality, precision: Precision) -> Path:
    return folder / "onnx" / f"{GRAPH_NAMES[modality]}.{precision.value}.onnx"


def _paths(folder: Path, pattern: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))


def _refuse_full_disk(towers: Towers, plan: ExportPlan, folder: Path) -> None:
    """Refuse before the first graph what would stop at the last."""
    weights = sum(bytes_of(tower) for tower in towers.values()) // _WIDTHS[Precision.FP32]
    kept = plan.files | {Precision.FP32}
    widths = sum(_WIDTHS[p] for p in kept)
    if plan.npu is not None:
        widths += sum(_WIDTHS[p] for p in plan.npu.precisions)
    needed = weights * widths + _ROOM_BESIDE_BYTES
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFullError(
            f"{plan.out}: about {size(needed)} are needed, {size(free)} are free.",
            remedy="Free space, name a folder on another disk, or ask for fewer precisions.",
            file=str(plan.out),
        )
