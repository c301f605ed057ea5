"""The ordinary client: the asynchronous one, driven by a thread of its own."""

import functools
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Generator, Iterable
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lumen_client.aio import PREFETCH, AsyncClient
from lumen_client.answers import Classification, Embedding
from lumen_client.connection import Tls
from lumen_client.errors import UsageError
from lumen_client.loop_thread import OTHER_PROCESS, LoopThread
from lumen_client.matrix import Callback, Callbacks, Matrix
from lumen_client.ordered import ItemAnswer
from lumen_client.pump import pumped
from lumen_client.sequence import Contents, checked, with_texts

Params = ParamSpec("Params")
T = TypeVar("T")


def _blocking(
    call: Callable[Concatenate[AsyncClient, Params], Coroutine[Any, Any, T]],
) -> "Callable[Concatenate[Client, Params], T]":
    """Return the same call for a client that waits for its answer."""

    @functools.wraps(call)
    def waiting(self: "Client", /, *args: Params.args, **options: Params.kwargs) -> T:
        return self._loop.run(call(self._client, *args, **options))

    return waiting


class Client:
    """A client of a router or of a single model server; every call blocks until its answer.

    Arguments and errors are those of `AsyncClient`. Use it as a context manager.
    May be shared by threads, and called from the generators and callbacks that it is given; both
    run where the caller does. A process that forks opens its own.
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
        self._client = AsyncClient(
            server, token=token, tls=tls, timeout_s=timeout_s, retries=retries
        )
        self._opened: LoopThread | None = None

    def __enter__(self) -> Self:
        if self._opened is not None:
            raise UsageError("the client is open already. Leave its block first")
        loop = LoopThread()
        try:
            loop.run(self._client.__aenter__())
        except BaseException:
            loop.stop()
            raise
        self._opened = loop
        return self

    def __exit__(self, *_: object) -> None:
        loop, self._opened = self._opened, None
        if loop is None or not loop.is_ours:
            return
        try:
            loop.run(self._client.__aexit__())
        finally:
            loop.stop()

    def encode(  # noqa: PLR0913 - a public call with keyword options
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
        """Return the embeddings of pictures and texts: see `AsyncClient.encode`."""
        matrix = Matrix(Callbacks(on_done, on_error, on_always))
        for answer in self.encode_each(
            content, texts=texts, prefetch=prefetch, service=service, parameters=parameters
        ):
            matrix.take(answer)
        return matrix.result()

    def encode_each(
        self, content: Contents = (), *, texts: Iterable[str] = (), **options: Any
    ) -> Generator[ItemAnswer[Embedding], None, None]:
        """Yield the embedding of each item: see `AsyncClient.encode_each`."""
        return self._stream(
            with_texts(content, texts),
            lambda items: self._client.encode_each(items, **options),
        )

    def classify_each(
        self, images: Contents, **options: Any
    ) -> Generator[ItemAnswer[Classification], None, None]:
        """Yield the labels of each picture: see `AsyncClient.classify_each`."""
        return self._stream(
            checked(images), lambda items: self._client.classify_each(items, **options)
        )

    def smart_classify_each(
        self, images: Contents, **options: Any
    ) -> Generator[ItemAnswer[Classification], None, None]:
        """Yield scene or species of each picture: see `AsyncClient.smart_classify_each`."""
        return self._stream(
            checked(images), lambda items: self._client.smart_classify_each(items, **options)
        )

    embed = _blocking(AsyncClient.embed)
    classify = _blocking(AsyncClient.classify)
    scene_classify = _blocking(AsyncClient.scene_classify)
    smart_classify = _blocking(AsyncClient.smart_classify)
    capabilities = _blocking(AsyncClient.capabilities)
    health = _blocking(AsyncClient.health)

    @property
    def _loop(self) -> LoopThread:
        if self._opened is None:
            raise UsageError("the client is not open. Call it inside of: with Client(...)")
        if not self._opened.is_ours:
            raise UsageError(OTHER_PROCESS)
        return self._opened

    def _stream(
        self,
        contents: Contents,
        answers: Callable[[AsyncIterable[Any]], AsyncGenerator[ItemAnswer[T], None]],
    ) -> Generator[ItemAnswer[T], None, None]:
        return pumped(self._loop, contents, answers)
