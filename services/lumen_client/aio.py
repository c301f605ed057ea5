"""The asynchronous client; `lumen_client.sync` drives the same one from ordinary code."""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lumen_client.answers import (
    Classification,
    Embedding,
    ServiceCapabilities,
    read_classification,
    read_embedding,
)
from lumen_client.connection import CallOptions, Connection, Tls, parse_address
from lumen_client.content import Payload, read_payload
from lumen_client.errors import ContentError, UsageError
from lumen_client.loop_thread import OTHER_PROCESS
from lumen_client.matrix import Callback, Callbacks, Matrix, name_of
from lumen_client.ordered import ItemAnswer, in_order
from lumen_client.sequence import Contents, checked, each_of, with_texts
from lumen_client.strings import shown
from lumen_wire.pb import ml_service_pb2 as pb

PREFETCH = 100


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
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None

    async def __aenter__(self) -> Self:
        if self._opened is not None:
            raise UsageError("the client is open already. Leave its block first")
        self._opened = Connection(self._address, self._options)
        self._home = (os.getpid(), asyncio.get_running_loop())
        return self

    async def __aexit__(self, *_: object) -> None:
        connection, self._opened = self._opened, None
        if connection is not None and self._home == (os.getpid(), asyncio.get_running_loop()):
            await connection.close()

    async def encode(  # noqa: PLR0913 - a public call with keyword options
        self,
        content: Contents = (),
        *,
        texts: Iterable[str] = (),
        prefetch: int = PREFETCH,
        service: str | None = None,
        parameters: dict[str, str] | None = None,
        on_done: Callback | None = None,
        on_error: Callback | None = None,
        on_always: Callback | None = None,
    ) -> NDArray[np.float32]:
        """Return the embeddings of pictures and texts, float32 [N, dim], in input order.

        `content` is an iterable, also a generator, also an asynchronous one; a folder stands for
        its pictures. A string is a text where it cannot be meant as a path; `texts`, which come
        last, are texts whatever they look like. At most `prefetch` items are held at a time.
        Nothing gives an array [0, 0].

        `on_done` and `on_error` are told of each item in order, `on_always` in either case. With
        `on_done` or `on_always` nothing is returned; a failed item that was told has a row of NaN.

        Raises:
            TypeError: `content` is a single item.
            ItemError: some items failed and nobody was told: the first of them, with the rows of
                all others.
            ServerError: what no item is to blame for: nobody answers, no such service.

        """
        matrix = Matrix(Callbacks(on_done, on_error, on_always))
        async for answer in self.encode_each(
            content, texts=texts, prefetch=prefetch, service=service, parameters=parameters
        ):
            matrix.take(answer)
        return matrix.result()

    def encode_each(
        self,
        content: Contents = (),
        *,
        texts: Iterable[str] = (),
        prefetch: int = PREFETCH,
        service: str | None = None,
        parameters: dict[str, str] | None = None,
    ) -> AsyncGenerator[ItemAnswer[Embedding], None]:
        """Yield the embedding of each item or the error that it cost, as `encode` takes them.

        What `content` raises comes after the answers of all that it gave before.
        """

        async def ask(item: Any) -> Embedding:
            return await self.embed(item, service=service, parameters=parameters)

        return in_order(each_of(with_texts(content, texts)), ask, prefetch)

    async def embed(
        self,
        item: Any,
        *,
        service: str | None = None,
        parameters: dict[str, str] | None = None,
    ) -> Embedding:
        """Return the vector of one picture or text, with what the server said of it."""
        connection = self._connection
        payload = await asyncio.to_thread(_read, item)
        task = "embed" if payload.is_text else "image_embed"
        meta = _meta(service, None, parameters) | {"vector": "f32le"}
        return read_embedding(await connection.infer(_request(task, payload, meta)))

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

    def classify_each(
        self,
        images: Contents,
        *,
        prefetch: int = PREFETCH,
        top_k: int | None = None,
        service: str | None = None,
        parameters: dict[str, str] | None = None,
    ) -> AsyncGenerator[ItemAnswer[Classification], None]:
        """Yield what `classify` says of each picture, or the error that it cost, in order."""

        async def ask(image: Any) -> Classification:
            return await self.classify(image, top_k=top_k, service=service, parameters=parameters)

        return in_order(each_of(checked(images)), ask, prefetch)

    def smart_classify_each(
        self,
        images: Contents,
        *,
        prefetch: int = PREFETCH,
        top_k: int | None = None,
        parameters: dict[str, str] | None = None,
    ) -> AsyncGenerator[ItemAnswer[Classification], None]:
        """Yield what `smart_classify` says of each picture, or the error that it cost, in order."""

        async def ask(image: Any) -> Classification:
            return await self.smart_classify(image, top_k=top_k, parameters=parameters)

        return in_order(each_of(checked(images)), ask, prefetch)

    async def capabilities(self) -> tuple[ServiceCapabilities, ...]:
        """Return what each service behind the address can do."""
        return tuple(_capabilities(record) for record in await self._connection.capabilities())

    async def health(self) -> None:
        """Return when the server serves; raise its reason otherwise."""
        await self._connection.health()

    @property
    def _connection(self) -> Connection:
        if self._opened is None or self._home is None:
            raise UsageError(
                "the client is not open. Call it inside of: async with AsyncClient(...)"
            )
        process, loop = self._home
        if process != os.getpid():
            raise UsageError(OTHER_PROCESS)
        if loop is not asyncio.get_running_loop():
            raise UsageError(
                "the client was opened in another event loop. Open one in each loop that calls."
            )
        return self._opened

    async def _classify(
        self,
        task: str,
        image: Any,
        top_k: int | None,
        service: str | None,
        parameters: dict[str, str] | None,
    ) -> Classification:
        connection = self._connection
        payload = await asyncio.to_thread(_read, image)
        if payload.is_text:
            raise ContentError(f"{shown(image)} is not a picture: there is no such file")
        meta = _meta(service, top_k, parameters)
        return read_classification(await connection.infer(_request(task, payload, meta)))


def _read(item: Any) -> Payload:
    """Return what to send of an item; raises ContentError, whatever goes wrong with it."""
    try:
        return read_payload(item)
    except ContentError:
        raise
    except MemoryError as error:
        raise ContentError(f"{shown(name_of(item))} needs more memory than there is") from error
    except Exception as error:
        what = name_of(item) or type(item).__name__
        said = str(error) or type(error).__name__
        raise ContentError(f"{shown(what)} cannot be read: {said}") from error


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
