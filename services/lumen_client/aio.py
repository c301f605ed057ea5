"""The asynchronous client; `lumen_client.sync` drives the same one from ordinary code."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lumen_client.answers import (
    Classification,
    ServiceCapabilities,
    read_classification,
    read_vector,
    stacked,
)
from lumen_client.connection import CallOptions, Connection, Tls, parse_address
from lumen_client.content import Payload, read_payload
from lumen_client.errors import ClientError, ContentError, ItemError
from lumen_wire.pb import ml_service_pb2 as pb

Contents = Iterable[Any] | AsyncIterable[Any]


class AsyncClient:
    """A client of a router or of a single model server.

    Use it as an asynchronous context manager, within one event loop.

    Args:
        server: `grpc://host:port` or `grpcs://host:port`.
        token: sent as bearer token.
        tls: certificates for `grpcs`.
        timeout_s: the bound of every call, retries included.
        retries: how often UNAVAILABLE and RESOURCE_EXHAUSTED are tried again.

    Raises:
        ValueError: the address lacks a scheme, a host or a port.

    """

    def __init__(
        self,
        server: str,
        *,
        token: str | None = None,
        tls: Tls | None = None,
        timeout_s: float = 30.0,
        retries: int = 2,
    ) -> None:
        self._address = parse_address(server)
        self._options = CallOptions(token, tls, timeout_s, retries)
        self._opened: Connection | None = None

    async def __aenter__(self) -> Self:
        self._opened = Connection(self._address, self._options)
        return self

    async def __aexit__(self, *_: object) -> None:
        connection, self._opened = self._opened, None
        if connection is not None:
            await connection.close()

    async def encode(
        self,
        content: Contents,
        *,
        prefetch: int = 100,
        service: str | None = None,
        parameters: dict[str, str] | None = None,
    ) -> NDArray[np.float32]:
        """Return the embeddings of texts and pictures, float32 [N, dim], in input order.

        `content` is an iterable, also a generator, also an asynchronous one.
        At most `prefetch` items are in flight; an empty iterable gives an array [0, 0].

        Raises:
            TypeError: `content` is a bare string.
            ItemError: one item failed; `index` says which.

        """
        if isinstance(content, str | bytes):
            raise TypeError("encode takes an iterable of items: write encode([item])")
        rows: dict[int, NDArray[np.float32]] = {}
        gate = asyncio.Semaphore(prefetch)

        async def embed(index: int, item: Any) -> None:
            try:
                rows[index] = await self._embed(item, service, parameters)
            except ClientError as error:
                raise ItemError(index, error) from error
            finally:
                gate.release()

        count = 0
        failed: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                async for item in _each(content):
                    await gate.acquire()
                    group.create_task(embed(count, item))
                    count += 1
        except* ItemError as failures:
            failed += failures.exceptions
        # Raised out here: in there, Python 3.11.2 and older put it into a group of its own.
        if failed:
            raise min(failed, key=_index)
        if not rows:
            return np.empty((0, 0), np.float32)
        return stacked([rows[index] for index in range(count)])

    async def classify(
        self,
        image: Any,
        *,
        top_k: int | None = None,
        service: str | None = None,
        parameters: dict[str, str] | None = None,
    ) -> Classification:
        """Return the labels of a picture by one service, CLIP's unless `service` says otherwise."""
        return await self._classify("classify", image, top_k, service, parameters)

    async def scene_classify(
        self,
        image: Any,
        *,
        top_k: int | None = None,
        service: str | None = None,
        parameters: dict[str, str] | None = None,
    ) -> Classification:
        """Return what kind of scene a picture shows, by a CLIP service."""
        return await self._classify("classify_scene", image, top_k, service, parameters)

    async def smart_classify(
        self,
        image: Any,
        *,
        top_k: int | None = None,
        parameters: dict[str, str] | None = None,
    ) -> Classification:
        """Return the scene of a picture or, if it shows an animal, its species.

        `source` of the answer names the stage that spoke.
        """
        return await self._classify("smart_classify", image, top_k, None, parameters)

    async def capabilities(self) -> tuple[ServiceCapabilities, ...]:
        """Return what each service behind the address can do."""
        return tuple(_capabilities(record) for record in await self._connection.capabilities())

    async def health(self) -> None:
        """Return when the server serves; raise its reason otherwise."""
        await self._connection.health()

    @property
    def _connection(self) -> Connection:
        if self._opened is None:
            raise ClientError("use the client as a context manager: async with AsyncClient(...)")
        return self._opened

    async def _embed(
        self, item: Any, service: str | None, parameters: dict[str, str] | None
    ) -> NDArray[np.float32]:
        payload = await asyncio.to_thread(read_payload, item)
        task = "embed" if payload.is_text else "image_embed"
        meta = _meta(service, None, parameters) | {"vector": "f32le"}
        answer = await self._connection.infer(_request(task, payload, meta))
        return read_vector(answer)

    async def _classify(
        self,
        task: str,
        image: Any,
        top_k: int | None,
        service: str | None,
        parameters: dict[str, str] | None,
    ) -> Classification:
        payload = await asyncio.to_thread(read_payload, image)
        if payload.is_text:
            raise ContentError(f"{str(image)[:80]!r} is not a picture: there is no such file")
        meta = _meta(service, top_k, parameters)
        return read_classification(await self._connection.infer(_request(task, payload, meta)))


def _index(failure: BaseException) -> int:
    return failure.index if isinstance(failure, ItemError) else 0


async def _each(content: Contents) -> AsyncIterator[Any]:
    if isinstance(content, AsyncIterable):
        async for item in content:
            yield item
        return
    for item in content:
        yield item


def _meta(
    service: str | None, top_k: int | None, parameters: dict[str, str] | None
) -> dict[str, str]:
    meta = dict(parameters or {})
    if service is not None:
        meta["service"] = service
    if top_k is not None:
        meta["topk"] = str(top_k)
    return meta


def _request(task: str, payload: Payload, meta: dict[str, str]) -> pb.InferRequest:
    try:
        return pb.InferRequest(
            correlation_id="1",
            task=task,
            payload=payload.data,
            payload_mime=payload.mime,
            meta=meta,
        )
    except ValueError as error:
        raise ContentError("a service, a parameter or a mime is not Unicode text") from error


def _capabilities(record: pb.Capability) -> ServiceCapabilities:
    return ServiceCapabilities(
        service=record.service_name,
        model_ids=tuple(record.model_ids),
        runtime=record.runtime,
        precisions=tuple(record.precisions),
        tasks=tuple(task.name for task in record.tasks),
        max_concurrency=record.max_concurrency,
        protocol_version=record.protocol_version,
        extra=dict(record.extra),
    )
