"""The small HTTP server that probes and scrapes talk to."""

import http.client
import socket
from collections.abc import Iterator

import pytest
from ports import loopback_addresses

from lumen_wire.http_status import HttpStatus, Unwell, start_http_status

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


def test_a_crowd_of_silent_connections_does_not_take_the_server_down():
    with start_http_status("127.0.0.1", 0, ROUTES) as status:
        crowd = [socket.create_connection(("127.0.0.1", status.port)) for _ in range(40)]
        # The first 16 are served, each by a thread; the rest find their connection closed.
        closed = [c for c in crowd[16:] if c.recv(1) == b""]
        for connection in crowd:
            connection.close()

        assert len(closed) == 24


def test_a_port_in_use_is_named_in_the_error(status):
    with pytest.raises(OSError, match=f"port {status.port} of 127.0.0.1"):
        start_http_status("127.0.0.1", status.port, ROUTES)
