"""The API server as it is asked: called, listed, watched; every answer is bounded.

The official client finds the server, verifies it and keeps the token fresh; the bodies are read
here, since its models would cost more than the rest.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
import orjson
import yaml
from aiohttp.http_exceptions import HttpProcessingError
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from lumen_cluster.errors import (
    ApiError,
    ApiResponse,
    ApiUnavailable,
    HistoryGone,
    NoServer,
    PageTooLarge,
    Refused,
    TooLarge,
    classify,
    retry_after_s,
)
from lumen_cluster.json_bodies import read_json
from lumen_cluster.objects import Event, EventType, Page, Raw, Resource
from lumen_cluster.requests import JSON, ApiRequest

AT_ONCE: Final = 64
CONNECT_S: Final = 5.0
ANSWER_S: Final = 15.0
LIST_S: Final = 60.0
WATCH_S: Final = (45, 60)
"""A watch is ended by the server after so long, at random so that many routers spread. A moment
before, it says how far it is: that is how a quiet watch shows that it lives."""
SILENCE_S: Final = 70.0
PAGE: Final = 20
LARGE_BYTES: Final = 128 * 1024
"""What takes more than some milliseconds to read."""
OBJECT_MAX_BYTES: Final = 16 * 1024 * 1024
"""etcd takes 1.5 MiB of an object; as JSON, in which a character may take six bytes, it is more."""
ERROR_MAX_BYTES: Final = 16 * 1024

_AHEAD: Final = "ResourceVersionTooLarge"
"""The server's history ends before the version: it was restored from a backup, or lags behind."""
_BUSY: Final = {408, 425, 429}


async def find_server(kubeconfig: str, env: Mapping[str, str]) -> Any:
    """Return the official client's Configuration: of `kubeconfig`, else of the pod, else of home.

    Raises NoServer when none of them says where the API server is.
    """
    found = Configuration()
    # A proxy for model hubs is none for the cluster's own API server.
    found.client_session_kwargs = {"trust_env": False}
    try:
        if not kubeconfig and env.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=found)
        else:
            path = kubeconfig or str(Path.home() / ".kube" / "config")
            await config.load_kube_config(
                config_file=path, client_configuration=found, persist_config=False
            )
    except (
        config.ConfigException,
        yaml.YAMLError,
        OSError,
        ValueError,
        TypeError,
        RecursionError,
    ) as error:
        raise NoServer(
            f"nothing says how to reach the cluster's API server ({error}):"
            " run in a pod with a mounted ServiceAccount token, or set KUBECONFIG"
        ) from error
    return found


class ClusterClient:
    """Calls to one API server. Use it as an async context manager: leaving closes connections."""

    def __init__(self, found: Any, user_agent: str, silence_s: float = SILENCE_S) -> None:
        found.connection_pool_maxsize = AT_ONCE
        self._found = found
        self._user_agent = user_agent
        self._client = ApiClient(configuration=found)
        self._silence_s = silence_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def ask(self, request: ApiRequest) -> dict[str, Any]:
        """Call and return the answer's JSON object.

        Raises:
            ApiError: it was refused, or did not succeed in time.

        """
        document = read_json(await self.call(request))
        assert isinstance(document, dict), f"{request} was answered without an object"
        return document

    async def call(self, request: ApiRequest) -> bytes:
        """Call and return the answer's body, unread.

        Raises:
            ApiError: it was refused, or did not succeed in time.

        """
        try:
            async with asyncio.timeout(request.deadline_s):
                answer = await self._send(request)
        except TimeoutError as error:
            raise ApiUnavailable(f"{request}: no answer in {request.deadline_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ApiUnavailable(f"{request}: {error or type(error).__name__}") from error
        if not 200 <= answer.status < 300:
            raise classify(str(request), answer)
        return answer.body

    async def _send(self, request: ApiRequest) -> ApiResponse:
        headers = await self._headers(request.accept) | {"Content-Type": request.content_type}
        query = f"?{urlencode(request.query)}" if request.query else ""
        found = await self._client.call_api(
            request.method,
            f"{self._found.host}{request.path}{query}",
            header_params=headers,
            body=request.body,
            _request_timeout=aiohttp.ClientTimeout(total=request.deadline_s),
        )
        answer: aiohttp.ClientResponse = found.response
        try:
            whole = await _bounded_body(answer, OBJECT_MAX_BYTES, TooLarge)
        except TooLarge:
            answer.close()
            raise
        return ApiResponse(found.status, whole, found.headers)

    async def pages(self, resource: Resource) -> AsyncGenerator[Page, None]:
        """Yield all objects of the kind; every page has the version of the whole.

        Raises ApiUnavailable, Refused, and HistoryGone when they changed too much meanwhile.
        """
        query = {"limit": str(PAGE)} | _selected(resource)
        while True:
            try:
                page = await self._get(resource, query)
            except PageTooLarge:
                if query["limit"] == "1":
                    raise
                query["limit"] = "1"
                continue
            query["limit"] = str(PAGE)
            try:
                named = _kind_of_items(page)
                items = tuple({**named, **item} for item in page["items"] or ())
                metadata = page["metadata"]
                go_on, version = metadata.get("continue"), metadata["resourceVersion"]
            except (KeyError, TypeError, AttributeError) as error:
                raise ApiUnavailable(f"GET {resource.path} was answered without a list") from error
            yield Page(items, str(version))
            if not go_on:
                return
            query["continue"] = str(go_on)

    async def watch(self, resource: Resource, version: str) -> AsyncGenerator[Event | None, None]:
        """Yield None once the server agrees, then what happens after `version`.

        Raises ApiUnavailable, also after 70 s of silence; Refused; HistoryGone.
        """
        query = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(random.randint(*WATCH_S)),  # noqa: S311 - jitter, not a key
        } | _selected(resource)
        async with self._answer(resource, query, self._silence_s) as answer:
            yield None
            async for line in _lines(answer):
                event = await _read_event(line)
                if event is not None:
                    yield event

    async def _get(self, resource: Resource, query: Mapping[str, str]) -> Raw:
        path = resource.path
        async with self._answer(resource, query, ANSWER_S) as answer:
            try:
                async with asyncio.timeout(LIST_S):
                    body = await _bounded_body(answer, OBJECT_MAX_BYTES)
                document = await _read(body)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise ApiUnavailable(f"GET {path}: {str(error) or type(error).__name__}") from error
        if not isinstance(document, Mapping):
            raise ApiUnavailable(f"GET {path} was answered without an object")
        return document

    @asynccontextmanager
    async def _answer(
        self, resource: Resource, query: Mapping[str, str], silence_s: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and hand over an answer whose status is 200; raise what another one means."""
        path = resource.path
        url = f"{self._found.host}{path}" + (f"?{urlencode(query)}" if query else "")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silence_s)
        try:
            async with asyncio.timeout(ANSWER_S):
                called = await self._client.call_api(
                    "GET", url, header_params=await self._headers(), _request_timeout=timeout
                )
        except (aiohttp.ClientError, OSError, config.ConfigException) as error:
            # A TimeoutError is an OSError, and says nothing.
            raise ApiUnavailable(f"GET {path}: {str(error) or 'no answer in time'}") from error
        answer: aiohttp.ClientResponse = called.response
        try:
            if answer.status != 200:
                raise await _refusal(answer, resource)
            yield answer
        finally:
            # Not released: nobody waits for the rest of a watch.
            answer.close()

    async def _headers(self, accept: str = JSON) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": self._user_agent}
        token = await self._found.get_api_key_with_prefix("BearerToken", alias="authorization")
        return headers | ({"Authorization": token} if token else {})


def _selected(resource: Resource) -> dict[str, str]:
    return {"labelSelector": resource.selector} if resource.selector else {}


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield line by line, as the client's own reader does for lines that are shorter than some."""
    rest: list[bytes] = []
    while True:
        try:
            part = await answer.content.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise ApiUnavailable(
                f"the watch broke off: {str(error) or 'it went silent'}"
            ) from error
        if not part:
            return
        *lines, last = part.split(b"\n")
        for line in lines:
            yield b"".join([*rest, line])
            rest = []
        rest.append(last)
        if sum(map(len, rest)) > OBJECT_MAX_BYTES:
            raise HistoryGone("a report of the watch is too large")


async def _read(body: bytes) -> Any:
    """Read JSON; a large text is read beside the loop, which has others to serve.

    Raises:
        ValueError: it is no JSON.

    """
    return read_json(body) if len(body) < LARGE_BYTES else await asyncio.to_thread(read_json, body)


async def _read_event(line: bytes) -> Event | None:
    """Read one report, None for a kind of report that is not known; raises HistoryGone."""
    try:
        document = await _read(line)
        kind, reported = document["type"], document["object"]
        if kind == "ERROR":
            raise HistoryGone(f"{reported.get('message', 'an error without a message')}"[:300])
        return Event(EventType(kind), {**reported}) if kind in EventType.__members__ else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HistoryGone("a report of the watch cannot be read") from error


async def _refusal(answer: aiohttp.ClientResponse, resource: Resource) -> Exception:
    """Return what an answer other than 200 means, and what to do about it."""
    code = answer.status
    status = await _status(answer)
    said = str(status.get("message") or answer.reason)[:300]
    if code == 410 or _AHEAD in str(status.get("details")):
        return HistoryGone(said)
    if code >= 500 or code in _BUSY:
        return ApiUnavailable(
            f"GET {resource.path}: {code} {said}",
            status=code,
            retry_after_s=retry_after_s(answer.headers),
        )
    return Refused(f"GET {resource.path}: {code} {said}. {_remedy(code, resource)}", status=code)


def _remedy(code: int, resource: Resource) -> str:
    if code == 401:
        return "The token is not accepted: check the pod's ServiceAccount, or KUBECONFIG"
    if code == 403:
        where = f"in namespace {resource.namespace}" if resource.namespace else "everywhere"
        return f"Let this ServiceAccount get, list and watch {resource} {where}, as the chart does"
    if code == 404:
        return "Install Lumen's CustomResourceDefinitions: kubectl apply -f crds/"
    return "Check that this is the API server of a Kubernetes cluster"


def _kind_of_items(page: Raw) -> Raw:
    """Return what an object of a list does not say of itself: of what kind it is."""
    said = {"apiVersion": page.get("apiVersion"), "kind": page.get("kind", "").removesuffix("List")}
    return {key: value for key, value in said.items() if value}


async def _status(answer: aiohttp.ClientResponse) -> Mapping[str, Any]:
    """Return the Status object of a refusal; empty when there is none."""
    try:
        async with asyncio.timeout(ANSWER_S):
            document = orjson.loads(await _bounded_body(answer, ERROR_MAX_BYTES))
    except (aiohttp.ClientError, OSError, ValueError, PageTooLarge):
        return {}
    return document if isinstance(document, Mapping) else {}


async def _bounded_body(
    answer: aiohttp.ClientResponse, limit_bytes: int, too_large: type[ApiError] = PageTooLarge
) -> bytes:
    """Return the body; raises `too_large` when it is longer than that."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > limit_bytes:
            raise too_large(f"the answer is larger than {limit_bytes >> 20} MiB")
        parts.append(part)
    return b"".join(parts)
