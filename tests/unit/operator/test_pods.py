import asyncio

import aiohttp
import pytest
from aiohttp import web

from lumen_operator.observe.kinds import Key
from lumen_operator.observe.views import PodAddress
from lumen_operator.polling.asker import ANSWER_MAX_BYTES, read_status
from lumen_operator.polling.status_poller import PodReports, by_their_addresses

KEY = Key("service", "team", "clip")


@pytest.fixture
async def pod():
    """A pod's status page on loopback: its address, and the answer that the test sets."""
    page = {"answer": lambda: web.json_response({"phase": "Fetching"}), "asked": 0}

    async def answer(_):
        page["asked"] += 1
        found = page["answer"]()
        return await found if asyncio.iscoroutine(found) else found

    app = web.Application()
    app.router.add_get("/status", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    page["address"] = PodAddress("u1", "127.0.0.1", "resources", runner.addresses[0][1])
    yield page
    await runner.cleanup()


async def never():
    await asyncio.Event().wait()


async def redirected():
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/secret"})


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>"),
        lambda: web.json_response([1, 2]),
        lambda: web.Response(status=500, text="{}"),
        lambda: web.Response(body=b'{"a":"' + b"x" * ANSWER_MAX_BYTES + b'"}'),
        redirected,
        never,
    ],
    ids=["html", "list", "failure", "huge", "redirect", "silence"],
)
async def test_only_a_json_object_of_moderate_size_that_comes_in_time_is_taken(pod, answer):
    pod["answer"] = answer
    async with aiohttp.ClientSession() as session:
        assert await read_status(session, pod["address"], within_s=0.3) is None


async def test_a_pod_that_nobody_can_reach_has_no_report():
    async with aiohttp.ClientSession() as session:
        assert await read_status(session, PodAddress("u", "127.0.0.1", "server", 9)) is None
        assert await read_status(session, PodAddress("u", "::1", "server", 9)) is None
        assert await read_status(session, PodAddress("u", "no host", "server", 9)) is None


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def reports():
    told = []
    found = PodReports(told.append, by_their_addresses, every_s=0.05)
    found.told = told
    running = asyncio.create_task(found.run())
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_report_is_kept_and_its_key_told(pod, reports):
    reports.ask(KEY, [pod["address"]])
    await until(lambda: reports.told)
    report = reports.newest["u1"]

    assert reports.told == [KEY]
    assert (report.container, report.document) == ("resources", {"phase": "Fetching"})


async def test_the_same_answer_again_is_told_once(pod, reports):
    reports.ask(KEY, [pod["address"]])
    await until(lambda: pod["asked"] >= 2)
    pod["answer"] = lambda: web.json_response({"phase": "Verifying"})
    await until(lambda: reports.newest["u1"].document == {"phase": "Verifying"})

    assert reports.told == [KEY, KEY]


async def test_a_pod_that_is_no_longer_named_is_not_asked_and_its_report_stays_while_it_lives(
    pod, reports
):
    reports.ask(KEY, [pod["address"]])
    await until(lambda: "u1" in reports.newest)
    reports.ask(KEY, [], living=["u1"])
    assert "u1" in reports.newest

    reports.ask(KEY, [], living=[])
    assert "u1" not in reports.newest


async def test_an_answer_that_comes_too_late_for_a_pod_that_was_dropped_is_dropped(pod, reports):
    gate = asyncio.Event()

    async def late():
        await gate.wait()
        return web.json_response({"phase": "Late"})

    pod["answer"] = late
    reports.ask(KEY, [pod["address"]])
    await until(lambda: pod["asked"] >= 1)
    reports.ask(KEY, [])
    gate.set()
    pod["answer"] = lambda: web.json_response({"phase": "Next"})
    reports.ask(KEY, [pod["address"]])
    await until(lambda: "u1" in reports.newest)

    assert reports.newest["u1"].document == {"phase": "Next"}
