"""The one module that imports Rockchip's runtime: a graph on one core of an NPU.

The library answers -1 and None, and tells a log why; here that becomes a sentence. Of its steps
`inference` runs three, and it does not look at what the second one answers: after a run that failed
it hands out the vectors of the run before. So they are taken one by one here.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rknnlite.api import RKNNLite

from lumen_resources.model.rknn_file import RknnFile, RknnPort, read_rknn
from lumen_serving.errors import BackendUnavailable, DeviceMismatch, DriverMismatch, StartError
from lumen_serving.graphs.ports import Port, RunFailed

LIBRARY = "/usr/lib/librknnrt.so"
# A core's name in the library, by chip; a chip with one core takes no mask at all.
CORES: Mapping[str, tuple[str, ...]] = {
    "rk3588": ("NPU_CORE_0", "NPU_CORE_1", "NPU_CORE_2"),
    "rk3576": ("NPU_CORE_0", "NPU_CORE_1"),
}
ONLY_CORE = ("",)
# Token ids of a file that does not say: Immich's are so.
_IDS = "int32"
_TYPES: Mapping[str, type[np.generic]] = {"int32": np.int32, "int64": np.int64}


def _package_version() -> str:
    try:
        return version("rknn-toolkit-lite2")
    except PackageNotFoundError:
        return "unknown"


PACKAGE_VERSION = _package_version()


class NpuMemoryFull(BackendUnavailable):
    """No memory is left for another runtime on this NPU."""


@dataclass(frozen=True, slots=True)
class NpuVersions:
    """What the library says of itself (`2.3.2 (429f97ae6b@...)`) and of the driver."""

    library: str
    driver: str


class RknnSession:
    """A file on one core; one thread at a time may run it."""

    def __init__(self, path: Path, core: str) -> None:
        """Load the file on the named core.

        Raises:
            StartError: the library, the driver or the file does not allow it.
            ResourceError: it is not an RKNN file.

        """
        self.file = read_rknn(path)
        self.remarks: Mapping[str, str] = {}
        self.inputs = tuple(_port(each) for each in self.file.inputs)
        # Outputs come back as float32, whatever they are inside.
        self.outputs = tuple(Port(e.name, np.float32, e.shape) for e in self.file.outputs)
        self._formats = _formats(self.file.inputs)
        self._lite = RKNNLite()
        try:
            self._start(path, core)
            self.versions = _versions(self._lite.get_sdk_version() or "")
            self._refuse_older_library(path.name)
        except BaseException:
            self.release()
            raise

    def _start(self, path: Path, core: str) -> None:
        with _heard(self._lite) as said:
            mask = {"core_mask": getattr(RKNNLite, core)} if core else {}
            if self._lite.load_rknn(str(path)) != 0 or self._lite.init_runtime(**mask) != 0:
                raise _refusal("\n".join(said), path.name, self.file)
        # The NPU has its own copy by now; this one would be kept for every core.
        self._lite.rknn_data = None

    def _refuse_older_library(self, name: str) -> None:
        if _numbers(self.versions.library) < _numbers(self.file.version):
            raise DriverMismatch(
                f"{name} was made by rknn-toolkit2 {self.file.version}, and {LIBRARY} is "
                f"{self.versions.library or 'of an unknown version'}.",
                remedy=f"Put the library of {self.file.version} or newer there, or convert the "
                "model with the toolkit of its version.",
                file=name,
            )

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the named outputs.

        Raises:
            RunFailed: the library's own failure, as the cause.

        """
        arrays = [np.ascontiguousarray(feeds[port.name]) for port in self.inputs]
        # The library takes fewer bytes than it needs without a word.
        if any(a.shape != port.shape for a, port in zip(arrays, self.inputs, strict=True)):
            raise RunFailed(f"{[a.shape for a in arrays]} is not what {self.inputs} take")
        steps = self._lite.rknn_runtime
        try:
            # The list is theirs: they write their own numbers over the words.
            steps.set_inputs(arrays, None, self._formats and [*self._formats])
            answer = steps.run()
            found = steps.get_outputs() if answer == 0 else None
        except Exception as error:  # the library raises no narrower class
            raise RunFailed("the NPU did not take it") from error
        if found is None:
            raise RunFailed("the NPU did not run it") from OSError(answer, f"rknn_run: {answer}")
        named = dict(zip((port.name for port in self.outputs), found, strict=True))
        return [named[name] for name in outputs]

    def release(self) -> None:
        """Give the core's memory back; safe to call twice."""
        self._lite.release()


def _port(item: RknnPort) -> Port:
    """Return what an input is fed with: pictures as bytes lie, ids as the file's graph had them."""
    if len(item.shape) == 4:
        side = max(item.shape)
        return Port(item.name, np.uint8 if item.takes_levels else np.float32, (1, side, side, 3))
    return Port(item.name, _TYPES.get(item.dtype or _IDS), item.shape)


def _formats(items: Sequence[RknnPort]) -> list[str] | None:
    """Return the library's words for how pictures [1, S, S, 3] lie in memory; None for ids.

    A graph's own order is nchw to it, also one that takes the channels last.
    """
    if any(len(item.shape) != 4 for item in items):
        return None
    return ["nchw" if item.channels_last else "nhwc" for item in items]


@contextmanager
def _heard(lite: Any) -> Iterator[list[str]]:
    """Yield what the library logs meanwhile; of its warnings nobody can make use."""
    said: list[str] = []
    handler = _Listener(said.append)
    logger = lite.rknn_log.logger
    logger.setLevel(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


class _Listener(logging.Handler):
    """Hands every message on."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__()
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a message on."""
        self._hear(record.getMessage())


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What the library means by a word of its log, and what to do about it."""

    kind: type[StartError]
    found: str
    remedy: str


_OLD_DRIVER = _Refusal(
    DriverMismatch,
    f"the NPU's driver is too old for it or for {LIBRARY}",
    "Update the board's kernel with its rknpu driver, or use a library that fits it.",
)
_NO_NODE = _Refusal(
    DeviceMismatch,
    "the NPU cannot be opened",
    "Give the pod its device node (/dev/dri/renderD129, of the group render), and see that the "
    "kernel has the rknpu driver.",
)
_REFUSALS: Mapping[str, _Refusal] = {
    "RKNN_ERR_DEVICE_UNMATCH": _OLD_DRIVER,
    "RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL": _OLD_DRIVER,
    "RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION": _OLD_DRIVER,
    "RKNN_ERR_DEVICE_UNAVAILABLE": _NO_NODE,
    # The function that looks for the node, in the trace of an error without a message.
    "_check_container": _NO_NODE,
    "RKNN_ERR_TARGET_PLATFORM_UNMATCH": _Refusal(
        DeviceMismatch,
        "it was made for another chip",
        "Convert the model for this one, or use its files.",
    ),
    "RKNN_ERR_MODEL_INVALID": _Refusal(
        BackendUnavailable,
        f"{LIBRARY} does not take it",
        f"Put a {LIBRARY} there that is not older than the toolkit, or convert the model anew.",
    ),
    "RKNN_ERR_MALLOC_FAIL": _Refusal(
        NpuMemoryFull,
        "the NPU has no memory left for it",
        "Stop what else uses the NPU, or choose a smaller model or precision int8.",
    ),
    "Can not find dynamic library": _Refusal(
        BackendUnavailable,
        f"{LIBRARY} is not there",
        "Put Rockchip's library there, or let the device plugin mount the node's "
        "(docs/pools.md says how).",
    ),
}


def _refusal(said: str, name: str, file: RknnFile) -> StartError:
    """Translate what the library logged."""
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "no reason")
    unknown = _Refusal(BackendUnavailable, f"the library says: {last.strip()[:200]}", "")
    why = next((each for sign, each in _REFUSALS.items() if sign in said), unknown)
    return why.kind(
        f"{name} (rknn-toolkit2 {file.version}) cannot be loaded: {why.found}.",
        remedy=why.remedy,
        file=name,
    )


def _versions(text: str) -> NpuVersions:
    """Read the library's answer, lines such as `  API: 2.3.2 (429f97ae6b@...)`."""
    said = dict(re.findall(r"^\s*(API|DRV): (.*)$", text, re.MULTILINE))
    return NpuVersions(said.get("API", "").strip(), said.get("DRV", "").strip())


def _numbers(text: str) -> tuple[int, ...]:
    """Return major and minor: files go with every library of theirs."""
    found = re.match(r"(\d{1,6})\.(\d{1,6})", text)
    return tuple(map(int, found.groups())) if found else (0, 0)
