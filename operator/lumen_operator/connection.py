"""One connection to the API server: credentials, deadlines, and errors that say what they mean.

`cluster` and `election` write through it; `lumen_cluster` watches with the same credentials.
The official client refreshes tokens and keeps connections; bodies are plain JSON here, because its
models cost more CPU than the rest of a call.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient

from lumen_cluster.json_bodies import read_json
from lumen_operator.errors import ApiResponse, TooLarge, Unavailable, classify

CALL_S = 15.0
USER_AGENT = "lumen-operator"
BODY_MAX_BYTES = 16 * 1024 * 1024

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One call. `path` is absolute; `body` is JSON that is sent as `content_type`."""

    method: str
    path: str
    query: Query = field(default_factory=dict)
    body: Any = None
    content_type: str = JSON
    accept: str = JSON
    deadline_s: float = CALL_S

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class ApiConnection:
    """Calls to the API server; each is bounded, and use as an async context manager closes it."""

    def __init__(self, found: Any, *, at_once: int = 64) -> None:
        found.connection_pool_maxsize = at_once
        self._found = found
        self._client = ApiClient(configuration=found)

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
        assert isinstance(document, dict), f"{request} was answered with no object"
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
            raise Unavailable(f"{request}: no answer in {request.deadline_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{request}: {error or type(error).__name__}") from error
        if not 200 <= answer.status < 300:
            raise classify(str(request), answer)
        return answer.body

    async def _send(self, request: ApiRequest) -> ApiResponse:
        headers = {
            "Accept": request.accept,
            "Content-Type": request.content_type,
            "User-Agent": USER_AGENT,
        }
        if token := await self._found.get_api_key_with_prefix("BearerToken", alias="authorization"):
            headers["Authorization"] = token
        query = f"?{urlencode(request.query)}" if request.query else ""
        found = await self._client.call_api(
            request.method,
            f"{self._found.host}{request.path}{query}",
            header_params=headers,
            body=request.body,
            _request_timeout=aiohttp.ClientTimeout(total=request.deadline_s),
        )
        parts, size = list[bytes](), 0
        async for part in found.response.content.iter_any():
            size += len(part)
            if size > BODY_MAX_BYTES:
                found.response.close()
                raise TooLarge(f"{request}: the answer is larger than {BODY_MAX_BYTES >> 20} MiB")
            parts.append(part)
        return ApiResponse(found.status, b"".join(parts), found.headers)
