"""The two result documents: labels_v1 and embedding_v1, written by servers, read by clients.

Clients compare `result_mime` as an exact string and accept no other keys.
"""

import array
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lumen_wire.errors import Internal

LABELS_SCHEMA = "labels_v1"
EMBEDDING_SCHEMA = "embedding_v1"
LABELS_MIME = "application/json;schema=labels_v1"
EMBEDDING_MIME = "application/json;schema=embedding_v1"
EMBEDDING_F32LE_MIME = "application/octet-stream;schema=embedding_v1"

_F32_BYTES = 4
_DUMP = orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One row of an answer."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class LabelsDocument:
    """A labels_v1 document, best first."""

    labels: tuple[LabelScore, ...]
    model_id: str


@dataclass(frozen=True, slots=True)
class EmbeddingDocument:
    """An embedding_v1 document; `model_id` is empty for the raw form, whose meta has it."""

    vector: "array.array[float]"
    model_id: str

    @property
    def dim(self) -> int:
        """Return the number of components."""
        return len(self.vector)


def labels_v1(labels: Sequence[tuple[str, float]], model_id: str) -> bytes:
    """Return the document for (label, score) pairs: sorted, scores at most 1.

    A float32 softmax may end a hair above 1; clients refuse that, so it is cut.
    Raises Internal when a score is not a finite number (JSON would carry null).
    """
    if not all(math.isfinite(score) for _, score in labels):
        raise Internal("The model computed a score that is not a number.")
    ranked = sorted(labels, key=lambda pair: -pair[1])
    rows = [{"label": label, "score": min(float(score), 1.0)} for label, score in ranked]
    return orjson.dumps({"labels": rows, "model_id": model_id})


def embedding_v1(vector: Any, model_id: str) -> bytes:
    """Return the document for one vector.

    `vector`: a contiguous float32 numpy array [dim].
    """
    return orjson.dumps({"vector": vector, "dim": len(vector), "model_id": model_id}, option=_DUMP)


def embedding_f32le(vector: Any) -> bytes:
    """Return the raw form: little-endian float32. `vector` as for `embedding_v1`."""
    raw: bytes = vector.astype("<f4", copy=False).tobytes()
    return raw


def parse_labels(result: bytes) -> LabelsDocument:
    """Return a labels_v1 document; raises Internal when the server sent something else."""
    try:
        document = orjson.loads(result)
        rows = tuple(LabelScore(str(r["label"]), float(r["score"])) for r in document["labels"])
        return LabelsDocument(rows, str(document["model_id"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise Internal("The server's answer is not a labels_v1 document.") from error


def parse_embedding(result: bytes, mime: str = EMBEDDING_MIME) -> EmbeddingDocument:
    """Return an embedding in either form; raises Internal when it is neither."""
    try:
        if mime == EMBEDDING_F32LE_MIME:
            return EmbeddingDocument(_from_f32le(result), "")
        document = orjson.loads(result)
        embedding = EmbeddingDocument(
            array.array("f", document["vector"]), str(document["model_id"])
        )
        dim = document["dim"]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise Internal("The server's answer is not an embedding_v1 document.") from error
    if dim != embedding.dim:
        raise Internal(f"The server's answer says dim {dim}, but has {embedding.dim} components.")
    return embedding


def _from_f32le(raw: bytes) -> "array.array[float]":
    if len(raw) % _F32_BYTES:
        raise ValueError("a float32 vector has 4 bytes per component")
    values = array.array("f", raw)
    if sys.byteorder == "big":
        values.byteswap()
    return values
