"""A host and a port as one text."""

import pytest

from lumen_process.addresses import host_port


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("127.0.0.1", "127.0.0.1:50051"),
        ("board.local", "board.local:50051"),
        ("fd00::2", "[fd00::2]:50051"),
        ("[fd00::2]", "[fd00::2]:50051"),
    ],
)
def test_an_ipv6_address_stands_in_brackets(host, text):
    assert host_port(host, 50051) == text
