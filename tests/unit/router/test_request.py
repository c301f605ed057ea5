"""What a pod is sent and what is counted: by quicker ways that must say what plain ones would."""

import random

import pytest

from lumen_manifest.spec.enums import Family
from lumen_router.metrics import RouterMetrics
from lumen_router.routes.table import RouteTarget, Service
from lumen_router.upstream.call import WHOLE_BYTES, Call, messages_of
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.chunks import Assembler
from lumen_wire.request.splitting import WHOLE_MESSAGE_BYTES
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


def counted(metrics: RouterMetrics) -> list[str]:
    text = metrics.page()[1].decode()
    return [line for line in text.splitlines() if line.startswith("lumen_router_requests_total{")]


def test_a_service_that_comes_back_is_counted_from_nothing():
    metrics = RouterMetrics()
    metrics.keep_only(["clip", "bio"])
    for service in ("clip", "clip", "bio"):
        metrics.request_done(service, TaskKind.CLASSIFY, "OK", 0.1)

    metrics.keep_only(["bio"])
    gone = counted(metrics)
    metrics.keep_only(["clip", "bio"])
    metrics.request_done("clip", TaskKind.CLASSIFY, "OK", 0.1)
    metrics.request_done("bio", TaskKind.CLASSIFY, "OK", 0.1)

    assert gone == ['lumen_router_requests_total{code="OK",service="bio",task="classify"} 1.0']
    assert sorted(counted(metrics)) == [
        'lumen_router_requests_total{code="OK",service="bio",task="classify"} 2.0',
        'lumen_router_requests_total{code="OK",service="clip",task="classify"} 1.0',
    ]
