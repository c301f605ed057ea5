"""Towers on a GPU: one batch size, captured once as a graph and replayed.

Every batch is filled up to the same size: kernels are chosen by size, so that an item's bytes would
otherwise depend on how many came with it. One replay costs one launch, however many layers.
Called by one thread at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from lumen_manifest.spec.enums import Accelerator, Precision

BATCH = 16
_WARM_UPS = 3
_MIB = 1 << 20

log = structlog.get_logger(__name__)


class GpuDevice:
    """The first GPU that this process sees, by CUDA or by ROCm, which share torch's interface."""

    batch_sizes: tuple[int, ...] = (BATCH,)

    def __init__(
        self, torch: Any, accelerator: Accelerator, precision: Precision, memory_mib: int
    ) -> None:
        self.accelerator, self.precision = accelerator, precision
        self._torch = torch
        self._device = torch.device("cuda", 0)
        self._stream = torch.cuda.Stream(self._device)
        # fp32 means fp32: by default convolutions keep 10 bits of each factor.
        torch.backends.cudnn.allow_tf32 = False
        found = torch.cuda.get_device_properties(self._device)
        if memory_mib:
            share = min(1.0, memory_mib * _MIB / found.total_memory)
            torch.cuda.set_per_process_memory_fraction(share, self._device)
        self.evidence: Mapping[str, str] = {
            "name": torch.cuda.get_device_name(self._device),
            "memory_mib": str(found.total_memory // _MIB),
            **{
                name: str(version)
                for name, version in (("cuda", torch.version.cuda), ("hip", torch.version.hip))
                if version
            },
        }

    def place(self, tower: Any, trial: NDArray[Any]) -> "GpuTower":
        """Move the tower to the GPU and capture one batch of it.

        A tower that cannot be captured (its code looks at values) runs operation by operation.
        """
        torch, stream = self._torch, self._stream
        tower = tower.to(self._device)
        dtype = torch.from_numpy(trial[:1]).dtype
        shape = (BATCH, *trial.shape[1:])
        held = torch.zeros(shape, dtype=dtype, device=self._device)
        with torch.inference_mode():
            stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    out = tower(held).to(torch.float32)
            stream.synchronize()
            graph, details = None, {"batch": str(BATCH), "graph": "captured"}
            try:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=stream):
                    out = tower(held).to(torch.float32)
            except RuntimeError as error:
                graph, details["graph"] = None, "not captured"
                log.warning("the tower runs without a graph", because=str(error)[:300])
        return GpuTower(
            torch=torch,
            stream=stream,
            tower=tower,
            graph=graph,
            taken=torch.empty(shape, dtype=dtype, pin_memory=True),
            held=held,
            out=out,
            given=torch.empty(tuple(out.shape), dtype=torch.float32, pin_memory=True),
            details=details,
        )


@dataclass(slots=True)
class GpuTower:
    """A tower on the GPU, with its buffers of one batch.

    `taken` and `given` are pinned memory of this machine, `held` and `out` the GPU's; `graph`
    leads from `held` to `out`, or is None and `tower` does it.
    """

    torch: Any
    stream: Any
    tower: Any
    graph: Any
    taken: Any
    held: Any
    out: Any
    given: Any
    details: Mapping[str, str]

    def vectors(self, items: NDArray[Any]) -> NDArray[np.float32]:
        """Return [N, dim], batch by batch."""
        rows = np.empty((len(items), self.given.shape[1]), np.float32)
        for at in range(0, len(items), BATCH):
            part = items[at : at + BATCH]
            rows[at : at + len(part)] = self._batch(part)
        return rows

    def _batch(self, items: NDArray[Any]) -> NDArray[np.float32]:
        """Return the rows of at most one batch, in a buffer that the next one overwrites."""
        taken: NDArray[Any] = self.taken.numpy()
        taken[: len(items)] = items
        # What an earlier batch left must not decide how long this one takes or whether it fails.
        taken[len(items) :] = 0
        with self.torch.inference_mode(), self.torch.cuda.stream(self.stream):
            self.held.copy_(self.taken, non_blocking=True)
            if self.graph is None:
                out = self.tower(self.held).to(self.torch.float32)
            else:
                self.graph.replay()
                out = self.out
            self.given.copy_(out, non_blocking=True)
        self.stream.synchronize()
        given: NDArray[np.float32] = self.given.numpy()
        return given[: len(items)]
