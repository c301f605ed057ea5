"""A model's ONNX files: graphs for its towers, on the engine that was asked for or is the fastest.

Pictures arrive as bytes and texts as tokens; what comes out are unit rows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import OnnxEngine
from lumen_resources.fetch.verify import only_verified
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.backends.base import BackendReport, BackendSettings, noise
from lumen_serving.backends.graph_tower import TRIAL_SIZES, BatchMode, GraphTower
from lumen_serving.backends.onnx_engines import (
    AT_ONCE,
    EngineChoice,
    EngineWish,
    GraphEngine,
    choose_engine,
    open_engine,
    scales_over_batch,
)
from lumen_serving.errors import BackendUnavailable
from lumen_serving.graphs.ports import RunFailed
from lumen_serving.settings import ServerSettings
from lumen_terms.modality import Modality

log = structlog.get_logger(__name__)


class OnnxBackend:
    """A model's ONNX files on the CPU, or on a GPU whose onnxruntime is installed."""

    slots = 1
    batch_sizes: tuple[int, ...] = ()

    def __init__(self, wish: EngineWish) -> None:
        self._wish = wish
        self._towers: Mapping[Modality, GraphTower] = {}
        self._report: BackendReport | None = None

    @classmethod
    def configured(cls, config: ServerConfig, settings: ServerSettings) -> Self:
        """Take the engine, the providers and the pool between operations from the configuration."""
        del settings
        wish = EngineWish(
            config.model.engine,
            config.model.precision,
            config.onnx_providers,
            config.inter_op_threads or 1,
        )
        return cls(wish)

    def load(self, model: VerifiedModel, settings: BackendSettings) -> None:
        """Load the graphs and try whether their batches are safe.

        Raises:
            StartError: a file, the device or the package does not allow it.

        """
        graphs = _graphs(model)
        choice = choose_engine(self._wish, settings.accelerator, graphs.values())
        try:
            engine, towers = self._open(choice, model, settings)
        except BackendUnavailable as error:
            instead = OnnxEngine.ONNXRUNTIME
            if self._wish.engine is not None or choice.engine is instead:
                raise
            # Nobody asked for this engine: what the other one runs must not be lost.
            log.warning("another engine", chosen=instead.value, because=str(error))
            choice = EngineChoice(instead, f"{choice.engine.value} cannot: {error.message}")
            engine, towers = self._open(choice, model, settings)
        self._towers = towers
        self.slots = AT_ONCE if any(tower.half for tower in towers.values()) else 1
        self._report = _described(model, settings, engine, choice, towers)

    def _open(
        self, choice: EngineChoice, model: VerifiedModel, settings: BackendSettings
    ) -> tuple[GraphEngine, Mapping[Modality, GraphTower]]:
        engine = open_engine(choice.engine, self._wish, settings)
        trial = noise(model, max(TRIAL_SIZES))
        return engine, {
            modality: _proven(_tower(engine, model, modality, graph), trial[modality], graph)
            for modality, graph in _graphs(model).items()
        }

    def embed_images(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] for RGB pictures [N, S, S, 3]."""
        return self._towers[Modality.IMAGE].rows(images)

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
        self._towers = {}


def _graphs(model: VerifiedModel) -> dict[Modality, Path]:
    """Return the graph of each modality that the model has."""
    graphs = {Modality.IMAGE: model.files.vision, Modality.TEXT: model.files.text}
    return {m: path for m, path in graphs.items() if m in model.modalities and path is not None}


def _tower(
    engine: GraphEngine, model: VerifiedModel, modality: Modality, graph: Path
) -> GraphTower:
    """Load a graph where it can reach its own weights and no other file."""
    beside = [path for path in model.files.external_data if path.parent == graph.parent]
    with only_verified(model, (graph, *beside)) as folder:
        tower = GraphTower.of(engine.open(folder / graph.name), modality, model)
        if scales_over_batch(folder / graph.name):
            tower.batching = BatchMode.SINGLY
        elif modality is Modality.IMAGE and tower.batching is BatchMode.TOGETHER:
            # Pictures come by the thousand, texts one at a time.
            tower.half = engine.open_half(folder / graph.name)
    return tower


def _proven(tower: GraphTower, trial: NDArray[Any], graph: Path) -> GraphTower:
    try:
        tower.check_batch_invariance(trial)
    except RunFailed as error:
        raise BackendUnavailable(
            f"{graph.name} loads but does not run: {str(error.__cause__)[:300]}",
            remedy="Export the model anew.",
            file=graph.name,
        ) from error
    return tower


def _described(
    model: VerifiedModel,
    settings: BackendSettings,
    engine: GraphEngine,
    choice: EngineChoice,
    towers: Mapping[Modality, GraphTower],
) -> BackendReport:
    details = {
        "engine": choice.reason,
        "files": model.precision.value,
        "threads": str(settings.threads),
    }
    for modality, tower in towers.items():
        details[f"batching.{modality}s"] = tower.batching.value
        if tower.half is not None:
            details[f"atOnce.{modality}s"] = (
                f"{AT_ONCE} batches on {settings.threads // AT_ONCE} threads each"
            )
        for word, value in tower.session.remarks.items():
            details[f"{word}.{modality}s"] = value
    return BackendReport(
        runtime=engine.name.value,
        version=engine.version,
        device=settings.accelerator.value,
        precision=engine.computes(model.precision).value,
        dim=model.embedding_dim,
        providers=engine.providers,
        details=details,
        batches_proven=True,
    )
