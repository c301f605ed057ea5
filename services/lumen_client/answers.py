"""What calls give back: plain frozen values, read from a server's answer.

One that makes no sense is a ServerError, whoever answers. Pure; `aio` asks, this reads.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import orjson
from numpy.typing import NDArray

from lumen_client.connection import Reply
from lumen_client.errors import ServerError
from lumen_wire import results
from lumen_wire.errors import WireError


@dataclass(frozen=True, slots=True)
class Label:
    """One label with its share within the label set: not a probability of truth.

    `lineage` runs from kingdom to species where the label set knows it.
    """

    label: str
    score: float
    lineage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to a classification, best label first.

    `source` names the stage that answered `smart_classify` and is empty otherwise.
    `meta` holds everything else the server said: `scene`, `scene_score`, `*_ms`, `label_set`.
    """

    labels: tuple[Label, ...]
    model_id: str
    source: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Embedding:
    """The vector of a text or a picture, float32 [dim], of unit length.

    Only vectors of one `embedding_space` may be compared. `truncated` says that the text was
    longer than the model reads, and what exceeded it was left out.
    """

    vector: NDArray[np.float32]
    model_id: str = ""
    embedding_space: str = ""
    truncated: bool = False
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceCapabilities:
    """What one service behind the address can do."""

    service: str
    model_ids: tuple[str, ...]
    runtime: str
    precisions: tuple[str, ...]
    tasks: tuple[str, ...]
    max_concurrency: int
    protocol_version: str
    extra: Mapping[str, str]


def read_embedding(answer: Reply) -> Embedding:
    """Return a vector with what the server said of it; raises ServerError."""
    with _making_sense():
        vector = np.frombuffer(answer.result, "<f4").astype(np.float32)
        if not len(vector) or not np.isfinite(vector).all():
            raise ValueError("it is not a vector of numbers")
    meta = answer.meta
    return Embedding(
        vector,
        meta.get("model_id", ""),
        meta.get("embedding_space", ""),
        meta.get("truncated") == "1",
        meta,
    )


def read_classification(answer: Reply) -> Classification:
    """Return the labels of an answer with their lineages; raises ServerError."""
    with _making_sense():
        parsed = results.parse_labels(answer.result)
        lineages = orjson.loads(answer.meta.get("lineage") or b"[]")
        lineages += [()] * (len(parsed.labels) - len(lineages))
        labels = tuple(
            Label(one.label, one.score, tuple(map(str, lineage or ())))
            for one, lineage in zip(parsed.labels, lineages, strict=False)
        )
    return Classification(labels, parsed.model_id, answer.meta.get("source", ""), answer.meta)


@contextmanager
def _making_sense() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, WireError) as error:
        raise ServerError(
            "INTERNAL", f"the server's answer cannot be read: {str(error)[:200]}"
        ) from error
