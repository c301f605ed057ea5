"""Parts of an answer are merged, or refused."""

import random

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st

from lumen_router.errors import PodAnswerBroken
from lumen_router.upstream.call import merge_parts, status_error
from lumen_wire.errors import (
    DeadlineExceeded,
    Internal,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.splitting import split_response


def an_answer(result: bytes) -> pb.InferResponse:
    return pb.InferResponse(
        correlation_id="7",
        is_final=True,
        result=result,
        result_mime="application/json;schema=labels_v1",
        result_schema="labels_v1",
        meta={"labels_count": "3"},
    )


@given(st.binary(min_size=20, max_size=400), st.integers(0, 1000))
def test_parts_are_merged_in_whatever_order_they_come(result, seed):
    *first, final = split_response(an_answer(result), max_bytes=9)
    random.Random(seed).shuffle(first)

    whole = merge_parts([*first, final])

    assert whole.result == result
    assert (whole.mime, whole.schema) == ("application/json;schema=labels_v1", "labels_v1")
    assert whole.meta["labels_count"] == "3"


def test_a_missing_part_is_not_papered_over():
    first, _, *rest = split_response(an_answer(b"x" * 50), max_bytes=10)

    with pytest.raises(PodAnswerBroken, match="missing"):
        merge_parts([first, *rest])


@pytest.mark.parametrize(
    ("code", "details", "means"),
    [
        (StatusCode.UNAVAILABLE, "Socket closed", Unavailable),
        (StatusCode.CANCELLED, "", Unavailable),
        (StatusCode.INTERNAL, "Received RST_STREAM with error code 2", Unavailable),
        (StatusCode.UNKNOWN, "Stream removed", Unavailable),
        (StatusCode.INTERNAL, "the model failed", Internal),
        (StatusCode.RESOURCE_EXHAUSTED, "full", ResourceExhausted),
        (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", DeadlineExceeded),
        (StatusCode.NOT_FOUND, "no label set", NotFound),
    ],
)
def test_a_status_says_whether_another_pod_may_answer(code, details, means):
    error = status_error(AioRpcError(code, Metadata(), Metadata(), details=details))

    assert type(error) is means
