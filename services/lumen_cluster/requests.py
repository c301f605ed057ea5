"""One call to the API server, as it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

CALL_S = 15.0

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


class Caller(Protocol):
    """How calls reach the API server: a ClusterClient, or one that is fenced."""

    async def call(self, request: ApiRequest) -> bytes:
        """Call and return the answer's body, unread."""

    async def ask(self, request: ApiRequest) -> dict[str, Any]:
        """Call and return the answer's JSON object."""
