"""What scripted pods do instead of answering."""

import asyncio

import grpc
from router_world import Refusal, ScriptedPod

from lumen_wire.errors import to_inband, to_inband_meta
from lumen_wire.pb import ml_service_pb2 as pb

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def refusing(code: grpc.StatusCode, message: str = "no", pushback_ms: int | None = None):
    async def script(request, context):
        raise Refusal(code, message, pushback_ms)

    return script


def inband(error):
    async def script(request, context):
        return pb.InferResponse(is_final=True, error=to_inband(error), meta=to_inband_meta(error))

    return script


async def silent(request, context):
    return []


class Gate:
    """A script that answers when it is opened."""

    def __init__(self, pod: ScriptedPod) -> None:
        self.pod = pod
        self.opened = asyncio.Event()

    async def __call__(self, request, context):
        await self.opened.wait()
        return await self.pod.answer(request, context)
