"""CLIP's two towers on ONNX Runtime.

Pictures arrive as bytes and are normalised here; what comes out are unit rows. Each tower is asked
once, when it is loaded, whether an item's vector depends on its neighbours; if so its batches run
one item at a time.
"""

import mmap
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.server_config import ServerConfig
from lumen_resources.fetch.verify import only_verified
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving import ort
from lumen_serving.backends.base import BackendReport, BackendSettings, noise
from lumen_serving.errors import BackendUnavailable
from lumen_serving.media.preprocess import Normaliser
from lumen_serving.settings import ServerSettings
from lumen_terms.modality import Modality

# The batch sizes of the trial, and how long it may take on a large model.
_TRIAL_SIZES = (2, 3, 8)
_TRIAL_S = 2.0
# Quantises with one scale over the whole input, and so over the batch.
_BATCH_SCALED = (b"DynamicQuantizeLinear", b"DynamicQuantizeMatMul", b"DynamicQuantizeLSTM")


class BatchMode(StrEnum):
    """How a tower runs a batch so that no item's bytes depend on the others."""

    TOGETHER = "together"
    SINGLY = "one at a time"


@dataclass(slots=True)
class GraphTower:
    """One graph: which port takes the items, which gives [N, dim]."""

    session: ort.Session
    input: ort.Port
    output: ort.Port
    batching: BatchMode = BatchMode.TOGETHER

    @classmethod
    def open(cls, path: Path, dim: int, settings: ort.SessionSettings) -> "GraphTower":
        """Load a graph and find its ports.

        Raises:
            StartError: it cannot be loaded, or is not a tower of this dimension.

        """
        session = ort.open_session(path, settings)
        takes, gives = session.inputs[0], _output(session, dim)
        batch = takes.shape[0] if takes.shape else 0
        if (
            len(session.inputs) != 1
            or takes.dtype is None
            or gives is None
            or batch not in {None, 1}
        ):
            raise BackendUnavailable(
                f"{path.name} is not a tower of this model: one input with a free batch dimension "
                f"and an output [N, {dim}] are expected.",
                remedy="Export the model anew.",
                file=path.name,
            )
        singly = batch == 1 or _scales_over_batch(path)
        return cls(session, takes, gives, BatchMode.SINGLY if singly else BatchMode.TOGETHER)

    def rows(self, items: NDArray[Any]) -> NDArray[np.float32]:
        """Return unit rows float32 [N, dim]; a row's bytes depend on its item alone."""
        if len(items) == 0:
            width = self.output.shape[-1] or 0
            return np.empty((0, width), np.float32)
        if self.batching is BatchMode.TOGETHER:
            return self._run(items)
        return np.concatenate([self._run(items[row : row + 1]) for row in range(len(items))])

    def check_batch_invariance(self, items: NDArray[Any]) -> None:
        """Try `items`, distinct and typical, alone and together; run singly when they differ.

        Matrix products of one row and of several may use kernels that add up in another order;
        that depends on the CPU and on the graph, so it is tried and not assumed.
        """
        if self.batching is BatchMode.SINGLY:
            return
        began_at = time.monotonic()
        alone = [self._run(items[row : row + 1]).tobytes() for row in range(len(items))]
        for size in _TRIAL_SIZES:
            if time.monotonic() - began_at > _TRIAL_S:
                return
            if self._run(items[:size]).tobytes() != b"".join(alone[:size]):
                self.batching = BatchMode.SINGLY
                return

    def _run(self, items: NDArray[Any]) -> NDArray[np.float32]:
        feed = items.astype(self.input.dtype or items.dtype, copy=False)
        (out,) = self.session.run([self.output.name], {self.input.name: feed})
        return unit_rows(out)


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """What ONNX Runtime alone is told: providers by name (none: the accelerator's own), threads."""

    providers: tuple[str, ...] = ()
    inter_op_threads: int = 1


class OnnxBackend:
    """A model's ONNX files on the CPU, or on a GPU whose onnxruntime is installed."""

    slots = 1
    batch_sizes: tuple[int, ...] = ()

    def __init__(self, options: OnnxOptions = OnnxOptions()) -> None:  # frozen
        self._options = options
        self._towers: dict[Modality, GraphTower] = {}
        self._normalise: Normaliser | None = None
        self._report: BackendReport | None = None

    @classmethod
    def configured(cls, config: ServerConfig, settings: ServerSettings) -> Self:
        """Take the providers and the pool between operations from the configuration."""
        del settings
        return cls(OnnxOptions(config.onnx_providers, config.inter_op_threads or 1))

    def load(self, model: VerifiedModel, settings: BackendSettings) -> None:
        """Load the graphs and try whether their batches are safe.

        Raises:
            StartError: a file, the device or the package does not allow it.

        """
        session_settings = ort.SessionSettings(
            threads=settings.threads,
            inter_op_threads=self._options.inter_op_threads,
            providers=ort.choose_providers(settings.accelerator, self._options.providers),
            device_memory_mib=settings.device_memory_mib,
        )
        self._normalise = Normaliser.of(model.preprocess)
        trial = noise(model, max(_TRIAL_SIZES))
        trial[Modality.IMAGE] = self._normalise(trial[Modality.IMAGE])
        graphs = {Modality.IMAGE: model.files.vision, Modality.TEXT: model.files.text}
        for modality in sorted(model.modalities):
            graph = graphs[modality]
            assert graph is not None, "a layout has a graph for each modality of its model"
            tower = self._towers[modality] = _tower(model, graph, session_settings)
            try:
                tower.check_batch_invariance(trial[modality])
            except ort.RunFailed as error:
                raise BackendUnavailable(
                    f"{graph.name} loads but does not run: {str(error.__cause__)[:300]}",
                    remedy="Export the model anew.",
                    file=graph.name,
                ) from error
        self._report = self._describe(model, settings, session_settings.providers)

    def embed_images(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] for RGB pictures [N, S, S, 3]."""
        if self._normalise is None:
            raise RuntimeError("nothing is loaded")
        return self._towers[Modality.IMAGE].rows(self._normalise(images))

    def embed_texts(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] for token rows [N, L]."""
        return self._towers[Modality.TEXT].rows(tokens)

    def report(self) -> BackendReport:
        """Say what computes; only after `load`."""
        if self._report is None:
            raise RuntimeError("nothing is loaded")
        return self._report

    def close(self) -> None:
        """Drop the sessions; their memory goes with them."""
        self._towers.clear()

    def _describe(
        self, model: VerifiedModel, settings: BackendSettings, providers: tuple[str, ...]
    ) -> BackendReport:
        details = {}
        for modality, tower in self._towers.items():
            details[f"batching.{modality}s"] = tower.batching.value
            if tower.session.optimisation != "all":
                details[f"optimisation.{modality}s"] = tower.session.optimisation
        # The CPU has no kernels in half precision: onnxruntime computes such graphs in float32.
        half_on_cpu = providers == (ort.CPU,) and model.precision.value in {"fp16", "bf16"}
        return BackendReport(
            runtime="onnxruntime",
            version=ort.VERSION,
            device=settings.accelerator.value,
            precision="fp32" if half_on_cpu else model.precision.value,
            dim=model.embedding_dim,
            providers=providers,
            details={**details, "files": model.precision.value, "threads": str(settings.threads)},
        )


def _tower(model: VerifiedModel, graph: Path, settings: ort.SessionSettings) -> GraphTower:
    """Load a graph where it can reach its own weights and no other file."""
    beside = [path for path in model.files.external_data if path.parent == graph.parent]
    with only_verified(model, (graph, *beside)) as folder:
        return GraphTower.open(folder / graph.name, model.embedding_dim, settings)


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 rows of length one; zero and non-finite rows stay visibly not finite."""
    wide = vectors.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        units = wide / np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    rows: NDArray[np.float32] = units.astype(np.float32)
    return rows


def _output(session: ort.Session, dim: int) -> ort.Port | None:
    """Return the pooled output: [N, dim], and not the tokens some exports give beside it."""
    flat = [port for port in session.outputs if len(port.shape) == 2]
    exact = [port for port in flat if port.shape[-1] == dim]
    free = [port for port in flat if port.shape[-1] is None]
    return next(iter([*exact, *free]), None)


def _scales_over_batch(path: Path) -> bool:
    """Whether the graph names an operation whose scale is the whole batch's."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(name) >= 0 for name in _BATCH_SCALED)
