"""The API server's answers, good and bad, over real HTTP: a scripted server on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from cluster_objects import a_model_service, a_slice

from lumen_cluster import client as cluster_client
from lumen_cluster.client import (
    APPLY_PATCH,
    OBJECT_MAX_BYTES,
    ApiRequest,
    ClusterClient,
    find_server,
)
from lumen_cluster.errors import (
    ApiUnavailable,
    HistoryGone,
    NoServer,
    Refused,
    Throttled,
    TooLarge,
)
from lumen_cluster.kinds import Event, EventType, Page, Resource
from lumen_router.routes.from_cluster import watched_resources

SERVICES, SLICES = watched_resources("lab")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ScriptedServer:
    """Answers watches by `on_watch`, the rest by `on_call`, and remembers what it was asked."""

    on_call: Handler | None = None
    on_watch: Handler | None = None
    asked: list[web.Request] = field(default_factory=list)
    port: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        await request.read()
        handler = self.on_watch if "watch" in request.query else self.on_call
        return await handler(request)


def kubeconfig(folder: Path, server: str) -> str:
    """A kubeconfig with a token, as a file."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "opaque"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(document))
    return str(path)


@asynccontextmanager
async def a_cluster(
    folder: Path, on_call: Handler | None = None, on_watch: Handler | None = None, **options: float
) -> AsyncIterator[tuple[ScriptedServer, ClusterClient]]:
    """A scripted API server, and a client of it."""
    server = ScriptedServer(on_call, on_watch)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = site._server.sockets[0].getsockname()[1]
    found = await find_server(kubeconfig(folder, f"http://127.0.0.1:{server.port}"), {})
    try:
        async with ClusterClient(found, "lumen-test", **options) as api:
            yield server, api
    finally:
        await runner.cleanup()


def says(text: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text)

    return answer


def lists(*items: dict, version: str = "7", go_on: str = "") -> Handler:
    async def answer(_: web.Request) -> web.Response:
        metadata = {"resourceVersion": version} | ({"continue": go_on} if go_on else {})
        return web.json_response({"metadata": metadata, "items": list(items)})

    return answer


def refuses(code: int, message: str = "no", headers: dict | None = None, **more: object) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        status = {"kind": "Status", "message": message, "code": code, **more}
        return web.json_response(status, status=code, headers=headers)

    return answer


def streams(*lines: bytes, hold: bool = False) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(line + b"\n")
        if hold:
            await asyncio.Event().wait()
        return response

    return answer


async def too_much(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(2):
        await response.write(b" " * OBJECT_MAX_BYTES)
    return response


async def never(_: web.Request) -> web.Response:
    await asyncio.Event().wait()


def report(kind: str, raw: dict) -> bytes:
    return orjson.dumps({"type": kind, "object": raw})


async def listed(api: ClusterClient, resource: Resource) -> list[Page]:
    return [page async for page in api.pages(resource)]


async def watched(api: ClusterClient, version: str = "7") -> list[Event | None]:
    return [event async for event in api.watch(SLICES, version)]


async def test_a_call_carries_the_token_the_query_and_the_body(tmp_path):
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"sent": await request.text()})

    request = ApiRequest("PATCH", "/apis/x", {"force": "true"}, {"a": [1]}, APPLY_PATCH)
    async with a_cluster(tmp_path, answer) as (server, api):
        assert await api.ask(request) == {"sent": '{"a": [1]}'}

    (asked,) = server.asked
    assert (asked.method, str(asked.rel_url)) == ("PATCH", "/apis/x?force=true")
    assert asked.headers["Authorization"] == "Bearer opaque"
    assert asked.headers["Content-Type"] == APPLY_PATCH
    assert asked.headers["User-Agent"] == "lumen-test"


async def test_a_refusal_is_the_error_that_says_what_it_means_and_when_to_come_back(tmp_path):
    answer = refuses(429, "slow down", headers={"Retry-After": "3"})
    async with a_cluster(tmp_path, answer) as (_, api):
        with pytest.raises(Throttled, match="GET /busy: 429 slow down") as raised:
            await api.call(ApiRequest("GET", "/busy"))

    assert raised.value.retry_after_s == 3


async def test_an_answer_that_never_comes_is_given_up_at_the_deadline(tmp_path):
    async with a_cluster(tmp_path, never) as (_, api):
        with pytest.raises(ApiUnavailable, match="no answer in"):
            await api.call(ApiRequest("GET", "/frozen", deadline_s=0.2))


async def test_a_server_that_is_not_there_is_away(tmp_path):
    async with a_cluster(tmp_path) as (server, _):
        pass
    found = await find_server(kubeconfig(tmp_path, f"http://127.0.0.1:{server.port}"), {})
    async with ClusterClient(found, "lumen-test") as api:
        with pytest.raises(ApiUnavailable, match="GET /x"):
            await api.call(ApiRequest("GET", "/x"))


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(tmp_path):
    async with a_cluster(tmp_path, too_much) as (_, api):
        with pytest.raises(TooLarge, match="larger than 16 MiB"):
            await api.call(ApiRequest("GET", "/large"))


async def test_a_list_is_read_page_by_page_as_the_account_that_the_kubeconfig_names(tmp_path):
    async def pages(request: web.Request) -> web.Response:
        if request.query.get("continue") == "more":
            return await lists(a_slice("two"), version="8")(request)
        return await lists(a_slice("one"), go_on="more")(request)

    async with a_cluster(tmp_path, pages) as (server, api):
        found = await listed(api, SLICES)

    assert [item["metadata"]["name"] for page in found for item in page.items] == ["one", "two"]
    assert found[-1].version == "8"
    first = server.asked[0]
    assert first.path == "/apis/discovery.k8s.io/v1/namespaces/lab/endpointslices"
    assert first.query["labelSelector"] == "lumen.dev/service"


async def test_an_object_of_a_list_says_of_what_kind_it_is(tmp_path):
    async with a_cluster(tmp_path, lists({"metadata": {"name": "one"}})) as (_, api):
        (page,) = await listed(api, SLICES)

    assert page.items[0]["kind"] == "EndpointSlice"
    assert page.items[0]["apiVersion"] == "discovery.k8s.io/v1"


async def test_a_watch_asks_for_bookmarks_from_a_version_and_yields_what_happens(tmp_path):
    bookmark = {"metadata": {"resourceVersion": "9"}}
    lines = [
        report("ADDED", a_slice("one")),
        report("FROM-THE-FUTURE", {}),
        report("BOOKMARK", bookmark),
    ]
    async with a_cluster(tmp_path, on_watch=streams(*lines)) as (server, api):
        events = await watched(api)

    query = server.asked[0].query
    assert events == [
        None,
        Event(EventType.ADDED, a_slice("one")),
        Event(EventType.BOOKMARK, bookmark),
    ]
    assert (query["resourceVersion"], query["allowWatchBookmarks"]) == ("7", "true")
    assert 45 <= int(query["timeoutSeconds"]) <= 60


@pytest.mark.parametrize(
    "answer",
    [
        refuses(410, "too old resource version"),
        refuses(504, "ahead", details={"causes": [{"reason": "ResourceVersionTooLarge"}]}),
        streams(report("ERROR", {"kind": "Status", "code": 410, "message": "too old"})),
        streams(report("ERROR", {"kind": "Status", "code": 500, "message": "lost"})),
        streams(b"{half an obj"),
        streams(b'["no", "event"]'),
        streams(b'{"type": "ADDED"}'),
        streams(b'{"type": {}, "object": {}}'),
        streams(b'{"type": "ADDED", "object": "me"}'),
        streams(b'"' + b"x" * (5 << 20) + b'"'),
    ],
    ids=["410", "ahead", "event 410", "event 500", "half", "list", "bare", "odd", "word", "huge"],
)
async def test_a_watch_that_makes_no_sense_is_started_over_from_a_list(tmp_path, answer):
    async with a_cluster(tmp_path, on_watch=answer) as (_, api):
        with pytest.raises(HistoryGone):
            await watched(api)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (401, "check the pod's ServiceAccount"),
        (403, "get, list and watch lumenmodelservices.lumen.dev in namespace lab"),
        (404, "kubectl apply -f crds/"),
        (302, "API server of a Kubernetes cluster"),
    ],
)
async def test_a_refusal_says_what_to_do(tmp_path, code, advice):
    async with a_cluster(tmp_path, refuses(code, "the server's words")) as (_, api):
        with pytest.raises(Refused, match="the server's words") as refused:
            await listed(api, SERVICES)

    assert advice in str(refused.value)


@pytest.mark.parametrize(
    "answer",
    [
        says("<html>a captive portal</html>"),
        says("[1]"),
        says('{"metadata": {"resourceVersion": "1"}, "items": "none"}'),
        says('{"metadata": 3, "items": []}'),
        too_much,
    ],
    ids=["portal", "array", "odd items", "odd metadata", "too much"],
)
async def test_a_list_that_makes_no_sense_is_as_if_the_server_were_away(tmp_path, answer):
    async with a_cluster(tmp_path, answer) as (_, api):
        with pytest.raises(ApiUnavailable):
            await listed(api, SERVICES)


async def test_a_page_that_is_too_large_is_asked_for_object_by_object(tmp_path):
    large = a_model_service("large", metadata={"annotations": {"a": "\x01" * 1_000_000}})

    async def answer(request: web.Request) -> web.Response:
        start = int(request.query.get("continue", 0))
        end = min(start + int(request.query["limit"]), 4)
        metadata = {"resourceVersion": "7"} | ({"continue": str(end)} if end < 4 else {})
        return web.json_response({"metadata": metadata, "items": [large] * (end - start)})

    async with a_cluster(tmp_path, answer) as (server, api):
        pages = await listed(api, SERVICES)

    assert [item["metadata"]["name"] for page in pages for item in page.items] == ["large"] * 4
    assert server.asked[1].query["limit"] == "1"


async def test_an_object_that_is_nested_deeply_hides_no_other(tmp_path):
    odd = '{"metadata":{"name":"odd"},"spec":' + '{"a":' * 2_000 + "1" + "}" * 2_000 + "}"
    clip = json.dumps(a_model_service())

    answer = says(f'{{"metadata":{{"resourceVersion":"7"}},"items":[{clip},{odd},{clip}]}}')
    line = f'{{"type":"ADDED","object":{odd}}}'.encode()
    async with a_cluster(tmp_path, answer, streams(line, report("ADDED", a_model_service()))) as (
        _,
        api,
    ):
        (page,) = await listed(api, SERVICES)
        events = await watched(api)

    assert [item["metadata"]["name"] for item in page.items] == ["clip", "odd", "clip"]
    assert [event.object["metadata"]["name"] for event in events[1:]] == ["odd", "clip"]


async def test_a_report_of_the_largest_object_does_not_end_the_watch(tmp_path):
    large = a_model_service("large", metadata={"annotations": {"a": "\x01" * 1_500_000}})
    lines = report("ADDED", large), report("ADDED", a_model_service())
    async with a_cluster(tmp_path, None, streams(*lines)) as (_, api):
        events = await watched(api)

    assert [event.object["metadata"]["name"] for event in events[1:]] == ["large", "clip"]


async def test_a_server_that_never_answers_is_away(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_client, "ANSWER_S", 0.05)

    async with a_cluster(tmp_path, never) as (_, api):
        with pytest.raises(ApiUnavailable, match="no answer in 0"):
            await listed(api, SERVICES)


async def test_a_watch_that_goes_silent_is_cut(tmp_path):
    answer = streams(report("ADDED", a_slice("one")), hold=True)
    async with a_cluster(tmp_path, on_watch=answer, silence_s=0.2) as (_, api):
        with pytest.raises(ApiUnavailable, match="broke off"):
            await watched(api)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "contexts: 3", "\x00", "current-context: gone", "- " * 900]
)
async def test_a_kubeconfig_that_cannot_be_used_says_what_to_do(tmp_path, text):
    path = tmp_path / "kubeconfig"
    path.write_text(text)

    with pytest.raises(NoServer, match="set KUBECONFIG"):
        await find_server(str(path), {})


async def test_without_a_kubeconfig_or_a_pods_account_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(NoServer, match=r"there is no file .*/\.kube/config\).*set KUBECONFIG"):
        await find_server("", {})
    with pytest.raises(NoServer, match="mounted ServiceAccount token"):
        await find_server("", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})


@pytest.mark.parametrize(
    ("server", "excepted", "proxy"),
    [
        ("https://api.example:6443", "", "http://proxy.example:3128"),
        ("https://api.example:6443", "example", None),
        ("https://127.0.0.1:6443", "", None),
    ],
)
async def test_a_proxy_is_asked_where_kubectl_would_ask_it(tmp_path, server, excepted, proxy):
    path = kubeconfig(tmp_path, server)
    env = {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": excepted}

    found = await find_server(path, env)

    assert found.proxy == proxy


async def test_leaving_a_watch_early_ends_its_connection(tmp_path):
    ended = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        try:
            return await streams(hold=True)(request)
        finally:
            ended.set()

    async with a_cluster(tmp_path, on_watch=held) as (_, api):
        async with aclosing(api.watch(SLICES, "7")) as events:
            assert await anext(events) is None
        async with asyncio.timeout(20):
            # The server notices when it writes or reads next; aiohttp cancels its handler then.
            await ended.wait()
