"""The API server as it is asked: called, listed, watched; every answer is bounded.

The official client finds the server, verifies it and keeps the token fresh; the bodies are read
here, since its models would cost more than the rest.
"""

import asyncio
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self
from urllib.parse import urlencode

import aiohttp
import yaml
from aiohttp.http_exceptions import HttpProcessingError
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from lumen_cluster.errors import (
    ApiResponse,
    ApiUnavailable,
    HistoryGone,
    NoServer,
    Refused,
    TooLarge,
    classify,
)
from lumen_cluster.json_bodies import read_json
from lumen_cluster.kinds import Event, EventType, Page, Resource
from lumen_process.proxies import web_proxy

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
ERROR_MAX_BYTES: Final = 256 * 1024

JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One call. `path` is absolute; `body` is JSON that is sent as `content_type`.

    It is over after `deadline_s`, and sooner when nothing comes for `silence_s`.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = JSON
    accept: str = JSON
    deadline_s: float = ANSWER_S
    silence_s: float = ANSWER_S

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Caller(Protocol):
    """How calls reach the API server: a ClusterClient, or one that is fenced."""

    async def call(self, request: ApiRequest) -> bytes:
        """Call and return the answer's body, unread."""

    async def ask(self, request: ApiRequest) -> dict[str, Any]:
        """Call and return the answer's JSON object."""


@dataclass(frozen=True, slots=True)
class Destination:
    """An API server as the official client's Configuration, and the namespace that is meant there.

    The namespace is empty where no kubeconfig names one.
    """

    server: Any
    namespace: str


async def find_server(kubeconfig: str, env: Mapping[str, str]) -> Any:
    """Return the official client's Configuration: of `kubeconfig`, else of the pod, else of home.

    Raises NoServer when none of them says where the API server is.
    """
    return (await find_destination(kubeconfig, "", env)).server


async def find_destination(kubeconfig: str, context: str, env: Mapping[str, str]) -> Destination:
    """Find the server as `find_server` does; a `context` is one of the kubeconfig's.

    Raises NoServer when nothing says where the API server is.
    """
    found = Configuration()
    # Of the environment's proxies only ours below counts: a hub's is none for a pod's API server.
    found.client_session_kwargs = {"trust_env": False}
    try:
        if not (kubeconfig or context) and env.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=found)
            return Destination(found, "")
        loaded = await config.load_kube_config(
            config_file=_existing(kubeconfig or str(Path.home() / ".kube" / "config")),
            context=context or None,
            client_configuration=found,
            persist_config=False,
        )
        proxy = web_proxy(found.host, env)
        if proxy is not None and not found.proxy:  # as kubectl does
            found.proxy = proxy.url
        return Destination(found, str(loaded.current_context["context"].get("namespace") or ""))
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


def _existing(paths: str) -> str:
    """Return the paths of kubeconfigs, as KUBECONFIG lists them, if one of them is there."""
    if not any(Path(each).expanduser().exists() for each in paths.split(os.pathsep) if each):
        raise FileNotFoundError(f"there is no file {paths}")
    return paths


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
            ApiError: it was refused, did not succeed in time, or was answered with something else.

        """
        body = await self.call(request)
        try:
            document = await _read(body)
        except ValueError as error:
            raise ApiUnavailable(f"{request}: {error}") from error
        if not isinstance(document, dict):
            raise ApiUnavailable(f"{request} was answered without an object")
        return document

    async def call(self, request: ApiRequest) -> bytes:
        """Call and return the answer's body, unread.

        Raises:
            ApiError: it was refused, or did not succeed in time.

        """
        bounds = aiohttp.ClientTimeout(total=request.deadline_s, sock_read=request.silence_s)
        with _translated(request):
            async with (
                asyncio.timeout(request.deadline_s),
                self._answer(request, bounds) as answer,
            ):
                body = await _bounded_body(answer, OBJECT_MAX_BYTES)
                if len(body) > OBJECT_MAX_BYTES:
                    raise TooLarge(f"the answer is larger than {OBJECT_MAX_BYTES >> 20} MiB")
                return body

    def pages(self, resource: Resource) -> AsyncGenerator[Page, None]:
        """Yield all objects of the kind, as `list_pages` does."""
        return list_pages(self, resource)

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
        request = ApiRequest("GET", resource.path, query)
        bounds = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_S, sock_read=self._silence_s
        )
        async with AsyncExitStack() as stack:
            with _advised(resource), _translated(request):
                async with asyncio.timeout(request.deadline_s):
                    answer = await stack.enter_async_context(self._answer(request, bounds))
            yield None
            async for line in _lines(answer):
                event = await _read_event(line)
                if event is not None:
                    yield event

    @asynccontextmanager
    async def _answer(
        self, request: ApiRequest, bounds: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and hand over an answer that is a success; raise what another one means."""
        headers = {
            "Accept": request.accept,
            "Content-Type": request.content_type,
            "User-Agent": self._user_agent,
        }
        token = await self._found.get_api_key_with_prefix("BearerToken", alias="authorization")
        query = f"?{urlencode(request.query)}" if request.query else ""
        called = await self._client.call_api(
            request.method,
            f"{self._found.host}{request.path}{query}",
            header_params=headers | ({"Authorization": token} if token else {}),
            body=request.body,
            _request_timeout=bounds,
        )
        answer: aiohttp.ClientResponse = called.response
        try:
            if not 200 <= answer.status < 300:
                body = await _bounded_body(answer, ERROR_MAX_BYTES)
                raise classify(str(request), ApiResponse(answer.status, body, answer.headers))
            yield answer
        finally:
            # Not released: nobody waits for the rest of a watch.
            answer.close()


async def list_pages(
    caller: Caller, resource: Resource, accept: str = JSON, most: int = PAGE
) -> AsyncGenerator[Page, None]:
    """Yield all objects of the kind, at most so many at once; a page has the version of the whole.

    Raises ApiUnavailable, Refused, and HistoryGone when they changed too much meanwhile.
    """
    # One of a list does not say so itself.
    named = {"apiVersion": resource.kind.api_version, "kind": resource.kind.kind}
    place: dict[str, str] = {}
    limit = most
    while True:
        query = {"limit": str(limit)} | _selected(resource) | place
        request = ApiRequest(
            "GET", resource.path, query, accept=accept, deadline_s=LIST_S, silence_s=ANSWER_S
        )
        try:
            with _advised(resource):
                page = await caller.ask(request)
        except TooLarge as error:
            if limit == 1:
                raise ApiUnavailable(str(error)) from error
            limit = limit // 10 if limit > PAGE else 1
            continue
        limit = most
        try:
            items = tuple({**named, **item} for item in page["items"] or ())
            metadata = page["metadata"]
            go_on, version = metadata.get("continue"), metadata["resourceVersion"]
        except (KeyError, TypeError, AttributeError) as error:
            raise ApiUnavailable(f"{request} was answered without a list") from error
        yield Page(items, str(version))
        if not go_on:
            return
        place = {"continue": str(go_on)}


@contextmanager
def _translated(request: ApiRequest) -> Iterator[None]:
    """Raise as ApiUnavailable what says that the server cannot be reached."""
    try:
        yield
    except TimeoutError as error:
        waited_s = min(request.deadline_s, request.silence_s)
        raise ApiUnavailable(f"{request}: no answer in {waited_s:g} s") from error
    except (aiohttp.ClientError, HttpProcessingError, OSError, config.ConfigException) as error:
        raise ApiUnavailable(f"{request}: {str(error) or type(error).__name__}") from error


@contextmanager
def _advised(resource: Resource) -> Iterator[None]:
    """Add to a refusal what whoever runs this can do about it."""
    try:
        yield
    except TooLarge:
        raise
    except Refused as error:
        said = f"{error}. {_remedy(error.status, resource)}"
        raise Refused(said, status=error.status) from error


def _remedy(code: int, resource: Resource) -> str:
    if code == 401:
        return "The token is not accepted: check the pod's ServiceAccount, or KUBECONFIG"
    if code == 403:
        where = f"in namespace {resource.namespace}" if resource.namespace else "everywhere"
        what = f"{resource.kind} {where}"
        return f"Let this account get, list and watch {what}, as the chart does"
    if code == 404:
        return "Install Lumen's CustomResourceDefinitions: kubectl apply -f crds/"
    return "Check that this is the API server of a Kubernetes cluster"


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
        ValueError: it is not JSON.

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


async def _bounded_body(answer: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Return the body; of one that is longer than that, its beginning and a little more."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > limit_bytes:
            break
    return b"".join(parts)
