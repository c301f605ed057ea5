"""The ordinary client: the asynchronous one, driven by a thread of its own."""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from lumen_client.aio import AsyncClient
from lumen_client.connection import Tls

Params = ParamSpec("Params")
T = TypeVar("T")


def _blocking(
    call: Callable[Concatenate[AsyncClient, Params], Coroutine[Any, Any, T]],
) -> "Callable[Concatenate[Client, Params], T]":
    """Return the same call for a client that waits for its answer."""

    @functools.wraps(call)
    def waiting(self: "Client", /, *args: Params.args, **options: Params.kwargs) -> T:
        return self._run(call(self._client, *args, **options))

    return waiting


class Client:
    """A client of a router or of a single model server; every call blocks until its answer.

    Arguments and errors are those of `AsyncClient`. Use it as a context manager.
    May be shared by threads.
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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="lumen-client", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._client.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._client.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    encode = _blocking(AsyncClient.encode)
    classify = _blocking(AsyncClient.classify)
    scene_classify = _blocking(AsyncClient.scene_classify)
    smart_classify = _blocking(AsyncClient.smart_classify)
    capabilities = _blocking(AsyncClient.capabilities)
    health = _blocking(AsyncClient.health)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise
