"""wire.md, "Results": documents and mimes that clients compare as exact strings."""

import json
import math
import struct

import numpy as np
import pytest

from lumen_wire import results
from lumen_wire.errors import Internal
from lumen_wire.results import EmbeddingDocument, LabelScore, LabelsDocument


def test_the_mimes_are_exact_strings_without_spaces():
    assert results.LABELS_MIME == "application/json;schema=labels_v1"
    assert results.EMBEDDING_MIME == "application/json;schema=embedding_v1"
    assert results.EMBEDDING_F32LE_MIME == "application/octet-stream;schema=embedding_v1"


def test_labels_v1_is_sorted_and_no_score_exceeds_1_and_there_are_no_other_keys():
    document = json.loads(results.labels_v1([("a", 0.1), ("b", 1.0000001), ("c", 0.5)], "m"))

    assert document == {
        "labels": [
            {"label": "b", "score": 1.0},
            {"label": "c", "score": 0.5},
            {"label": "a", "score": 0.1},
        ],
        "model_id": "m",
    }


def test_a_score_that_is_not_a_number_is_never_sent():
    with pytest.raises(Internal):
        results.labels_v1([("a", math.nan)], "m")


def test_embedding_v1_has_vector_dim_and_model_id_alone():
    vector = np.array([0.25, -0.5, 1.0], dtype=np.float32)

    document = json.loads(results.embedding_v1(vector, "m"))

    assert document == {"vector": [0.25, -0.5, 1.0], "dim": 3, "model_id": "m"}


def test_a_vector_on_request_is_raw_little_endian_float32():
    vector = np.array([0.1, -0.5], dtype=np.float32)

    assert results.embedding_f32le(vector) == struct.pack("<2f", 0.1, -0.5)


def test_clients_read_what_servers_write():
    vector = np.array([0.1, -0.5], dtype=np.float32)

    assert results.parse_labels(results.labels_v1([("a", 0.5)], "m")) == LabelsDocument(
        (LabelScore("a", 0.5),), "m"
    )
    read = results.parse_embedding(results.embedding_v1(vector, "m"))
    raw = results.parse_embedding(results.embedding_f32le(vector), results.EMBEDDING_F32LE_MIME)
    assert (read.vector.tobytes(), read.model_id, read.dim) == (vector.tobytes(), "m", 2)
    assert raw == EmbeddingDocument(read.vector, "")


@pytest.mark.parametrize("result", [b"", b"{}", b"[]", b'{"labels":[{}],"model_id":""}', b"\xff"])
def test_an_answer_that_is_no_labels_document_is_the_servers_fault(result):
    with pytest.raises(Internal):
        results.parse_labels(result)


@pytest.mark.parametrize(
    ("result", "mime"),
    [
        (b"{}", results.EMBEDDING_MIME),
        (b'{"vector":[1.0],"dim":2,"model_id":"m"}', results.EMBEDDING_MIME),
        (b'{"vector":["x"],"dim":1,"model_id":"m"}', results.EMBEDDING_MIME),
        (b"abc", results.EMBEDDING_F32LE_MIME),
    ],
)
def test_an_answer_that_is_no_embedding_is_the_servers_fault(result, mime):
    with pytest.raises(Internal):
        results.parse_embedding(result, mime)
