"""The small HTTP server that probes and scrapes talk to."""

import contextlib
import http.client
import socket
from collections.abc import Iterator

import pytest
from ports import loopback_addresses
from structlog.testing import capture_logs

from lumen_process.http_status import Bounds, HttpStatus, Unwell, start_http_status

ROUTES = {"/metrics": lambda: ("text/plain; version=0.0.4", b"up 1\n")}


@pytest.fixture
def status() -> Iterator[HttpStatus]:
    with start_http_status("127.0.0.1", 0, ROUTES) as running:
        yield running


def ask(
    status: HttpStatus, method: str, path: str, host: str = "127.0.0.1"
) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(host, status.port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read()
    finally:
        connection.close()


def test_a_route_answers_what_its_function_returns(status):
    assert ask(status, "GET", "/metrics?x=1") == (200, "text/plain; version=0.0.4", b"up 1\n")


def test_head_answers_without_a_body(status):
    assert ask(status, "HEAD", "/metrics") == (200, "text/plain; version=0.0.4", b"")


def test_a_route_that_is_unwell_answers_503_and_says_why():
    def route():
        raise Unwell("the oldest key has waited for 400 s")

    with start_http_status("127.0.0.1", 0, {"/healthz": route}) as status:
        answer = ask(status, "GET", "/healthz")

    assert answer == (503, "text/plain", b"the oldest key has waited for 400 s\n")


def test_another_path_is_told_which_there_are(status):
    assert ask(status, "GET", "/../etc/passwd") == (404, "text/plain", b"Ask for: /metrics\n")


def test_another_method_is_refused(status):
    assert ask(status, "POST", "/metrics")[0] == 501


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::", "[::]"])
def test_every_address_is_every_address_of_both_families(wildcard):
    with start_http_status(wildcard, 0, ROUTES) as status:
        codes = {
            address: ask(status, "GET", "/metrics", address)[0] for address in loopback_addresses()
        }

    assert codes == dict.fromkeys(loopback_addresses(), 200)


@pytest.mark.parametrize("taken_on", loopback_addresses())
def test_a_port_taken_in_either_family_is_refused(taken_on):
    with start_http_status(taken_on, 0, ROUTES) as there, pytest.raises(OSError, match="Cannot"):
        start_http_status("0.0.0.0", there.port, ROUTES)


def connected(status: HttpStatus) -> socket.socket:
    return socket.create_connection(("127.0.0.1", status.port), timeout=30)


@pytest.mark.parametrize(("count", "sent"), [(400, b""), (64, b"GET /metrics HTTP/1.1\r\nx: ")])
def test_a_crowd_that_says_nothing_or_never_ends_keeps_nobody_out(status, count, sent):
    crowd = [connected(status) for _ in range(count)]
    for connection in crowd:
        with contextlib.suppress(OSError):
            connection.sendall(sent)

    answers = [ask(status, "GET", "/metrics")[0] for _ in range(5)]
    for connection in crowd:
        connection.close()

    assert answers == [200] * 5


def test_of_too_many_connections_the_one_that_takes_longest_is_ended(status):
    crowd = [connected(status) for _ in range(33)]
    crowd[-1].sendall(b"GET /metrics HTTP/1.1\r\n\r\n")

    assert crowd[-1].recv(12) == b"HTTP/1.1 200"
    assert crowd[0].recv(1) == b""
    for connection in crowd[1:-1]:
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        connection.close()
    crowd[0].close()
    crowd[-1].close()


def send_bytes_for_ever(connection: socket.socket) -> None:
    connection.settimeout(0.02)
    while True:
        connection.sendall(b"G")
        with contextlib.suppress(TimeoutError):
            if connection.recv(1) == b"":
                raise ConnectionError("ended")


def test_a_request_has_its_time_in_all_however_often_a_byte_comes():
    with (
        start_http_status("127.0.0.1", 0, ROUTES, Bounds(whole_s=0.3)) as status,
        connected(status) as slow,
        pytest.raises(ConnectionError),
    ):
        send_bytes_for_ever(slow)


def test_a_reader_that_takes_nothing_gives_way_too():
    routes = {**ROUTES, "/large": lambda: ("text/plain", bytes(64 << 20))}
    with start_http_status("127.0.0.1", 0, routes) as status, connected(status) as lazy:
        lazy.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        taken = len(lazy.recv(1))
        crowd = [connected(status) for _ in range(33)]
        answer = ask(status, "GET", "/metrics")[0]
        with contextlib.suppress(ConnectionError):
            while more := lazy.recv(1 << 20):
                taken += len(more)
        for connection in crowd:
            connection.close()

    assert answer == 200
    assert taken < 64 << 20


def test_a_request_that_is_too_long_is_refused(status):
    with connected(status) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 4000)
        answer = connection.recv(100)

    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "request_line", [b"", b"GET", b"GET /metrics", b"GET /metrics SPDY/1", b"\x16\x03\x01 a b"]
)
def test_what_is_no_http_is_refused(status, request_line):
    with connected(status) as connection:
        connection.sendall(request_line + b"\r\n\r\n")

        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_page_that_fails_is_logged_and_the_next_request_is_answered():
    def route():
        raise ValueError("a fault")

    with capture_logs() as logs, start_http_status("127.0.0.1", 0, {"/faulty": route}) as status:
        for _ in range(2):
            with pytest.raises(http.client.RemoteDisconnected):
                ask(status, "GET", "/faulty")
        answer = ask(status, "GET", "/metrics")[0]

    assert [line["event"] for line in logs] == ["status page failed"] * 2
    assert answer == 404


def test_a_port_in_use_is_named_in_the_error(status):
    with pytest.raises(OSError, match=f"port {status.port} of 127.0.0.1"):
        start_http_status("127.0.0.1", status.port, ROUTES)
