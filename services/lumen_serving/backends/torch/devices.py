"""Where towers on torch compute: this machine's CPU, or a GPU by CUDA or ROCm.

A device takes a tower once (`place`) and gives back what runs it on arrays. torch itself comes in
as an argument, so that the way to a GPU can be walked where there is none.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.spec.enums import Accelerator, Precision
from lumen_serving.backends.base import BackendSettings
from lumen_serving.backends.torch.gpu import GpuDevice
from lumen_serving.errors import BackendUnavailable, DeviceMismatch

# Batches that are tried on a CPU, and how long that may take on a large model.
_TRIAL_SIZES = (2, 3, 4, 8)
_TRIAL_S = 2.0
# Which build of torch computes there, and what its version says of it.
_BUILDS = {Accelerator.CUDA: ("CUDA", "cuda"), Accelerator.ROCM: ("ROCm", "hip")}


class PlacedTower(Protocol):
    """A tower where it computes."""

    @property
    def details(self) -> Mapping[str, str]:
        """Say how it computes, for people."""
        ...

    def vectors(self, items: NDArray[Any]) -> NDArray[np.float32]:
        """Return [N, dim], not yet of unit length; a row's bytes depend on its item alone."""
        ...


class ComputeDevice(Protocol):
    """What towers are placed on."""

    @property
    def accelerator(self) -> Accelerator:
        """What kind of device it is."""
        ...

    @property
    def precision(self) -> Precision:
        """What it computes in."""
        ...

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The sizes that it runs at; none: any."""
        ...

    @property
    def evidence(self) -> Mapping[str, str]:
        """Say what it is, in its own words."""
        ...

    def place(self, tower: Any, trial: NDArray[Any]) -> PlacedTower:
        """Move the tower here and make it ready; `trial` are distinct, typical items."""
        ...


def open_device(torch: Any, precision: Precision, settings: BackendSettings) -> ComputeDevice:
    """Return the device that was asked for.

    Raises:
        BackendUnavailable: the installed torch cannot compute there, or not in that precision.
        DeviceMismatch: it could, and the device is not there.

    """
    accelerator = settings.accelerator
    if precision is Precision.INT8:
        raise BackendUnavailable(
            "torch does not compute in int8 here.",
            remedy="Set spec.model.precision to fp32, bf16 or fp16; or runtime to onnx.",
        )
    if accelerator is Accelerator.CPU:
        return CpuDevice(torch, precision, settings.threads)
    if accelerator not in _BUILDS:
        raise DeviceMismatch(
            f"The runtime torch does not run on {accelerator.value}.",
            remedy="Set spec.model.runtime to the one made for this device.",
        )
    name, field = _BUILDS[accelerator]
    if getattr(torch.version, field) is None:
        raise BackendUnavailable(
            f"The installed torch {torch.__version__} is not built for {name}.",
            remedy=f"Install torch's build for {name}, or use the image of the "
            f"{accelerator.value} pool; or put the service on the cpu pool.",
        )
    if not torch.cuda.is_available():
        raise DeviceMismatch(
            f"torch {torch.__version__} is built for {name} and finds no device.",
            remedy="Check the driver, the device plugin and the pool's runtimeClassName.",
        )
    if precision is Precision.BF16 and not torch.cuda.is_bf16_supported():
        raise BackendUnavailable(
            f"{torch.cuda.get_device_name(0)} does not compute in bf16.",
            remedy="Set spec.model.precision to fp16.",
        )
    return GpuDevice(torch, accelerator, precision, settings.device_memory_mib)


class CpuDevice:
    """The CPU, with as many threads as its quota has cores."""

    accelerator = Accelerator.CPU
    batch_sizes: tuple[int, ...] = ()

    def __init__(self, torch: Any, precision: Precision, threads: int) -> None:
        # A CPU has no kernels in float16 worth the name.
        self.precision = Precision.FP32 if precision is Precision.FP16 else precision
        self._torch = torch
        torch.set_num_threads(threads)
        self.evidence: Mapping[str, str] = {
            "threads": str(torch.get_num_threads()),
            "cpu": str(torch.backends.cpu.get_cpu_capability()),
        }

    def place(self, tower: Any, trial: NDArray[Any]) -> "CpuTower":
        """Find out at which batch sizes the tower gives the bytes that it gives one item."""
        placed = CpuTower(self._torch, tower)
        placed.dim = placed.vectors(trial[:1]).shape[1]
        # Most differences drown when a vector is rounded to 8 bits: a trial would not see them.
        if self.precision is Precision.FP32:
            placed.try_sizes(trial)
        return placed


@dataclass(slots=True)
class CpuTower:
    """A tower on the CPU; `sizes`, ascending, are the batches that change no item's bytes.

    Matrix products of some rows and of more use kernels that add up in another order; where that
    begins depends on the CPU and on the model, so it is tried and not assumed.
    """

    torch: Any
    tower: Any
    sizes: tuple[int, ...] = (1,)
    dim: int = 0

    @property
    def details(self) -> Mapping[str, str]:
        """Say how large batches are at most."""
        return {"batch": str(self.sizes[-1])}

    def vectors(self, items: NDArray[Any]) -> NDArray[np.float32]:
        """Return [N, dim]: a batch runs in parts of the sizes that are safe."""
        if len(items) == 0:
            return np.empty((0, self.dim), np.float32)
        parts, at = [], 0
        while at < len(items):
            size = max(size for size in self.sizes if size <= len(items) - at)
            parts.append(self._run(items[at : at + size]))
            at += size
        return np.concatenate(parts)

    def try_sizes(self, items: NDArray[Any]) -> None:
        """Keep the sizes at which `items` have the bytes that each has alone."""
        began_at = time.monotonic()
        alone: list[bytes] = []
        for size in _TRIAL_SIZES:
            alone += [self._run(items[at : at + 1]).tobytes() for at in range(len(alone), size)]
            if self._run(items[:size]).tobytes() != b"".join(alone):
                return
            self.sizes = (*self.sizes, size)
            if time.monotonic() - began_at > _TRIAL_S:
                return

    def _run(self, items: NDArray[Any]) -> NDArray[np.float32]:
        with self.torch.inference_mode():
            rows = self.tower(self.torch.from_numpy(np.require(items, requirements=["C", "W"])))
            out: NDArray[np.float32] = rows.to(self.torch.float32).numpy()
        return out
