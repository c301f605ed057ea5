"""The ordinary client: the asynchronous one, driven by a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lumen_client.aio import AsyncClient
from lumen_client.answers import Classification, ServiceCapabilities
from lumen_client.connection import Tls

T = TypeVar("T")


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

    def encode(
        self,
        content: Iterable[Any],
        *,
        prefetch: int = 100,
        service: str | None = None,
        parameters: dict[str, str] | None = None,
    ) -> NDArray[np.float32]:
        """Return the embeddings of texts and pictures, float32 [N, dim], in input order."""
        return self._run(
            self._client.encode(content, prefetch=prefetch, service=service, parameters=parameters)
        )

    def classify(
        self,
        image: Any,
        *,
        top_k: int | None = None,
        service: str | None = None,
        parameters: dict[str, str] | None = None,
    ) -> Classification:
        """Return the labels of a picture by one service, CLIP's unless `service` says otherwise."""
        return self._run(
            self._client.classify(image, top_k=top_k, service=service, parameters=parameters)
        )

    def scene_classify(
        self,
        image: Any,
        *,
        top_k: int | None = None,
        service: str | None = None,
        parameters: dict[str, str] | None = None,
    ) -> Classification:
        """Return what kind of scene a picture shows, by a CLIP service."""
        return self._run(
            self._client.scene_classify(image, top_k=top_k, service=service, parameters=parameters)
        )

    def smart_classify(
        self,
        image: Any,
        *,
        top_k: int | None = None,
        parameters: dict[str, str] | None = None,
    ) -> Classification:
        """Return the scene of a picture or, if it shows an animal, its species."""
        return self._run(self._client.smart_classify(image, top_k=top_k, parameters=parameters))

    def capabilities(self) -> tuple[ServiceCapabilities, ...]:
        """Return what each service behind the address can do."""
        return self._run(self._client.capabilities())

    def health(self) -> None:
        """Return when the server serves; raise its reason otherwise."""
        self._run(self._client.health())

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise
