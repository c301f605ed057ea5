"""Each product is opened as a server opens it, and compared with the source's own vectors."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumen_export.errors import BelowTheBar, ExportRefused
from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Accelerator, Family, OnnxEngine, Precision, Runtime
from lumen_manifest.spec.model_spec import LabelSetSpec, ModelSpec
from lumen_resources.fetch.local_model import InPlace
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import Progress
from lumen_serving.backends.base import Backend, BackendSettings
from lumen_serving.backends.onnx import OnnxBackend
from lumen_serving.backends.onnx_engines import EngineWish
from lumen_serving.errors import BackendUnavailable
from lumen_serving.startup.golden import GoldenSet
from lumen_serving.startup.load import usable_cores
from lumen_serving.startup.parity import tolerance
from lumen_terms.modality import Modality

_ITEMS = {Modality.IMAGE: "picture", Modality.TEXT: "text"}


@dataclass(frozen=True, slots=True)
class SourceModel:
    """The checkpoint, and the unit vectors [N, dim] that it itself gives the golden set in fp32.

    `label_sets` go along with it, for a model of this `family`.
    """

    model: VerifiedModel
    golden: GoldenSet
    vectors: Mapping[Modality, NDArray[np.float32]]
    family: Family = Family.CLIP
    label_sets: tuple[LabelSetSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """How near one product's vectors are to the source's.

    `cosines` has the worst of each modality, `batching` how the engine runs batches of it; both
    are empty where this machine cannot compute so, and `note` then says why.
    """

    runtime: Runtime
    precision: Precision
    engine: str
    cosines: Mapping[Modality, float] = field(default_factory=dict)
    batching: Mapping[Modality, str] = field(default_factory=dict)
    note: str = ""

    @property
    def product(self) -> str:
        """What it is a proof of, in words."""
        return f"{self.runtime.value} {self.precision.value}"

    def as_document(self) -> dict[str, Any]:
        """Return what the model info keeps of it."""
        return {
            "runtime": self.runtime.value,
            "precision": self.precision.value,
            "engine": self.engine,
            **{f"{m.value}s": round(cosine, 7) for m, cosine in self.cosines.items()},
            **({"note": self.note} if self.note else {}),
        }


def prove_onnx(folder: Path, source: SourceModel, precision: Precision) -> Iterator[Proof]:
    """Yield a proof for each engine of this machine that serves the folder's graphs.

    Raises BelowTheBar for the first that is further away than a server would accept at its start,
    ResourceError or StartError when the folder cannot be served.
    """
    for wish in (None, OnnxEngine.ONNXRUNTIME):
        if precision is Precision.BF16 and wish is not None:
            continue
        model = _opened(folder, source, precision, wish)
        backend = OnnxBackend(EngineWish(wish, precision))
        with closing(backend):
            try:
                backend.load(model, BackendSettings(Accelerator.CPU, usable_cores(None)))
            except BackendUnavailable as error:
                # Any other precision runs everywhere; this one wants a CPU that computes in it.
                if precision is not Precision.BF16:
                    raise
                yield Proof(Runtime.ONNX, precision, "none", note=str(error))
                return
            report = backend.report()
            items = source.golden.items(model)
            got = {
                modality: _vectors(backend, modality, batch) for modality, batch in items.items()
            }
            cosines = {m: worst_cosine(rows, source.vectors[m]) for m, rows in got.items()}
        batching = {m: report.details.get(f"batching.{m}s", "") for m in items}
        proof = Proof(
            Runtime.ONNX, precision, f"{report.runtime} {report.version}", cosines, batching
        )
        refuse_below_the_bar(proof)
        yield proof
        if wish is None and report.runtime == OnnxEngine.ONNXRUNTIME.value:
            return


def _vectors(backend: Backend, modality: Modality, items: NDArray[Any]) -> NDArray[np.float32]:
    if modality is Modality.IMAGE:
        return backend.embed_images(items)
    return backend.embed_texts(items)


def worst_cosine(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Return the least cosine between rows of the same number; nan if one is not finite."""
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(((a * b).sum(axis=1) / lengths).min())


def refuse_below_the_bar(proof: Proof) -> None:
    """Raise BelowTheBar unless every cosine is what a server demands at its start."""
    least = tolerance(proof.precision)
    for modality, cosine in proof.cosines.items():
        # `not >=` also takes a cosine that is not a number.
        if not cosine >= least:
            raise BelowTheBar(
                f"{proof.product} on {proof.engine}: a {_ITEMS[modality]}'s vector has cosine "
                f"{cosine:.6f} to the source's; at least {least} is needed. Nothing was kept.",
                remedy=f"Leave {proof.precision.value} out of --precision for this model.",
            )


def _opened(
    folder: Path, source: SourceModel, precision: Precision, engine: OnnxEngine | None
) -> VerifiedModel:
    """Verify the folder as a server's init container does, and check that the space stayed."""
    checkpoint = source.model
    spec = ModelSpec(name=checkpoint.name, runtime=Runtime.ONNX, precision=precision, engine=engine)
    config = ServerConfig(
        service="export",
        family=source.family,
        family_stated=False,
        model=spec,
        label_sets=source.label_sets,
    )
    model = InPlace(config, folder.with_name("cache"), folder).verify(Progress())
    # A tokenizer that the source did not bring is part of the product and of its space.
    bare = checkpoint.files.tokenizer is None and Modality.TEXT in checkpoint.modalities
    moved = not bare and model.embedding_space != checkpoint.embedding_space
    if moved or _rules(model) != _rules(checkpoint):
        raise ExportRefused(
            "The product does not treat pictures, texts or scores as its source does.",
            remedy="Report this with the name of the model; until then serve it with torch.",
        )
    return model


def _rules(model: VerifiedModel) -> tuple[object, ...]:
    text = model.text if Modality.TEXT in model.modalities else None
    return model.preprocess, text, model.score
