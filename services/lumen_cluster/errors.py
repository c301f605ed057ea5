"""Every way in which the API server does not do what it is asked.

NoServer                  nothing says where the API server is
ApiError                  the API server did not do what it was asked to
├── Refused               it will not do this, however often it is asked (400, 403, 404, 422 ...)
│   ├── ObjectNotFound    the object is not there (404)
│   ├── Forbidden         a permission is missing (401, 403)
│   ├── Conflict          the object is another one than expected (409)
│   └── TooLarge          the answer is larger than what is read at once
└── Transient             asking again later may help
    ├── BeingDeleted      the object has to be gone first
    ├── Throttled         too many requests (429)
    ├── ApiUnavailable    no answer in time, a broken connection, or a failure of its own (5xx)
    └── HistoryGone       a watch cannot go on where it ended: list again
LeaseLost                 another process may lead now: this one must end
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import orjson

MESSAGE_MAX = 500
RETRY_AFTER_MAX_S = 60.0


class NoServer(Exception):
    """Nothing says how to reach an API server; the message says what would."""


class LeaseLost(Exception):
    """Another process may lead now: this one must end."""


class ErrorReason(StrEnum):
    """What kind of failure it is, for metrics: a closed set."""

    ABSENT = "absent"
    FORBIDDEN = "forbidden"
    CLASH = "clash"
    REFUSED = "refused"
    THROTTLED = "throttled"
    SERVER_AWAY = "server-away"


class ApiError(Exception):
    """The API server did not do what it was asked to.

    `said` are its own words, without what it was asked. `retry_after_s` is what it asked us to
    wait, None when it did not.
    """

    reason = ErrorReason.REFUSED

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        retry_after_s: float | None = None,
        said: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.said = said or message
        self.retry_after_s = retry_after_s


class Refused(ApiError):
    """It will not do this, however often it is asked."""


class ObjectNotFound(Refused):
    """The object is not there."""

    reason = ErrorReason.ABSENT


class TooLarge(Refused):
    """The answer is larger than what is read at once: ask for less."""


class Forbidden(Refused):
    """A permission is missing."""

    reason = ErrorReason.FORBIDDEN


class Conflict(Refused):
    """The object is another one than expected."""

    reason = ErrorReason.CLASH


class Transient(ApiError):
    """Asking again later may help."""

    reason = ErrorReason.SERVER_AWAY


class BeingDeleted(Transient):
    """The object has to be gone first."""

    reason = ErrorReason.CLASH


class Throttled(Transient):
    """Too many requests."""

    reason = ErrorReason.THROTTLED


class ApiUnavailable(Transient):
    """No answer in time, a broken connection, or a failure of the server's own."""


class HistoryGone(Transient):
    """The watch cannot be resumed from where it ended: everything is to be listed anew."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Forbidden,
    403: Forbidden,
    404: ObjectNotFound,
    408: ApiUnavailable,
    409: Conflict,
    410: HistoryGone,
    425: ApiUnavailable,
    429: Throttled,
}
_LASTING = (b"failed to create typed patch object", b"failed calling webhook")
"""Answered as failures of the server's own (500), which last until somebody corrects them: a field
that its schema does not know, and a webhook that has to be asked and does not answer."""
_AHEAD = b"ResourceVersionTooLarge"
"""The server's history ends before the version: it was restored from a backup, or lags behind."""


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """What the API server answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def classify(what: str, answer: ApiResponse) -> ApiError:
    """Turn an answer that is not a success into the error that says what it means.

    `what` is the request, as it is to be read in the log.
    """
    lasts = answer.status < 500 or any(words in answer.body for words in _LASTING)
    fallback = Refused if lasts else ApiUnavailable
    kind = HistoryGone if _AHEAD in answer.body else _BY_STATUS.get(answer.status, fallback)
    said = _message(answer.body)
    return kind(
        f"{what}: {answer.status} {said}".rstrip(),
        status=answer.status,
        retry_after_s=retry_after_s(answer.headers),
        said=said,
    )


def _message(body: bytes) -> str:
    """Return a Status object's message, else the beginning of the text."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:MESSAGE_MAX].decode(errors="replace")
    message = document.get("message") if isinstance(document, dict) else None
    return str(message or "")[:MESSAGE_MAX]


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of Retry-After, bounded; dates are not what API servers send."""
    text = headers.get("Retry-After", "")
    return min(float(text), RETRY_AFTER_MAX_S) if text.isascii() and text.isdecimal() else None
