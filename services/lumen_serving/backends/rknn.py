"""A model's RKNN files on a Rockchip NPU: every core runs by itself, one item at a time.

A file has one shape, compiled for one chip. Each core has runtimes of its own for the towers, and
is lent to one thread at a time; so a board with three cores answers three items at once.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Accelerator
from lumen_process.device_tree import COMPATIBLE, compatible, rockchip_chip
from lumen_resources.fetch.verify import only_verified
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.backends.base import BackendReport, BackendSettings, noise
from lumen_serving.backends.graph_tower import GraphTower
from lumen_serving.errors import BackendUnavailable, DeviceMismatch, DeviceTreeMasked
from lumen_serving.graphs.ports import RunFailed
from lumen_serving.graphs.rknn import (
    CORES,
    ONLY_CORE,
    PACKAGE_VERSION,
    NpuMemoryFull,
    RknnSession,
)
from lumen_serving.settings import ServerSettings
from lumen_terms.modality import Modality

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RknnOptions:
    """Which chip the files are for, and where the machine's file system begins."""

    target: str = "rk3588"
    root: Path = Path("/")


@dataclass(frozen=True, slots=True)
class NpuCore:
    """The towers of a model on one core."""

    name: str
    towers: Mapping[Modality, GraphTower]
    sessions: tuple[RknnSession, ...]

    def release(self) -> None:
        """Give the core's memory back."""
        for session in self.sessions:
            session.release()


class RknnBackend:
    """A model on every core of the NPU."""

    batch_sizes: tuple[int, ...] = (1,)

    def __init__(self, options: RknnOptions = RknnOptions()) -> None:  # frozen
        self._options = options
        self.slots = len(_core_names(options.target))
        self._cores: list[NpuCore] = []
        self._free: SimpleQueue[NpuCore] = SimpleQueue()
        self._report: BackendReport | None = None

    @classmethod
    def configured(cls, config: ServerConfig, settings: ServerSettings) -> Self:
        """Take the chip from the configuration."""
        del settings
        return cls(RknnOptions(config.rknn_target or "rk3588"))

    def load(self, model: VerifiedModel, settings: BackendSettings) -> None:
        """Load the files once for every core, and run each.

        Raises:
            StartError: the board, its library or driver, or a file does not allow it.

        """
        del settings  # an NPU takes neither threads nor a bound on its memory
        board = self._board()
        trial = noise(model, 1)
        for core in _core_names(self._options.target):
            try:
                self._cores.append(_on_core(core, model))
            except NpuMemoryFull as error:
                if not self._cores:
                    raise
                # A large model has room for fewer copies: it is served, by fewer cores.
                log.warning("fewer NPU cores", cores=len(self._cores), because=error.message)
                break
            for modality, tower in self._cores[-1].towers.items():
                _try(tower, trial[modality], modality)
        self.slots = len(self._cores)
        for each in self._cores:
            self._free.put(each)
        self._report = _described(model, self._cores, board)

    def embed_images(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] for RGB pictures [N, S, S, 3]."""
        with self._core() as core:
            return core.towers[Modality.IMAGE].rows(images)

    def embed_texts(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] for token rows [N, L]."""
        with self._core() as core:
            return core.towers[Modality.TEXT].rows(tokens)

    def report(self) -> BackendReport:
        """Say what computes; only after `load`."""
        if self._report is None:
            raise RuntimeError("nothing is loaded")
        return self._report

    def close(self) -> None:
        """Release every core."""
        while self._cores:
            self._cores.pop().release()
        self._free = SimpleQueue()

    @contextmanager
    def _core(self) -> Iterator[NpuCore]:
        """Lend a free core; there is one for each of `slots` threads."""
        if not self._cores:
            raise RuntimeError("nothing is loaded")
        core = self._free.get()
        try:
            yield core
        finally:
            self._free.put(core)

    def _board(self) -> str:
        """Return the board's name; refuse one that has another chip or does not tell."""
        names, wanted = compatible(self._options.root), self._options.target
        if names is None:
            raise DeviceTreeMasked(
                f"/{COMPATIBLE} cannot be read, by which the NPU's library tells the chip.",
                remedy="Set podSecurity.procMount: Unmasked and hostUsers: false in the pool, or "
                "run the server on the board and name it in spec.external.",
            )
        chip = rockchip_chip(names)
        if chip != wanted:
            raise DeviceMismatch(
                f"The files are for {wanted}, and this board is {', '.join(names)[:200]}.",
                remedy="Choose nodes with that chip in the pool's nodeSelector"
                + (f", or take the model's files for {chip}." if chip else "."),
            )
        return names[0]


def _core_names(chip: str) -> tuple[str, ...]:
    return CORES.get(chip, ONLY_CORE)


def _on_core(core: str, model: VerifiedModel) -> NpuCore:
    """Load every tower on a core; gives all of it back when one cannot be loaded."""
    files = {Modality.IMAGE: model.files.vision, Modality.TEXT: model.files.text}
    towers: dict[Modality, GraphTower] = {}
    loaded = NpuCore(core, towers, ())
    try:
        for modality in sorted(model.modalities):
            path = files[modality]
            assert path is not None, "a layout has a file for each modality of its model"
            with only_verified(model, [path]) as folder:
                session = RknnSession(folder / path.name, core)
            loaded = NpuCore(core, towers, (*loaded.sessions, session))
            towers[modality] = GraphTower.of(session, modality, model)
    except BaseException:
        loaded.release()
        raise
    return loaded


def _try(tower: GraphTower, items: NDArray[Any], modality: Modality) -> None:
    try:
        tower.rows(items)
    except RunFailed as error:
        raise BackendUnavailable(
            f"The model's file for {modality.value}s loads but does not run: "
            f"{str(error.__cause__ or error)[:300]}",
            remedy="Convert the model anew, with the toolkit of the library's version.",
        ) from error


def _described(model: VerifiedModel, cores: list[NpuCore], board: str) -> BackendReport:
    session = cores[0].sessions[0]
    return BackendReport(
        runtime="rknn",
        version=session.versions.library,
        # The library runs on these NPUs only, and it is the one that answered; which of them
        # stands in the details.
        device=Accelerator.RK3588.value,
        precision=model.precision.value,
        dim=model.embedding_dim,
        providers=tuple(core.name or "NPU" for core in cores),
        details={
            "board": board,
            "chip": session.file.targets[0],
            "driver": session.versions.driver,
            "package": f"rknn-toolkit-lite2 {PACKAGE_VERSION}",
            "toolkit": session.file.version,
            "files": model.precision.value,
        },
    )
