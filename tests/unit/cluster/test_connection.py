import asyncio

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from lumen_cluster import errors
from lumen_cluster.client import APPLY_PATCH, OBJECT_MAX_BYTES, ApiRequest, ClusterClient


@pytest.fixture
async def api_server():
    """A server on loopback whose answer the test chooses, and what it was asked."""
    asked = []
    answers = {}

    async def answer(request):
        asked.append((request.method, str(request.rel_url), await request.text(), request.headers))
        found = answers[request.path]
        return await found() if callable(found) else found

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}", asked, answers
    await runner.cleanup()


def a_connection(url):
    found = Configuration()
    found.host = url
    found.api_key["BearerToken"] = "Bearer secret"
    return ClusterClient(found, "lumen-operator")


async def test_a_call_carries_the_token_the_query_and_the_body(api_server):
    url, asked, answers = api_server
    answers["/apis/x"] = web.json_response({"kind": "X"})
    async with a_connection(url) as connection:
        request = ApiRequest("PATCH", "/apis/x", {"force": "true"}, {"a": [1]}, APPLY_PATCH)
        assert await connection.ask(request) == {"kind": "X"}
    method, path, body, headers = asked[0]

    assert (method, path, body) == ("PATCH", "/apis/x?force=true", '{"a": [1]}')
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == APPLY_PATCH
    assert headers["User-Agent"] == "lumen-operator"


async def test_a_refusal_is_the_error_that_says_what_it_means(api_server):
    url, _, answers = api_server
    answers["/busy"] = web.json_response(
        {"message": "slow down"}, status=429, headers={"Retry-After": "3"}
    )
    async with a_connection(url) as connection:
        with pytest.raises(errors.Throttled, match="GET /busy: 429 slow down") as raised:
            await connection.call(ApiRequest("GET", "/busy"))

    assert raised.value.retry_after_s == 3


async def test_an_answer_that_never_comes_is_given_up_at_the_deadline(api_server):
    url, _, answers = api_server
    answers["/frozen"] = asyncio.Event().wait
    async with a_connection(url) as connection:
        with pytest.raises(errors.ApiUnavailable, match="no answer in"):
            await connection.call(ApiRequest("GET", "/frozen", deadline_s=0.2))


async def test_a_server_that_is_not_there_is_away():
    async with a_connection("http://127.0.0.1:9") as connection:
        with pytest.raises(errors.ApiUnavailable, match="GET /x"):
            await connection.call(ApiRequest("GET", "/x"))


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(api_server):
    url, _, answers = api_server
    answers["/large"] = web.Response(body=b" " * (OBJECT_MAX_BYTES + 1))
    async with a_connection(url) as connection:
        with pytest.raises(errors.TooLarge, match="larger than 16 MiB"):
            await connection.call(ApiRequest("GET", "/large"))
