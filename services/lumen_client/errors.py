"""What a call to Lumen can raise.

ClientError
├── ServerError          the server refused or failed: `code` is the gRPC name
│   ├── NotReachable     nobody answers at that address
│   ├── ServerNotReady   somebody does, and cannot serve now
│   ├── ServerFull       too much at a time; `retry_after_ms` says when to come back
│   ├── NotInTime        no answer within the time allowed
│   ├── RequestRefused   the request can never succeed as it is
│   ├── NotThere         no such service or label set
│   ├── NotAllowed       no token, or a wrong one
│   ├── NotForThisServer another embedding space, or a server of another kind
│   └── CallStopped      the call was given up
├── ItemError            one item of many failed: `index`, with the reason as `__cause__`
├── ContentError         what was given cannot be sent: not a picture, not a text
└── UsageError           the client is not open, or used where it cannot be
"""

from typing import Any


class ClientError(Exception):
    """The base of everything that this package raises on purpose."""


class ServerError(ClientError):
    """The server at `address` refused the call or failed.

    `code` is the name of the gRPC status, such as "INVALID_ARGUMENT".
    """

    def __init__(
        self, code: str, message: str, *, address: str = "", retry_after_ms: int | None = None
    ) -> None:
        place = f" from {address}" if address else ""
        super().__init__(f"{code}{place}: {message}")
        self.code = code
        self.message = message
        self.address = address
        self.retry_after_ms = retry_after_ms


class NotReachable(ServerError):
    """Nobody answers at the address within the time allowed."""


class ServerNotReady(ServerError):
    """The server is loading or stopping, or a part behind it is gone."""


class ServerFull(ServerError):
    """The server has as much as it takes; `retry_after_ms` says when to come back, if known."""


class NotInTime(ServerError):
    """No answer came within the time allowed, or none can."""


class RequestRefused(ServerError):
    """The request can never succeed as it is; the message says what to change."""


class NotThere(ServerError):
    """A service or label set of that name does not exist there."""


class NotAllowed(ServerError):
    """No token, or one that is not accepted."""


class NotForThisServer(ServerError):
    """The request is right, but not for this server as it is."""


class CallStopped(ServerError):
    """The call was given up, here or there."""


class ContentError(ClientError, ValueError):
    """What was given is neither a picture nor a text that can be sent."""


class UsageError(ClientError, RuntimeError):
    """The client is not open, or is used where it cannot be."""


class ItemError(ClientError):
    """One item of many failed; the reason is `__cause__`.

    `index` counts rows, `name` is the item's path or empty. Of `encode`, `vectors` has a row for
    each item, NaN where one failed, and `failures` all of these errors.
    """

    def __init__(self, index: int, reason: Exception, name: str = "") -> None:
        super().__init__(f"item {index}{f' ({name})' if name else ''}: {reason}")
        self.index = index
        self.name = name
        self.vectors: Any = None
        self.failures: tuple[ItemError, ...] = (self,)
