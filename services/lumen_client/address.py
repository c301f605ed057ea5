"""Where a server is: `grpc://host:port`, or `grpcs://` for TLS."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from lumen_process.addresses import host_port

GOOD = "grpc://127.0.0.1:50051"
SCHEMES = ("grpc", "grpcs")


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address, checked."""

    scheme: str
    host: str
    port: int

    @property
    def target(self) -> str:
        """The host and port as gRPC takes them, brackets around IPv6."""
        return host_port(self.host, self.port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.target}"


def parse_address(text: str) -> Address:
    """Return the address in `text`.

    Raises:
        ValueError: scheme, host or port is missing or unknown; the sentence shows a good one.

    """
    if "://" not in text:
        raise ValueError(f"{text!r} has no scheme. Write it like {GOOD}")
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise ValueError(
            f"{parts.scheme!r} is not a scheme that this client speaks. Write it like {GOOD}"
        )
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or not port:
        raise ValueError(f"{text!r} needs a host and a port. Write it like {GOOD}")
    if parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"{text!r} says more than scheme, host and port. Write it like {GOOD}")
    return Address(parts.scheme, parts.hostname, port)
