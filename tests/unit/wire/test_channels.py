"""Which way does a call take when the environment names a proxy?"""

import ast
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from lonely_proxies import a_proxy

from lumen_wire.channels import open_direct, open_outward

SERVICES = Path(__file__).parents[3] / "services"


@contextlib.asynccontextmanager
async def a_server() -> AsyncIterator[int]:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def ask(channel: grpc.aio.Channel) -> grpc.StatusCode:
    """Call what no server has: one that is reached says so."""
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await channel.unary_unary("/nobody/Knows")(b"", timeout=20)
        return failure.value.code()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("way", [open_direct, open_outward])
@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
async def test_this_machine_is_asked_without_a_proxy(monkeypatch, variable, way, host):
    async with a_server() as port, a_proxy() as proxy:
        monkeypatch.setenv(variable, proxy.url)

        assert await ask(way(f"{host}:{port}")) is grpc.StatusCode.UNIMPLEMENTED
        assert proxy.asked == []


async def test_a_server_in_the_world_is_asked_as_the_environment_says(monkeypatch):
    async with a_proxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)

        assert await ask(open_outward("lumen.invalid:50051")) is grpc.StatusCode.UNAVAILABLE
        assert proxy.asked[0] == "CONNECT lumen.invalid:50051"

        proxy.asked.clear()
        monkeypatch.setenv("no_proxy", "invalid")
        assert await ask(open_outward("lumen.invalid:50051")) is grpc.StatusCode.UNAVAILABLE
        assert proxy.asked == []


async def test_a_pod_is_asked_without_a_proxy_whatever_its_address(monkeypatch):
    async with a_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)

        assert await ask(open_direct("pod.invalid:50051")) is grpc.StatusCode.UNAVAILABLE
        assert proxy.asked == []


def test_channels_are_opened_in_one_place():
    openers = {
        str(path.relative_to(SERVICES))
        for path in SERVICES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"insecure_channel", "secure_channel"}
    }

    assert openers == {"lumen_wire/channels.py"}
