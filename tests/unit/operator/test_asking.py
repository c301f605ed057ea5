"""How pods and servers are asked: those outside at an address that was judged, and no other."""

import asyncio
import gzip

import aiohttp
import pytest
from aiohttp import web

from lumen_operator.observe.kinds import Key
from lumen_operator.observe.networks import ExternalNetworks
from lumen_operator.observe.views import PodAddress
from lumen_operator.polling import asker as asking
from lumen_operator.polling.asker import (
    ANSWER_MAX_BYTES,
    PageAnswer,
    PageClient,
    look_up,
    read_status,
    session_over,
)
from lumen_operator.polling.status_poller import PodReports, by_their_addresses

LOOPBACK = ExternalNetworks.parse(["127.0.0.0/8", "::1/128"])
PAGE = {"phase": "serving"}
KEY = Key("service", "team", "clip")


class Board:
    """A status page on loopback that remembers who was asked for."""

    def __init__(self):
        self.hosts, self.headers = [], []
        self.answer = lambda: web.json_response(PAGE)

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *error):
        await self._runner.cleanup()

    async def _answer(self, request):
        self.hosts.append(request.host)
        self.headers.append(request.headers)
        found = self.answer()
        return await found if asyncio.iscoroutine(found) else found

    def at(self, host="board.lan"):
        return PodAddress("u", host, "server", self.port, external=True)


def a_pod(board):
    return PodAddress("u1", "127.0.0.1", "resources", board.port)


class Names:
    """A resolver that answers what the test says, each time it is asked the next."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def __call__(self, host):
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, OSError):
            raise found
        return found


@pytest.fixture
async def board():
    async with Board() as found:
        yield found


async def ask(address, names, networks=LOOPBACK):
    async with session_over(aiohttp.TCPConnector(force_close=True)) as session:
        return await PageClient(session, networks, names).ask(address)


async def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_judged(board):
    names = Names(("127.0.0.1",), ("169.254.169.254",))

    answer = await ask(board.at(), names)

    assert answer == PageAnswer(PAGE, ("127.0.0.1",))
    assert names.asked == ["board.lan"]
    assert board.hosts == [f"board.lan:{board.port}"]


@pytest.mark.parametrize(
    "bad", ["10.1.2.3", "169.254.169.254", "::ffff:a01:203", "64:ff9b::a9fe:a9fe", "fe80::1%lo"]
)
async def test_one_address_in_no_network_among_many_and_nobody_is_asked(board, bad):
    many = tuple(f"127.0.1.{number}" for number in range(200))

    answer = await ask(board.at(), Names(("127.0.0.1", *many, bad)))

    assert answer == PageAnswer(None, (bad.partition("%")[0],), refused=True)
    assert board.hosts == []


async def test_an_address_is_judged_too_and_asked_of_no_resolver(board):
    names = Names(("127.0.0.1",))

    assert (await ask(board.at("127.0.0.1"), names)).page == PAGE
    refused = await ask(board.at("127.0.0.1"), names, ExternalNetworks())
    assert refused == PageAnswer(None, ("127.0.0.1",), refused=True)
    assert names.asked == []
    assert len(board.hosts) == 1


async def test_an_address_where_nobody_listens_does_not_hide_the_next(board):
    answer = await ask(board.at(), Names(("::1", "127.0.0.1")))

    assert answer == PageAnswer(PAGE, ("127.0.0.1", "::1"))


async def test_of_many_addresses_a_few_are_kept_in_an_order_that_stays(board):
    many = tuple(f"127.0.0.{number}" for number in range(20, 0, -1))

    one, other = [(await ask(board.at(), Names(each))).addresses for each in (many, many[::-1])]

    assert len(one) == len(other) == asking.ADDRESSES_MAX
    assert other[0] == "127.0.0.1"


async def test_a_name_that_nobody_knows_has_no_addresses(board):
    assert await ask(board.at(), Names(OSError("no such name"))) == PageAnswer(None)


async def test_a_name_that_cannot_be_one_is_not_known():
    with pytest.raises(OSError, match="is not a name"):
        await look_up("x" * 64 + ".lan")


async def test_the_systems_resolver_is_asked_in_a_thread_of_its_own():
    assert "127.0.0.1" in await look_up("127.0.0.1")


async def test_nobody_is_sent_elsewhere(board):
    headers = {"Location": f"http://127.0.0.1:{board.port}/status"}
    board.answer = lambda: web.Response(status=307, headers=headers)

    assert (await ask(board.at(), Names(("127.0.0.1",)))).page is None
    assert len(board.hosts) == 1


async def test_proxies_of_the_environment_are_not_asked(board, monkeypatch):
    async with Board() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

        assert (await ask(board.at(), Names(("127.0.0.1",)))).page == PAGE
        assert proxy.hosts == []


async def test_no_cookie_of_one_page_is_sent_to_another(board):
    def answer():
        response = web.json_response(PAGE)
        response.set_cookie("session", "x" * 1000)
        return response

    board.answer = answer
    async with session_over(aiohttp.TCPConnector(force_close=True)) as session:
        asker = PageClient(session, LOOPBACK, Names(("127.0.0.1",)))
        await asker.ask(board.at())
        await asker.ask(board.at())

    assert [headers.get("Cookie") for headers in board.headers] == [None, None]


async def test_nothing_is_unpacked(board):
    packed = gzip.compress(b'{"a": "' + b" " * (64 << 20) + b'"}')
    board.answer = lambda: web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    assert (await ask(board.at(), Names(("127.0.0.1",)))).page is None
    assert board.headers[0]["Accept-Encoding"] == "identity"


async def raw_server(write):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        try:
            await write(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def many_headers(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(1000)))
    writer.write(b"Content-Length: 2\r\n\r\n{}")
    await writer.drain()


async def endless_headers(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(1000):
        writer.write(b"y" * 65536)
        await writer.drain()


async def endless_early_answers(writer):
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()


async def endless_body(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


@pytest.mark.parametrize(
    "write", [many_headers, endless_headers, endless_early_answers, endless_body]
)
async def test_a_page_without_an_end_is_no_page(write):
    server = await raw_server(write)
    address = PodAddress("u", "127.0.0.1", "server", server.sockets[0].getsockname()[1])
    async with server, session_over(aiohttp.TCPConnector(force_close=True)) as session:
        assert await read_status(session, address, within_s=1.0) is None


async def never():
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>"),
        lambda: web.json_response([1, 2]),
        lambda: web.Response(status=500, text="{}"),
        lambda: web.Response(body=b'{"a":"' + b"x" * ANSWER_MAX_BYTES + b'"}'),
        never,
    ],
    ids=["html", "list", "failure", "huge", "silence"],
)
async def test_only_a_json_object_of_moderate_size_that_comes_in_time_is_taken(board, answer):
    board.answer = answer
    async with aiohttp.ClientSession() as session:
        assert await read_status(session, a_pod(board), within_s=0.3) is None


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


async def test_a_report_is_kept_and_its_key_told(board, reports):
    reports.ask(KEY, [a_pod(board)])
    await until(lambda: reports.told)
    report = reports.newest["u1"]

    assert reports.told == [KEY]
    assert (report.container, report.document) == ("resources", PAGE)


async def test_the_same_answer_again_is_told_once(board, reports):
    reports.ask(KEY, [a_pod(board)])
    await until(lambda: len(board.hosts) >= 2)
    board.answer = lambda: web.json_response({"phase": "Verifying"})
    await until(lambda: reports.newest["u1"].document == {"phase": "Verifying"})

    assert reports.told == [KEY, KEY]


async def test_a_pod_that_is_no_longer_named_is_not_asked_and_its_report_stays_while_it_lives(
    board, reports
):
    reports.ask(KEY, [a_pod(board)])
    await until(lambda: "u1" in reports.newest)
    reports.ask(KEY, [], living=["u1"])
    assert "u1" in reports.newest

    reports.ask(KEY, [], living=[])
    assert "u1" not in reports.newest


async def test_an_answer_that_comes_too_late_for_a_pod_that_was_dropped_is_dropped(board, reports):
    gate = asyncio.Event()

    async def late():
        await gate.wait()
        return web.json_response({"phase": "Late"})

    board.answer = late
    reports.ask(KEY, [a_pod(board)])
    await until(lambda: len(board.hosts) >= 1)
    reports.ask(KEY, [])
    gate.set()
    board.answer = lambda: web.json_response({"phase": "Next"})
    reports.ask(KEY, [a_pod(board)])
    await until(lambda: "u1" in reports.newest)

    assert reports.newest["u1"].document == {"phase": "Next"}
