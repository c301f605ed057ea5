"""Tries one way to compute a model on this machine, and says what it is worth.

Called by `lumen tune`, once in a process of its own for each way, so that the memory and the
threads of one do not stand in the figures of another.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.server_config import ServerConfig
from lumen_process.heap import trim_heap
from lumen_resources.errors import ResourceError
from lumen_resources.fetch.fetch import open_verified
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.backends.base import Backend
from lumen_serving.errors import StartError
from lumen_serving.inference.costs import Measured, measure
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.text import Tokenizer
from lumen_serving.settings import ServerSettings
from lumen_serving.startup.load import on_its_device
from lumen_terms.modality import Modality
from lumen_wire.server.open_streams import own_memory

Embed = Callable[[NDArray[Any]], NDArray[np.float32]]

_CPU_RUNS = 5
# Sizes at which a batch is compared with its items alone.
BATCH_SIZES = (2, 3, 4, 5, 8)
_TEXTS = (
    "a photo of a cat",
    "two red cars in the snow",
    "a map of an island",
    "an old woman who reads a newspaper",
    "a bowl of soup on a wooden table",
    "the night sky",
    "a butterfly on a thistle",
    "the number seven",
)


@dataclass(frozen=True, slots=True)
class Speed:
    """One modality: `per_second` items in batches of `batch`, and the time of one alone.

    `cpu_ms` is the time that all cores gave to one item of such a batch; unlike the others it
    means something on a busy machine too.
    """

    batch: int
    per_second: float
    single_ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Trial:
    """What one way to compute was found to do.

    `memory_mib` is its process's own memory, without files that it maps; `vectors` the unit rows
    [N, dim] of the things it was asked, by modality; `invariant` whether each had the same bytes
    alone and in any batch, `singly` whether batches run item by item to reach that.
    """

    runtime: str
    version: str
    device: str
    precision: str
    speeds: Mapping[Modality, Speed]
    memory_mib: int
    vectors: Mapping[Modality, NDArray[np.float32]]
    invariant: bool
    singly: bool


@dataclass(frozen=True, slots=True)
class TrialRefused:
    """This way does not go here: a sentence why."""

    why: str


def try_out(
    config: ServerConfig,
    folders: tuple[Path, Path],
    pictures: tuple[bytes, ...],
    seconds: float,
) -> Trial | TrialRefused:
    """Load a verified model and measure it for about `seconds` a modality.

    `folders` are the cache and what relative sources start at; `pictures` are JPEGs.
    """
    cache, source = folders
    try:
        model = open_verified(config, cache, source)
        settings = ServerSettings.from_environment({})
        settings.configure_logs("warning")
        with closing(on_its_device(model, config, settings)) as backend:
            return _measured(config, model, backend, _asked(model, pictures), seconds)
    except (ResourceError, StartError) as error:
        return TrialRefused(f"{error.message} {error.remedy}".strip())


def _measured(
    config: ServerConfig,
    model: VerifiedModel,
    backend: Backend,
    asked: Mapping[Modality, NDArray[Any]],
    seconds: float,
) -> Trial:
    measured = measure(backend, model, config.server.max_batch_size, seconds)
    report = backend.report()
    vectors, speeds, invariant = {}, {}, True
    for modality, items in asked.items():
        embed: Embed = backend.embed_images
        if modality is Modality.TEXT:
            embed = backend.embed_texts
        alone = np.concatenate([embed(item[None]) for item in items])
        sizes = [size for size in BATCH_SIZES if size <= len(items)]
        invariant &= all(embed(items[:n]).tobytes() == alone[:n].tobytes() for n in sizes)
        vectors[modality] = alone
        speeds[modality] = _speed(measured[modality], embed, items)
    return Trial(
        runtime=report.runtime,
        version=report.version,
        device=report.device,
        precision=report.precision,
        speeds=speeds,
        memory_mib=_own_memory_mib(),
        vectors=vectors,
        invariant=invariant,
        singly="one at a time" in report.details.values(),
    )


def _own_memory_mib() -> int:
    trim_heap()
    measure_bytes = own_memory()
    return measure_bytes() >> 20 if measure_bytes else 0


def _speed(measured: Measured, embed: Embed, items: NDArray[Any]) -> Speed:
    cap, curve = measured.max_batch_size, measured.curve
    batch = np.resize(items, (cap, *items.shape[1:]))
    taken_ms = []
    for _ in range(_CPU_RUNS):
        began_s = time.process_time()
        embed(batch)
        taken_ms.append((time.process_time() - began_s) * 1000 / cap)
    cpu_ms = statistics.median(taken_ms)
    return Speed(cap, 1000 * cap / curve.predict_ms(cap), curve.predict_ms(1), cpu_ms)


def _asked(model: VerifiedModel, pictures: tuple[bytes, ...]) -> dict[Modality, NDArray[Any]]:
    """Return pictures [N, S, S, 3] and token rows [N, L] like those of a caller."""
    asked: dict[Modality, NDArray[Any]] = {}
    if Modality.IMAGE in model.modalities:
        squares = [decode_rgb(one, "image/jpeg", model.preprocess) for one in pictures]
        asked[Modality.IMAGE] = np.stack(squares)
    if Modality.TEXT in model.modalities:
        asked[Modality.TEXT], _ = Tokenizer.load(model).encode(_TEXTS)
    return asked
