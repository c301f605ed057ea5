"""Where may a server be, and is anybody there?"""

import pytest
from ports import free_ports

from lumen_client import AsyncClient, NotReachable
from lumen_client.connection import parse_address


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("grpc://127.0.0.1:50051", "127.0.0.1:50051"),
        ("grpcs://lumen.example:443", "lumen.example:443"),
        ("grpc://[::1]:50051", "[::1]:50051"),
    ],
)
def test_an_address_names_scheme_host_and_port(text, target):
    assert parse_address(text).target == target


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:50051",
        "grpc://127.0.0.1",
        "grpc://:50051",
        "grpc://host:99999",
        "grpc://host:port",
        "ftp://host:21",
        "grpc://host:50051/path",
        "grpc://someone@host:50051",
        "",
    ],
)
def test_a_missing_or_wrong_part_is_refused_with_a_good_address(text):
    with pytest.raises(ValueError, match=r"grpc://127\.0\.0\.1:50051"):
        parse_address(text)


@pytest.mark.parametrize("ask", [AsyncClient.capabilities, AsyncClient.health])
async def test_that_nobody_listens_is_said_whatever_was_asked(ask):
    (port,) = free_ports(1)
    async with AsyncClient(f"grpc://127.0.0.1:{port}") as client:
        with pytest.raises(NotReachable, match="Is Lumen running"):
            await ask(client)
