"""What passes between the servicer and the service: no proto type, no array."""

from dataclasses import dataclass

from lumen_wire.meta import RequestMeta
from lumen_wire.request.callers import STRANGER, Caller
from lumen_wire.tasks import TaskKind


@dataclass(frozen=True, slots=True)
class Request:
    """One complete request; `mime` is normalised, `deadline_at` on the monotonic clock."""

    kind: TaskKind
    payload: bytes
    mime: str
    meta: RequestMeta
    deadline_at: float
    caller: Caller = STRANGER


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: the result's bytes with their mime and schema, and the response meta."""

    result: bytes
    mime: str
    schema: str
    meta: dict[str, str]
