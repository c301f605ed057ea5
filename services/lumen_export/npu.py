"""RKNN files of a model's graphs, each simulated and compared with the source's own vectors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumen_export.proof import Proof, SourceModel, refuse_below_the_bar, worst_cosine
from lumen_export.rknn.conversion import RknnConversion, convert
from lumen_export.rknn.toolkit import RknnToolkit, make_toolkit
from lumen_manifest.spec.enums import Precision, Runtime
from lumen_resources.progress import Progress
from lumen_terms.modality import Modality


@dataclass(frozen=True, slots=True)
class NpuPlan:
    """For which chip, in which precisions (fp16, int8), and where Rockchip's toolkit is kept."""

    target: str
    precisions: tuple[Precision, ...]
    toolkit: Path


def prove_rknn(
    graphs: Mapping[Modality, Path],
    source: SourceModel,
    plan: NpuPlan,
    folder: Path,
    progress: Progress,
) -> Iterator[Proof]:
    """Write `rknn/TARGET/{vision,text}.PRECISION.rknn` and yield a proof for each precision.

    `graphs` are the fp32 graphs. Pictures go in as bytes, the NPU normalises. int8 is calibrated
    by the golden set. Raises ExportError.
    """
    toolkit = make_toolkit(plan.toolkit, progress.at)
    items = source.golden.items(source.model)
    for precision in plan.precisions:
        cosines = {}
        for modality, graph in graphs.items():
            name = f"{graph.name.partition('.')[0]}.{precision.value}.rknn"
            job = RknnConversion(
                onnx=graph,
                out=folder / "rknn" / plan.target / name,
                probes=items[modality],
                target=plan.target,
                precision=precision,
                calibration=items[modality] if precision is Precision.INT8 else None,
            )
            if modality is Modality.IMAGE:
                picture = source.model.preprocess
                job = replace(job, mean=picture.mean, std=picture.std)
            cosines[modality] = worst_cosine(
                _vectors(job, toolkit, progress), source.vectors[modality]
            )
            progress.file_done(name)
        engine = f"rknn-toolkit2's simulator of {plan.target}"
        proof = Proof(Runtime.RKNN, precision, engine, cosines)
        refuse_below_the_bar(proof)
        yield proof


def _vectors(job: RknnConversion, toolkit: RknnToolkit, progress: Progress) -> NDArray[np.float32]:
    def say(step: str) -> None:
        progress.at(f"{job.out.name}: {step}")

    return convert(job, toolkit, say).vectors
