"""What the engine asks of a runtime, and where each runtime is found.

A backend is synchronous and is called by one thread per slot; everything about queues, deadlines
and callers stays outside. Input errors never reach it: pictures are decoded and texts tokenised
before they are queued.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Accelerator, Runtime
from lumen_resources.model.layouts import ScoreRule, VerifiedModel
from lumen_serving.errors import BackendUnavailable
from lumen_serving.settings import ServerSettings
from lumen_terms.modality import Modality


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """What any backend may use of this machine; what one runtime alone knows are its options.

    `threads` is the number of cores of the CPU quota, `device_memory_mib` the most it may take of
    a device's memory (0: no bound).
    """

    accelerator: Accelerator
    threads: int
    device_memory_mib: int = 0


@dataclass(frozen=True, slots=True)
class BackendReport:
    """What computes, from evidence and not from what was asked for.

    `device` is an `Accelerator` value or `fake`, `precision` what is computed in (fp16 files on a
    CPU compute in fp32), `details` free text pairs for people, `score` the rule that the weights
    have for scores where the runtime alone can read it (torch's pickles).
    `batches_proven` says that it compared batches with their items alone, to the byte, and runs
    singly what differed.
    """

    runtime: str
    version: str
    device: str
    precision: str
    dim: int
    providers: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    score: ScoreRule | None = None
    batches_proven: bool = False


class Backend(Protocol):
    """One loaded model on one device.

    Both `embed` functions keep length and order, and give each item the same vector alone or in
    any batch. `slots` is how many threads may be inside them at once.
    `batch_sizes`, ascending, are those it runs at, filling up and splitting others; none: any.
    """

    slots: int
    batch_sizes: tuple[int, ...]

    @classmethod
    def configured(cls, config: ServerConfig, settings: ServerSettings) -> Self:
        """Return a new, unloaded one with the options of its own that these two name."""
        ...

    def load(self, model: VerifiedModel, settings: BackendSettings) -> None:
        """Load the model's files.

        Raises:
            StartError: the device, the package or a file does not allow it.

        """
        ...

    def embed_images(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] for RGB pictures [N, S, S, 3]."""
        ...

    def embed_texts(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] for token rows [N, L]."""
        ...

    def report(self) -> BackendReport:
        """Say what computes; only after `load`."""
        ...

    def close(self) -> None:
        """Give the device back; safe to call twice and before `load`."""
        ...


# Where a runtime's backend is, and what brings the packages that it needs.
BACKENDS: dict[str, tuple[str, str]] = {
    "fake": ("lumen_serving.backends.fake:FakeBackend", "lumen-serve"),
    "onnx": ("lumen_serving.backends.onnx:OnnxBackend", "lumen-serve[onnx]"),
    "torch": ("lumen_serving.backends.torch.backend:TorchBackend", "lumen-serve[torch]"),
    "rknn": ("lumen_serving.backends.rknn:RknnBackend", "lumen-serve[rknn]"),
}


def load_backend(name: str, config: ServerConfig, settings: ServerSettings) -> Backend:
    """Return a new, unloaded backend of that runtime.

    Raises:
        BackendUnavailable: this version has no such runtime, or its package is not installed.

    """
    if name not in BACKENDS:
        raise BackendUnavailable(
            f"This server has no runtime '{name}'.",
            remedy=f"Set spec.model.runtime to one of: {', '.join(Runtime)}.",
        )
    path, package = BACKENDS[name]
    module_name, _, class_name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            f"The runtime '{name}' needs the Python package '{error.name}', "
            "which is not installed here.",
            remedy=f"Install it: pip install '{package}'.",
        ) from error
    backend: type[Backend] = getattr(module, class_name)
    return backend.configured(config, settings)


def noise(model: VerifiedModel, count: int) -> dict[Modality, NDArray[Any]]:
    """Return distinct items to try a model with: pictures [N, S, S, 3] and token rows [N, L]."""
    rng = np.random.default_rng(0)
    side, length = model.preprocess.size, model.context_length
    return {
        Modality.IMAGE: rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8),
        # Low numbers are in every vocabulary; their order makes the texts distinct.
        Modality.TEXT: rng.integers(1, 200, (count, length), dtype=np.int64),
    }


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 rows of length one; zero and non-finite rows stay visibly not finite."""
    wide = vectors.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        units = wide / np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    rows: NDArray[np.float32] = units.astype(np.float32)
    return rows
