"""A server's answer as values; one that makes no sense is a ServerError, whoever answers.

Pure; `aio` asks, this reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import orjson
from numpy.typing import NDArray

from lumen_client.answers import Classification, Label
from lumen_client.connection import Reply
from lumen_client.errors import ServerError
from lumen_wire import results
from lumen_wire.errors import WireError


def read_vector(answer: Reply) -> NDArray[np.float32]:
    """Return an embedding, float32 [dim]; raises ServerError."""
    with _making_sense():
        return np.frombuffer(answer.result, "<f4").astype(np.float32)


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


def stacked(rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return vectors as one array [N, dim]; raises ServerError when they differ in length."""
    with _making_sense():
        return np.stack(rows)


@contextmanager
def _making_sense() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, WireError) as error:
        raise ServerError(
            "INTERNAL", f"the server's answer cannot be read: {str(error)[:200]}"
        ) from error
