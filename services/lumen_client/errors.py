"""What a call to Lumen can raise.

ClientError
├── ServerError        the server refused or failed: `code` is the gRPC name
│   └── NotReachable   nobody answers at that address
├── ItemError          one item of many failed: `index`, with the reason as `__cause__`
└── ContentError       what was given cannot be sent: not a picture, not a text
"""


class ClientError(Exception):
    """The base of everything that this package raises on purpose."""


class ServerError(ClientError):
    """The server refused the call or failed.

    `code` is the name of the gRPC status, such as "INVALID_ARGUMENT".
    """

    def __init__(self, code: str, message: str, *, retry_after_ms: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms


class NotReachable(ServerError):
    """Nobody answers at the address within the time allowed."""


class ContentError(ClientError, ValueError):
    """What was given is neither a picture nor a text that can be sent."""


class ItemError(ClientError):
    """One item of many failed; the reason is `__cause__`."""

    def __init__(self, index: int, reason: Exception) -> None:
        super().__init__(f"item {index}: {reason}")
        self.index = index
