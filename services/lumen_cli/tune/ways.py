"""Which ways to compute a model are tried, and which of those that went to take. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Accelerator, OnnxEngine, Precision, Runtime
from lumen_serving.startup.parity import TOLERANCE_FP32, TOLERANCE_REDUCED, tolerance
from lumen_serving.startup.trial import Speed, Trial, TrialRefused
from lumen_terms.modality import Modality

_FP32, _FP16, _BF16, _INT8 = Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8


@dataclass(frozen=True, slots=True)
class Way:
    """An engine, None where the runtime has but one, and a precision."""

    runtime: Runtime
    engine: OnnxEngine | None
    precision: Precision

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.engine.value if self.engine else self.runtime.value} {self.precision.value}"

    def applied_to(self, config: ServerConfig) -> ServerConfig:
        """Return the configuration of a server that computes this way."""
        changes = {"engine": self.engine, "precision": self.precision}
        return config.model_copy(update={"model": config.model.model_copy(update=changes)})

    def manifest_lines(self) -> str:
        """Return what to write into a manifest, below `spec:`."""
        lines = ["model:", f"  runtime: {self.runtime.value}"]
        if self.engine is not None:
            lines.append(f"  engine: {self.engine.value}")
        return "\n".join([*lines, f"  precision: {self.precision.value}"])


_ON_CPU = {OnnxEngine.ONNXRUNTIME: (_FP32, _INT8), OnnxEngine.OPENVINO: (_FP32, _BF16, _INT8)}
_ON_CUDA = {OnnxEngine.ONNXRUNTIME: (_FP32, _FP16), OnnxEngine.TENSORRT: (_FP32, _FP16)}
_ON_ROCM = {OnnxEngine.ONNXRUNTIME: (_FP32, _FP16)}
_ENGINES: Mapping[Accelerator, Mapping[OnnxEngine, Sequence[Precision]]] = {
    Accelerator.CPU: _ON_CPU,
    Accelerator.CUDA: _ON_CUDA,
    Accelerator.ROCM: _ON_ROCM,
}
_TORCH: Mapping[Accelerator, Sequence[Precision]] = {
    Accelerator.CPU: (_FP32, _BF16),
    Accelerator.CUDA: (_FP32, _FP16, _BF16),
    Accelerator.ROCM: (_FP32, _FP16, _BF16),
}


def ways_of(runtime: Runtime, accelerator: Accelerator) -> tuple[Way, ...]:
    """Return every way to compute with this runtime on this device, the reference first."""
    if runtime is Runtime.ONNX:
        engines = _ENGINES.get(accelerator, {})
        return tuple(Way(runtime, engine, p) for engine, all_ in engines.items() for p in all_)
    if runtime is Runtime.TORCH:
        return tuple(Way(runtime, None, p) for p in _TORCH.get(accelerator, ()))
    return (Way(runtime, None, _FP16), Way(runtime, None, _INT8))


@dataclass(frozen=True, slots=True)
class Tried:
    """A way and what came of it; `cosine` is the worst to the reference's vectors."""

    way: Way
    trial: Trial
    cosine: float

    @property
    def worthy(self) -> bool:
        """Whether its vectors may be served: close to the reference, and alike in any batch."""
        return self.trial.invariant and self.cosine >= tolerance(self.way.precision)

    @property
    def speed(self) -> Speed:
        """With pictures; with texts where the model takes none."""
        speeds = self.trial.speeds
        return speeds.get(Modality.IMAGE) or speeds[Modality.TEXT]


def compared(trials: Mapping[Way, Trial | TrialRefused]) -> tuple[Tried, ...]:
    """Return those that went, each beside the first that did: the ways begin with the reference."""
    went = {way: trial for way, trial in trials.items() if isinstance(trial, Trial)}
    if not went:
        return ()
    reference = next(iter(went.values())).vectors
    return tuple(Tried(way, t, worst_cosine(t.vectors, reference)) for way, t in went.items())


def best_of(tried: Sequence[Tried]) -> dict[float, Tried]:
    """Return the fastest whose vectors may be served, by each bar of cosines that they keep to.

    The higher bar first: by it vectors are as good as the reference's in one index with them.
    """
    kept = {
        bar: [one for one in tried if one.worthy and one.cosine >= bar]
        for bar in (TOLERANCE_FP32, TOLERANCE_REDUCED)
    }
    return {
        bar: max(ways, key=lambda one: one.speed.per_second) for bar, ways in kept.items() if ways
    }


def worst_cosine(
    rows: Mapping[Modality, NDArray[np.float32]], reference: Mapping[Modality, NDArray[np.float32]]
) -> float:
    """Return the lowest cosine between unit rows of the same items."""
    pairs = [(rows[m].astype(np.float64), reference[m].astype(np.float64)) for m in reference]
    return min(float((a * b).sum(axis=1).min()) for a, b in pairs)
