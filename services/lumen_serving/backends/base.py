"""What the engine asks of a runtime, and where each runtime is found.

A backend is synchronous and is called by one thread per slot; everything about queues, deadlines
and callers stays outside. Input errors never reach it: pictures are decoded and texts tokenised
before they are queued.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.model_service import Accelerator
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.errors import BackendUnavailable


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """What a backend may use of this machine.

    `threads` is the number of cores of the CPU quota, `device_memory_mib` the most it may take of
    a device's memory (0: no bound), `max_batch` the largest batch it will ever be given.
    """

    accelerator: Accelerator
    threads: int
    max_batch: int = 32
    inter_op_threads: int = 1
    device_memory_mib: int = 0
    onnx_providers: tuple[str, ...] = ()
    rknn_target: str = ""
    fake_delay_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class BackendReport:
    """What computes, from evidence and not from what was asked for.

    `device` is an `Accelerator` value or `fake`, `precision` what is computed in (fp16 files on a
    CPU compute in fp32), `details` free text pairs for people.
    """

    runtime: str
    version: str
    device: str
    precision: str
    dim: int
    providers: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """One loaded model on one device.

    Both `embed` functions keep length and order, and give each item the same vector alone or in
    any batch. `slots` is how many threads may be inside them at once.
    """

    slots: int

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


BACKENDS: dict[str, str] = {
    "fake": "lumen_serving.backends.fake:FakeBackend",
    "onnx": "lumen_serving.backends.onnx:OnnxBackend",
}

# What brings a runtime's packages, for the sentence that a missing one ends with.
_INSTALL = {"onnx": "lumen-serve[onnx]"}


def load_backend(name: str) -> Backend:
    """Return a new, unloaded backend of that runtime.

    Raises:
        BackendUnavailable: this version has no such runtime, or its package is not installed.

    """
    path = BACKENDS.get(name)
    if path is None:
        known = ", ".join(sorted(BACKENDS))
        raise BackendUnavailable(
            f"This server has no runtime '{name}'.", remedy=f"Set spec.model.runtime to: {known}."
        )
    module_name, _, class_name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            f"The runtime '{name}' needs the Python package '{error.name}', "
            "which is not installed here.",
            remedy=f"Install it: pip install '{_INSTALL.get(name, 'lumen-serve')}'.",
        ) from error
    backend: Backend = getattr(module, class_name)()
    return backend
