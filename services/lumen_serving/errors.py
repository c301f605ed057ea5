"""Every way in which a call or a start can fail.

For callers, below the wire's tree, so that its one table finds the code:

    WireError
    ├── InvalidArgument
    │   ├── BadImage             the bytes are not a picture that may be decoded
    │   ├── BadText              the bytes are not UTF-8, or empty
    │   ├── BadTensor            a tensor, which no capability offers
    │   ├── UnknownTask
    │   └── BadQuery             rank, include, namespace or label format make no sense here
    ├── NotFound
    │   ├── UnknownLabelSet
    │   └── UnknownService
    ├── FailedPrecondition
    │   └── OtherSpace           the caller demands another embedding space
    ├── ResourceExhausted
    │   └── Overloaded           full by bytes, by count or by predicted wait
    ├── Unavailable
    │   ├── StillLoading
    │   └── Stopping
    ├── DeadlineExceeded
    │   └── TooLate              the deadline passed before the model saw the item
    └── Internal
        └── BackendFailed        the model failed on a batch; the cause is in the log only

For whoever started the server, written to the log and the termination message:

    StartError                   reason, message, remedy
    ├── SettingsInvalid          the environment or the configuration file
    ├── BackendUnavailable       no such runtime, or its package is missing
    ├── DeviceMismatch           asked for one device and found another
    ├── DriverMismatch           the device's driver or library is too old
    ├── DeviceTreeMasked         the NPU's library cannot read /proc/device-tree
    ├── ParityFailed             the vectors differ from the reference
    └── LabelsUnusable           a label set does not fit the model
"""

from lumen_manifest.conditions import Reason
from lumen_wire.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)


class BadImage(InvalidArgument):
    """The payload is not a picture that may be decoded."""


class BadText(InvalidArgument):
    """The payload is not UTF-8 text, or is empty."""


class BadTensor(InvalidArgument):
    """A payload that is declared a tensor, which no capability offers."""


class UnknownTask(InvalidArgument):
    """This server does not advertise the task."""


class UnknownLabelSet(NotFound):
    """No label set of that name is loaded."""


class BadQuery(InvalidArgument):
    """What the meta asks for makes no sense for this model or label set."""


class UnknownService(NotFound):
    """The caller means a service that this server is not."""


class OtherSpace(FailedPrecondition):
    """The caller demands an embedding space that this server does not compute."""


class Overloaded(ResourceExhausted):
    """The request would not be answered in time, or there is no room to hold it."""


class StillLoading(Unavailable):
    """The model is not warm yet."""


class Stopping(Unavailable):
    """The server drains and takes no new requests."""


class TooLate(DeadlineExceeded):
    """The deadline passed before the model saw the item."""


class BackendFailed(Internal):
    """The model failed on the item."""


class StartError(Exception):
    """The server can't start; the message says what was found, the remedy what to do."""

    reason: Reason = Reason.UNKNOWN

    def __init__(self, message: str, *, remedy: str = "", file: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.file = file

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class SettingsInvalid(StartError):
    """A variable of the environment or the configuration file can't be what it is."""

    reason = Reason.INVALID_SPEC


class BackendUnavailable(StartError):
    """The runtime or its package is not there."""

    reason = Reason.RUNTIME_UNAVAILABLE


class DeviceMismatch(StartError):
    """The model was asked for on one device and runs on another."""

    reason = Reason.DEVICE_MISMATCH


class DriverMismatch(StartError):
    """The device's driver or library does not fit the image or the model's files."""

    reason = Reason.DRIVER_MISMATCH


class DeviceTreeMasked(StartError):
    """The NPU's library cannot tell the chip, since the container hides the device tree."""

    reason = Reason.DEVICE_TREE_MASKED


class ParityFailed(StartError):
    """The vectors of the golden set differ from the reference by more than the tolerance."""

    reason = Reason.PARITY_FAILED


class LabelsUnusable(StartError):
    """A label set does not fit the model."""

    reason = Reason.LABEL_SET_INVALID
