"""The router's inference behind a transport that knows no gRPC: JSON lines over a socket."""

import asyncio
import base64
from contextlib import asynccontextmanager, suppress

import orjson
from router_scripts import UNAVAILABLE, Gate, refusing
from router_world import JPEG, ScriptedPod, a_service, a_world, one_service, until

from lumen_router.inference import InferenceCore
from lumen_router.upstream.call import InferenceRequest
from lumen_wire.deadline import Deadline
from lumen_wire.errors import ResourceExhausted, WireError
from lumen_wire.results import parse_labels

BOTH = (a_service(), a_service("bioclip", "bioclip"))


class LineTransport:
    """One request a connection, as a line of JSON; a connection that closes cancels it."""

    def __init__(self, inference: InferenceCore) -> None:
        self._inference = inference

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = orjson.loads(await reader.readline())
        work = asyncio.create_task(self._answer(asked))
        gone = asyncio.create_task(reader.read())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            writer.write(orjson.dumps(work.result()) + b"\n")
        for task in (work, gone):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        writer.close()

    async def _answer(self, asked):
        caller = ("line", "1")
        payload = base64.b64decode(asked["payload"])
        account = self._inference.budget.account(*caller)
        try:
            if not account.try_take(len(payload)):
                raise self._rejected()
            request = InferenceRequest(
                asked["task"], payload, "image/jpeg", asked["meta"], caller=caller
            )
            answer = await self._inference.infer(request, Deadline.after(asked["timeout_s"]))
        except WireError as error:
            return {"code": error.status.name, "message": error.message}
        finally:
            account.close()
        return {"code": "OK", "result": answer.result.decode(), "meta": answer.meta}

    def _rejected(self) -> WireError:
        error = ResourceExhausted("too many bytes are held: try again shortly")
        self._inference.reject(error)
        return error


@asynccontextmanager
async def lines(world):
    server = await asyncio.start_server(
        LineTransport(world.running.inference).serve, "127.0.0.1", 0, limit=1 << 22
    )

    async def ask(task="clip_image_embed", payload=JPEG, timeout_s=60.0, **meta):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        line = {
            "task": task,
            "payload": base64.b64encode(payload).decode(),
            "timeout_s": timeout_s,
            "meta": meta,
        }
        try:
            writer.write(orjson.dumps(line) + b"\n")
            return orjson.loads(await reader.readline())
        finally:
            writer.close()

    async with server:
        yield ask


def counted(world, code, service="clip", task="image_embed"):
    return world.metric("lumen_router_requests_total", service=service, task=task, code=code)


async def test_smart_classify_names_the_species(tmp_path):
    clip, bioclip = ScriptedPod(), ScriptedPod("bioclip")
    async with a_world(tmp_path, clip, bioclip) as world, lines(world) as ask:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        answer = await ask("smart_classify")

    assert answer["meta"]["source"] == "bioclip_classification"
    assert parse_labels(answer["result"].encode()).labels[0].label == "robin"


async def test_a_call_is_held_until_a_pod_is_ready(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod(loading=True)) as world, lines(world) as ask:
        world.route(a_service(), clip=[pod])
        await until(lambda: world.directory.routes)
        waiting = asyncio.create_task(ask())
        await until(lambda: world.running._room.waiting == 1)
        pod.loading = False

        assert (await waiting)["code"] == "OK"


async def test_another_pod_answers_when_one_refuses(tmp_path):
    pods = [ScriptedPod(script=refusing(UNAVAILABLE)), ScriptedPod()]
    async with one_service(tmp_path, *pods) as world, lines(world) as ask:
        answers = [await ask()]
        while not pods[0].requests:  # the first pod is chosen at random
            answers.append(await ask())

    assert {answer["code"] for answer in answers} == {"OK"}


async def test_a_deadline_ends_the_call_and_is_counted(tmp_path):
    async with (
        one_service(tmp_path, pod := ScriptedPod(delay_s=30.0)) as world,
        lines(world) as ask,
    ):
        answer = await ask(timeout_s=0.5)

        assert answer["code"] == "DEADLINE_EXCEEDED"
        assert counted(world, "DEADLINE_EXCEEDED") == 1
        await until(lambda: pod.cancelled == 1)


async def test_a_closed_connection_cancels_the_pods_work(tmp_path):
    async with (
        one_service(tmp_path, pod := ScriptedPod(delay_s=30.0)) as world,
        lines(world) as ask,
    ):
        call = asyncio.create_task(ask())
        await until(lambda: pod.requests)
        call.cancel()

        await until(lambda: pod.cancelled == 1)
        assert counted(world, "CANCELLED") == 1


async def test_the_byte_budget_is_shared_with_grpc(tmp_path):
    payload = b"\xff\xd8\xff\xe0" + bytes(600_000) + b"\xff\xd9"
    pod = ScriptedPod()
    pod.script = gate = Gate(pod)
    async with one_service(tmp_path, pod, LUMEN_HELD_BYTES=1_000_000) as world, lines(world) as ask:
        first = asyncio.create_task(world.infer("clip_image_embed", payload))
        await until(lambda: pod.requests)

        refused = await ask(payload=payload)
        gate.opened.set()
        await first
        await until(lambda: world.running.inference.budget.held_bytes == 0)
        answer = await ask(payload=payload)

    assert refused["code"] == "RESOURCE_EXHAUSTED"
    assert answer["code"] == "OK"
    assert counted(world, "OK") == 2
