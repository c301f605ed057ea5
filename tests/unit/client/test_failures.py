"""What is a caller told of what went wrong on the way, and what is tried again?"""

import contextlib
import socket
import threading

import grpc
import pytest
from lonely_proxies import a_proxy
from ports import free_ports
from scripted_inference import Refusal, a_scripted_server

import lumen_client
from lumen_client import AsyncClient, Client, ServerError
from lumen_wire.errors import PUSHBACK_METADATA

KINDS = {
    "INVALID_ARGUMENT": lumen_client.RequestRefused,
    "OUT_OF_RANGE": lumen_client.RequestRefused,
    "NOT_FOUND": lumen_client.NotThere,
    "FAILED_PRECONDITION": lumen_client.NotForThisServer,
    "ALREADY_EXISTS": lumen_client.NotForThisServer,
    "UNIMPLEMENTED": lumen_client.NotForThisServer,
    "UNAUTHENTICATED": lumen_client.NotAllowed,
    "PERMISSION_DENIED": lumen_client.NotAllowed,
    "RESOURCE_EXHAUSTED": lumen_client.ServerFull,
    "UNAVAILABLE": lumen_client.ServerNotReady,
    "ABORTED": lumen_client.ServerNotReady,
    "DEADLINE_EXCEEDED": lumen_client.NotInTime,
    "CANCELLED": lumen_client.CallStopped,
    "INTERNAL": ServerError,
    "UNKNOWN": ServerError,
    "DATA_LOSS": ServerError,
}


def test_the_table_knows_every_code():
    assert set(KINDS) == {code.name for code in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize(("code", "kind"), KINDS.items())
def test_each_code_is_an_error_of_its_kind_with_the_servers_sentence(code, kind):
    def refuses(_):
        raise Refusal(grpc.StatusCode[code], "The wind is wrong. Wait for another.")

    with a_scripted_server(refuses) as server, Client(server.address, retries=0) as client:
        with pytest.raises(kind) as failure:
            client.embed("a")
        with pytest.raises(kind):
            client.encode_each(["a"], service="x").throw(failure.value)

    error = failure.value
    assert type(error) is kind
    assert error.address == f"127.0.0.1:{server.port}"
    assert error.address in str(error)
    if code != "UNIMPLEMENTED":
        assert error.message == "The wind is wrong. Wait for another."


@pytest.mark.parametrize("code", ["UNIMPLEMENTED", "DEADLINE_EXCEEDED"])
def test_bare_words_of_grpc_become_a_sentence_with_what_to_do(code):
    bare = {"UNIMPLEMENTED": "Method not found!", "DEADLINE_EXCEEDED": "Deadline Exceeded"}
    does = {"UNIMPLEMENTED": "Name the port of a router", "DEADLINE_EXCEEDED": "timeout_s"}

    def refuses(_):
        raise Refusal(grpc.StatusCode[code], bare[code])

    with (
        a_scripted_server(refuses) as server,
        Client(server.address) as client,
        pytest.raises(ServerError, match=does[code]),
    ):
        client.embed("a")


def test_what_may_pass_is_tried_again_and_not_before_the_servers_advice():
    refusals = ["RESOURCE_EXHAUSTED", "UNAVAILABLE"]

    def refuses(_):
        if refusals:
            trailing = ((PUSHBACK_METADATA, "1"),)
            raise Refusal(grpc.StatusCode[refusals.pop()], "Full. Come back.", trailing)
        return {}

    with a_scripted_server(refuses) as server, Client(server.address, retries=2) as client:
        assert client.embed("a").vector.shape == (4,)
        assert len(server.calls) == 3


def test_advice_past_the_deadline_is_not_waited_for():
    def refuses(_):
        trailing = ((PUSHBACK_METADATA, "3600000"),)
        raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Full. Come back.", trailing)

    with (
        a_scripted_server(refuses) as server,
        Client(server.address, retries=5) as client,
        pytest.raises(lumen_client.ServerFull) as failure,
    ):
        client.embed("a")

    assert failure.value.retry_after_ms == 3_600_000
    assert len(server.calls) == 1


def test_the_time_allowed_is_an_error_that_says_how_long_it_was():
    gate = threading.Event()
    with (
        a_scripted_server(lambda _: gate.wait(60) and {}) as server,
        Client(server.address, timeout_s=0.3) as client,
    ):
        with pytest.raises(lumen_client.NotInTime, match=r"within 0\.3 s"):
            client.embed("a")
        gate.set()


@contextlib.contextmanager
def a_web_server():
    """Something that answers, in HTTP/1.1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(1000)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1]


def told_of(address, **options):
    with (
        Client(address, retries=0, timeout_s=20, **options) as client,
        pytest.raises(lumen_client.NotReachable) as failure,
    ):
        client.embed("a")
    return str(failure.value)


def test_whoever_answers_and_is_no_lumen_is_said_to_be_none():
    with a_web_server() as port:
        assert "does not speak gRPC" in told_of(f"grpc://127.0.0.1:{port}")


def test_tls_towards_a_server_without_it_says_what_to_write():
    with a_scripted_server() as server:
        told = told_of(server.address.replace("grpc://", "grpcs://"))

    assert "Write grpc://" in told


def test_a_name_that_nobody_knows_is_said_to_be_none(monkeypatch):
    for variable in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)

    assert "lumen.invalid is not known here" in told_of("grpc://lumen.invalid:50051")


async def test_an_error_through_a_proxy_names_it_without_its_password(monkeypatch):
    async with a_proxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//me:secret@"))
        async with AsyncClient("grpc://lumen.invalid:50051", retries=0) as client:
            with pytest.raises(lumen_client.NotReachable) as failure:
                await client.embed("a")

    told = str(failure.value)
    assert f"through the proxy 127.0.0.1:{proxy.port} (https_proxy)" in told
    assert "no_proxy" in told
    assert "secret" not in told


async def test_a_proxy_that_is_gone_is_named(monkeypatch):
    (port,) = free_ports(1)
    monkeypatch.setenv("grpc_proxy", f"http://127.0.0.1:{port}")
    async with AsyncClient("grpc://lumen.invalid:50051", retries=0) as client:
        with pytest.raises(lumen_client.NotReachable, match=rf"127\.0\.0\.1:{port} \(grpc_proxy\)"):
            await client.health()
