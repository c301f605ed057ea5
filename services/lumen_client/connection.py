"""One channel to a router or a model server: whole calls with a deadline and retries.

Retried are UNAVAILABLE and RESOURCE_EXHAUSTED, with jitter, never before the server's own advice
and never past the deadline. Every request travels on a stream of its own, so that gRPC carries
its deadline and its cancel.
"""

import asyncio
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import grpc
from google.protobuf import empty_pb2

from lumen_client.errors import ServerError, UsageError
from lumen_client.failures import Place, client_error
from lumen_process.addresses import host_port
from lumen_process.backoff import Backoff
from lumen_wire import errors
from lumen_wire.channels import open_outward
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc
from lumen_wire.request.splitting import split_request

GOOD = "grpc://127.0.0.1:50051"
SCHEMES = ("grpc", "grpcs")

_MESSAGE_BYTES = 64 * 1024 * 1024
_BACKOFF = Backoff(first_s=0.1, longest_s=5.0)


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


Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates for a `grpcs` address, PEM; `authority` replaces the name that is checked."""

    roots: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    authority: str | None = None


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How every call of a client behaves."""

    token: str | None = None
    tls: Tls | None = None
    timeout_s: float = 30.0
    retries: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s < math.inf:
            raise ValueError(f"timeout_s must be seconds above 0, not {self.timeout_s}")
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, not {self.retries}")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise ValueError("the token has characters that no header takes. Give it as issued")


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer to one request: the result's bytes, its mime and the meta beside it."""

    result: bytes
    mime: str
    meta: Mapping[str, str]


_opened_in: set[int] = set()


def _refuse_forks() -> None:
    """Raise UsageError in a fork of a process that had a channel: gRPC would hang or crash."""
    _opened_in.add(os.getpid())
    if len(_opened_in) > 1:
        raise UsageError(
            "this process was forked from one that had a client open, and gRPC does not outlive "
            "a fork. Start processes by spawn, or open the first client after the fork."
        )


class Connection:
    """One channel. Belongs to the event loop on which it was made.

    Raises UsageError in a fork of a process that had one.
    """

    def __init__(self, address: Address, options: CallOptions) -> None:
        _refuse_forks()
        self._address = address
        self._options = options
        self._channel = _open_channel(address, options)
        self._stub = pb_grpc.InferenceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {options.token}"),) if options.token else None

    async def close(self) -> None:
        """Close the channel; calls in flight end as cancelled."""
        await self._channel.close()

    async def infer(self, request: pb.InferRequest, timeout_s: float | None = None) -> Reply:
        """Send one whole request and return its answer.

        Raises:
            ServerError: the server refused or failed, after the retries.
            NotReachable: nobody answered at the address.

        """
        give_up_at = time.monotonic() + (timeout_s or self._options.timeout_s)
        for attempt in range(self._options.retries + 1):
            try:
                return await self._attempt(request, give_up_at - time.monotonic())
            except (errors.Unavailable, errors.ResourceExhausted) as error:
                pause_s = _BACKOFF.delay_s(attempt + 1, (error.retry_after_ms or 0) / 1000)
                last = attempt == self._options.retries
                if last or time.monotonic() + pause_s >= give_up_at:
                    raise self._translated(error) from error
                await asyncio.sleep(pause_s)
            except errors.WireError as error:
                raise self._translated(error) from error
        raise AssertionError("the loop above returns or raises")

    async def capabilities(self) -> list[pb.Capability]:
        """Return one record per service behind the address."""
        call = self._stub.StreamCapabilities(
            empty_pb2.Empty(),
            timeout=self._options.timeout_s,
            metadata=self._metadata,
        )
        try:
            return [_parsed(record) async for record in call]
        except grpc.aio.AioRpcError as error:
            raise self._translated(_failure_of(error)) from error
        except errors.Internal as error:
            raise self._translated(error) from error

    async def health(self) -> None:
        """Return when the server says that it serves; raise its reason otherwise."""
        try:
            await self._stub.Health(
                empty_pb2.Empty(),
                timeout=self._options.timeout_s,
                metadata=self._metadata,
            )
        except grpc.aio.AioRpcError as error:
            raise self._translated(_failure_of(error)) from error

    async def _attempt(self, request: pb.InferRequest, timeout_s: float) -> Reply:
        call = self._stub.Infer(
            iter(split_request(request)), timeout=timeout_s, metadata=self._metadata
        )
        parts: list[pb.InferResponse] = []
        try:
            async for response in call:
                if _parsed(response).HasField("error"):
                    raise errors.from_inband(response.error, response.meta)
                parts.append(response)
                if response.is_final:
                    break
        except grpc.aio.AioRpcError as error:
            raise _failure_of(error) from error
        finally:
            call.cancel()
        if not parts or not parts[-1].is_final:
            raise errors.Internal("the server ended the stream without an answer")
        parts.sort(key=lambda part: part.offset)
        return Reply(
            result=b"".join(part.result for part in parts),
            mime=parts[0].result_mime,
            meta=dict(parts[0].meta),
        )

    def _translated(self, error: errors.WireError) -> ServerError:
        address = self._address
        return client_error(error, Place(address.host, address.target, self._options.timeout_s))


def _parsed(message: Message | None) -> Message:
    """Return a message; gRPC gives None for bytes that are none of its kind."""
    if message is None:
        raise errors.Internal("the server sent bytes that are not an answer")
    return message


def _failure_of(error: grpc.aio.AioRpcError) -> errors.WireError:
    """Return the wire's error, which remembers gRPC's: its words tell whether anybody listens."""
    failure = errors.from_rpc_error(error)
    failure.__cause__ = error
    return failure


def _open_channel(address: Address, options: CallOptions) -> grpc.aio.Channel:
    arguments: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", _MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MESSAGE_BYTES),
        # The connection's own back-off: a server that starts within seconds is found in seconds.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 3000),
    ]
    if address.scheme == "grpc":
        return open_outward(address.target, arguments)
    tls = options.tls or Tls()
    if tls.authority:
        arguments.append(("grpc.ssl_target_name_override", tls.authority))
    credentials = grpc.ssl_channel_credentials(tls.roots, tls.key, tls.certificate)
    return open_outward(address.target, arguments, credentials)
