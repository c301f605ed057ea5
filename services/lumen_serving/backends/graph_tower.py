"""One tower of a model as a graph: which ports it has, and how items become what it takes.

Graphs are as people export them: pictures as normalised numbers or as bytes, channels first or
last; texts as one input or with a mask beside it; a batch of one or of any size. Each is asked
once, when it is loaded, whether an item's vector depends on its neighbours; if so its batches run
one item at a time.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.backends.base import unit_rows
from lumen_serving.errors import BackendUnavailable
from lumen_serving.graphs.ports import GraphSession, Port
from lumen_serving.media.preprocess import Normaliser
from lumen_terms.modality import Modality

# The batch sizes of the trial, and how long it may take on a large model.
TRIAL_SIZES = (3, 2, 8, 4, 5)
_TRIAL_S = 2.0
# What exports call the projected vector, should others of its shape stand beside it.
_VECTORS = ("image_embeds", "text_embeds", "embedding", "embeddings", "pooler_output")
_FLOATS = (np.float32, np.float16)
_WHOLE = (np.int64, np.int32)

# From items to the graph's inputs by name.
Feeder = Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]]


class BatchMode(StrEnum):
    """How a tower runs a batch so that no item's bytes depend on the others."""

    TOGETHER = "together"
    SINGLY = "one at a time"


@dataclass(slots=True)
class GraphTower:
    """A loaded graph, how it is fed, and which port gives [N, dim].

    `half`, where there is one, is the same graph on half of the threads: who is alone in here has
    all of them, two at once each a half.
    """

    session: GraphSession
    feed: Feeder
    output: Port
    batching: BatchMode
    half: GraphSession | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _inside: int = 0

    @classmethod
    def of(cls, session: GraphSession, modality: Modality, model: VerifiedModel) -> "GraphTower":
        """Find the ports of the graph for pictures, or of the one for texts.

        Raises:
            BackendUnavailable: it is not a tower of this model.

        """
        ports = _picture_feed if modality is Modality.IMAGE else _text_feed
        feed = ports(session.inputs, model)
        gives = _vector_port(session.outputs, model.embedding_dim)
        batches = {port.shape[0] for port in session.inputs if port.shape}
        if feed is None or gives is None or not batches <= {None, 1}:
            raise _not_a_tower(session, modality, model)
        fixed = batches != {None}
        return cls(session, feed, gives, BatchMode.SINGLY if fixed else BatchMode.TOGETHER)

    def rows(self, items: NDArray[Any]) -> NDArray[np.float32]:
        """Return unit rows float32 [N, dim]; a row's bytes depend on its item alone.

        `items` are pictures uint8 [N, S, S, 3] or token rows int64 [N, L].
        """
        if len(items) == 0:
            width = self.output.shape[-1] or 0
            return np.empty((0, width), np.float32)
        if self.batching is BatchMode.TOGETHER:
            return self._run(items)
        return np.concatenate([self._run(items[row : row + 1]) for row in range(len(items))])

    def check_batch_invariance(self, items: NDArray[Any]) -> None:
        """Try `items`, distinct and typical, alone and together; run singly when they differ.

        Matrix products of one row and of several may use kernels that add up in another order;
        that depends on the CPU, the engine and the graph, so it is tried and not assumed.
        """
        if self.batching is BatchMode.SINGLY:
            self._run(items[:1])
            return
        began_at = time.monotonic()
        alone = [self._run(items[row : row + 1]).tobytes() for row in range(len(items))]
        for size in TRIAL_SIZES:
            if self._run(items[:size]).tobytes() != b"".join(alone[:size]):
                self.batching = BatchMode.SINGLY
            # One at least is tried: nothing else proves a graph whose batch was opened.
            if self.batching is BatchMode.SINGLY or time.monotonic() - began_at > _TRIAL_S:
                break
        self._check_half(items[: TRIAL_SIZES[0]], b"".join(alone[: TRIAL_SIZES[0]]))

    def _check_half(self, items: NDArray[Any], wanted: bytes) -> None:
        """Keep the half where it gives the same bytes, alone and in a batch that runs together."""
        if self.half is None:
            return
        alone = [self._run_on(self.half, item[None]).tobytes() for item in items]
        together = self._run_on(self.half, items).tobytes()
        if self.batching is BatchMode.SINGLY or {b"".join(alone), together} != {wanted}:
            self.half = None

    def _run(self, items: NDArray[Any]) -> NDArray[np.float32]:
        if self.half is None:
            return self._run_on(self.session, items)
        with self._turn:
            self._inside += 1
            alone = self._inside == 1
        try:
            return self._run_on(self.session if alone else self.half, items)
        finally:
            with self._turn:
                self._inside -= 1

    def _run_on(self, session: GraphSession, items: NDArray[Any]) -> NDArray[np.float32]:
        (out,) = session.run([self.output.name], self.feed(items))
        return unit_rows(out)


def _picture_feed(ports: tuple[Port, ...], model: VerifiedModel) -> Feeder | None:
    """Return how pictures [N, S, S, 3] uint8 go in; bytes are normalised by the graph itself."""
    if len(ports) != 1 or len(ports[0].shape) != 4:
        return None
    (port,) = ports
    last = port.shape[3] == 3 and port.shape[1] != 3
    if port.dtype is np.uint8:
        as_bytes = _channels_last if last else _channels_first
        return lambda items: {port.name: as_bytes(items)}
    if port.dtype not in _FLOATS:
        return None
    normalise, dtype = Normaliser.of(model.preprocess), port.dtype

    def feed(items: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        planes = normalise(items).astype(dtype, copy=False)
        return {port.name: np.ascontiguousarray(planes.transpose(0, 2, 3, 1)) if last else planes}

    return feed


def _channels_last(items: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(items)


def _channels_first(items: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(items.transpose(0, 3, 1, 2))


def _text_feed(ports: tuple[Port, ...], model: VerifiedModel) -> Feeder | None:
    """Return how token rows [N, L] int64 go in: ids, and what can be told from them."""
    if any(port.dtype not in _WHOLE or len(port.shape) != 2 for port in ports):
        return None
    pad = model.text.pad_id
    made: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {}
    for port in ports:
        if "mask" in port.name:
            made[port.name] = lambda items: items != pad
        elif "token_type" in port.name:
            made[port.name] = np.zeros_like
        else:
            made[port.name] = lambda items: items
    ids = [name for name in made if "mask" not in name and "token_type" not in name]
    if len(ids) != 1:
        return None
    types = {port.name: port.dtype for port in ports}
    return lambda items: {
        name: make(items).astype(types[name], copy=False) for name, make in made.items()
    }


def _vector_port(ports: tuple[Port, ...], dim: int) -> Port | None:
    """Return the pooled output: [N, dim], and not the tokens some exports give beside it."""
    flat = [port for port in ports if len(port.shape) == 2 and port.dtype in _FLOATS]
    exact = [port for port in flat if port.shape[-1] == dim]
    free = [port for port in flat if port.shape[-1] is None]
    named = [port for name in _VECTORS for port in exact or free if port.name == name]
    return next(iter([*named, *exact, *free]), None)


def _not_a_tower(
    session: GraphSession, modality: Modality, model: VerifiedModel
) -> BackendUnavailable:
    takes = "; ".join(str(port) for port in session.inputs)
    gives = "; ".join(str(port) for port in session.outputs)
    graph = model.files.vision if modality is Modality.IMAGE else model.files.text
    name = graph.name if graph else modality.value
    side, length = model.preprocess.size, model.context_length
    expected = (
        f"pictures [N, 3, {side}, {side}]"
        if modality is Modality.IMAGE
        else f"token ids [N, {length}], perhaps with a mask,"
    )
    return BackendUnavailable(
        f"{name} is not a tower of this model: it takes {takes} and gives {gives}; {expected} "
        f"and an output [N, {model.embedding_dim}] with a free batch dimension are expected.",
        remedy="Export the model anew.",
        file=name,
    )
