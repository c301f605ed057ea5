"""Why `lumen up` refuses to start. Messages are sentences for the person at the terminal.

LocalError
├── StateDirBusy      another run holds the state directory
├── StateDirUnusable  the state directory cannot be written
├── NotOurAddress     this machine does not have the address asked for
├── PortBusy          somebody else listens on the port asked for
├── PoolRefused       a service asks for what this machine lacks
├── NothingToServe    the files hold no model service
└── PodNotRunnable    a rendered pod uses what a plain process cannot give
"""

from lumen_manifest.conditions import Reason
from lumen_manifest.reading.doors import Door


class LocalError(Exception):
    """A start that was refused; the text says what to do."""


class StateDirBusy(LocalError):
    """Another run holds the state directory."""


class StateDirUnusable(LocalError):
    """The state directory cannot be made or written."""


class NotOurAddress(LocalError):
    """This machine does not have the address."""


class PortBusy(LocalError):
    """Somebody else listens on the port."""


class PoolRefused(LocalError):
    """A service asks for a pool or a runtime that this machine does not have."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message

    def said_at(self, door: Door) -> "PoolRefused":
        """Return the same in the words that the user knows the fields by."""
        return PoolRefused(self.reason, door.says(self.message))


class NothingToServe(LocalError):
    """No model service is left to run."""


class PodNotRunnable(LocalError):
    """A rendered pod uses something that a plain process cannot give it."""
