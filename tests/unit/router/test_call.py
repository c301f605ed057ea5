"""What a pod is sent, quicker than by a plain message and the same; how its answer is read."""

import random

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st

from lumen_manifest.spec.enums import Family
from lumen_router.errors import PodAnswerBroken
from lumen_router.routes.table import RouteTarget, Service
from lumen_router.upstream.call import WHOLE_BYTES, Call, merge_parts, messages_of, status_error
from lumen_wire.errors import DeadlineExceeded, Internal, NotFound, ResourceExhausted, Unavailable
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.chunks import Assembler
from lumen_wire.request.splitting import WHOLE_MESSAGE_BYTES, split_response
from lumen_wire.tasks import TaskKind

MIB = 1 << 20
TARGET = RouteTarget(Service("clip", Family.CLIP), TaskKind.IMAGE_EMBED, "clip_image_embed")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_a_pod_reads_the_request_with_its_payload_as_protobuf_writes_it(size):
    payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    call = Call(TARGET, payload, "image/jpeg", {"vector": "f32le", "é": "ü"}, "id-1")

    [message] = messages_of(call)

    assert pb.InferRequest.FromString(message) == pb.InferRequest(
        correlation_id="id-1",
        task="clip_image_embed",
        payload=payload,
        payload_mime="image/jpeg",
        meta={"vector": "f32le", "é": "ü"},
    )


@pytest.mark.parametrize("size", [WHOLE_BYTES, WHOLE_BYTES + 1, 16 * MIB, 50 * MIB])
def test_whatever_the_size_no_message_is_too_large_for_a_pod_and_it_gets_the_whole(size):
    payload = b"\xff\xd8\xff\xe0" + random.Random(size).randbytes(size - 6) + b"\xff\xd9"
    call = Call(TARGET, payload, "image/jpeg", {"vector": "f32le"}, "id-1")

    messages = messages_of(call)
    assembler = Assembler()
    outcomes = [out for one in messages for out in assembler.push(pb.InferRequest.FromString(one))]
    outcomes += assembler.half_close()

    assert max(map(len, messages)) < WHOLE_MESSAGE_BYTES
    [request] = outcomes
    assert (request.correlation_id, request.task) == ("id-1", "clip_image_embed")
    assert request.meta == {"vector": "f32le"}
    assert request.payload == payload


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
