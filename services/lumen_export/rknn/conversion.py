"""Converts an ONNX tower to an RKNN file, and says how near the simulated NPU comes to it.

The toolkit runs as a process of its own environment: a job goes in as JSON, an answer comes out,
and whatever it leaves in its folder or in its memory is gone with it.
"""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from lumen_export.errors import ExportRefused
from lumen_export.rknn.toolkit import VERSION, RknnToolkit, Say
from lumen_manifest.spec.enums import Precision
from lumen_process.device_tree import ROCKCHIP

WORKER = Path(__file__).with_name("worker.py")
# ViT-B/32 takes a quarter of a minute; a large model in int8 with many pictures some more.
LIMIT_S = 3600
_PRECISIONS = (Precision.FP16, Precision.INT8)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_MAX_SAID = 200


@dataclass(frozen=True, slots=True)
class RknnConversion:
    """What to convert.

    `onnx` is a tower with one input, float32 [N, 3, S, S] or token ids [N, L]. `probes` are items
    that are simulated: uint8 [N, S, S, 3] or int64 [N, L], as `calibration` is, which int8 needs.
    With `mean` and `std`, for values in 0..1, the NPU normalises, and the file takes bytes.
    """

    onnx: Path
    out: Path
    probes: NDArray[np.generic]
    target: str = "rk3588"
    precision: Precision = Precision.FP16
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    calibration: NDArray[np.generic] | None = None


@dataclass(frozen=True, slots=True)
class RknnReport:
    """What came of it.

    `vectors` are float32 [N, dim] of the probes on the simulated NPU, as the graph gives them;
    `cosines` are theirs to onnxruntime's on the same graph in fp32.
    """

    toolkit: str
    vectors: NDArray[np.float32]
    cosines: tuple[float, ...]
    convert_s: float
    simulate_s: float
    bytes: int

    @property
    def worst(self) -> float:
        """The least of the cosines."""
        return min(self.cosines)


def convert(job: RknnConversion, toolkit: RknnToolkit, say: Say) -> RknnReport:
    """Convert and simulate; `say` hears each step.

    Raises ExportRefused when the toolkit does not take the graph; there is no file then.
    """
    _refuse_unknown(job)
    with TemporaryDirectory(prefix="lumen-rknn-") as place:
        folder = Path(place)
        made = folder / "made.rknn"
        answer = _answer(_written(job, folder, made), toolkit, folder, say)
        vectors = np.load(folder / "vectors.npy")
        made_bytes = made.stat().st_size
        job.out.parent.mkdir(parents=True, exist_ok=True)
        _move(made, job.out)
    cosines = tuple(float(each) for each in answer["cosines"])  # type: ignore[attr-defined]
    return RknnReport(
        toolkit=VERSION,
        vectors=vectors.astype(np.float32, copy=False),
        cosines=cosines,
        convert_s=float(str(answer["convert_s"])),
        simulate_s=float(str(answer["simulate_s"])),
        bytes=made_bytes,
    )


def _refuse_unknown(job: RknnConversion) -> None:
    if job.target not in ROCKCHIP:
        raise ExportRefused(
            f"{job.target} is not a chip that RKNN files are made for.",
            remedy=f"Choose one of {', '.join(ROCKCHIP)}.",
        )
    if job.precision not in _PRECISIONS:
        raise ExportRefused(
            f"An NPU computes in {' or '.join(_PRECISIONS)}, not in {job.precision.value}.",
            remedy="Choose one of these.",
        )
    if (job.precision is Precision.INT8) != (job.calibration is not None):
        raise ExportRefused(
            "int8 needs items to calibrate with, and no other precision takes any.",
            remedy="Name pictures or texts like those that the model will see.",
        )
    if len(job.mean) != len(job.std) or len(job.mean) not in {0, 3}:
        raise ExportRefused(
            "mean and std are given for each of the three channels, or both left out.",
            remedy="Take the model's own.",
        )


def _written(job: RknnConversion, folder: Path, made: Path) -> Path:
    """Write the job and the arrays that it names; return its place."""
    arrays = {"probes": job.probes, "calibration": job.calibration}
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
    text = json.dumps(
        {
            "onnx": str(job.onnx.resolve()),
            "out": str(made),
            "target": job.target,
            "mean": [*job.mean],
            "std": [*job.std],
            "probes": str(folder / "probes.npy"),
            "calibration": str(folder / "calibration.npy") if job.calibration is not None else "",
            "vectors": str(folder / "vectors.npy"),
        }
    )
    place = folder / "job.json"
    place.write_text(text, "utf-8")
    return place


def _answer(job: Path, toolkit: RknnToolkit, folder: Path, say: Say) -> Mapping[str, object]:
    """Run the worker to its end; the toolkit's own words are kept for the error only."""
    answer, said = folder / "answer.json", folder / "said.txt"
    # It writes beside itself what it was asked for and more, and would take a GPU.
    environment = {**os.environ, "TMPDIR": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTHONPATH", None)
    with (
        said.open("wb") as words,
        subprocess.Popen(  # noqa: S603 - our own script
            [str(toolkit.python), "-I", str(WORKER), str(job), str(answer)],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=words, text=True, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        watch = threading.Timer(LIMIT_S, _end, [process])
        watch.daemon = True
        watch.start()
        try:
            assert process.stdout is not None, "it was asked for"
            for step in process.stdout:
                say(step.strip()[:_MAX_SAID])
            code = process.wait()
        finally:
            watch.cancel()
            _end(process)
    if code != 0 or not answer.is_file():
        raise ExportRefused(
            f"rknn-toolkit2 {VERSION} did not convert {_name(job)}: {_last_words(said, code)}",
            remedy="Export the graph anew with another opset, or choose another model.",
        )
    document: Mapping[str, object] = json.loads(answer.read_text("utf-8"))
    return document


def _end(process: "subprocess.Popen[str]") -> None:
    """End the worker and what it started, when it has not ended by itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _name(job: Path) -> str:
    return Path(json.loads(job.read_text("utf-8"))["onnx"]).name


def _last_words(said: Path, code: int) -> str:
    """Return the last line that says something, without colours."""
    if code == -signal.SIGKILL:
        return f"it was ended, after {LIMIT_S // 60} minutes or for want of memory."
    with said.open("rb") as file:
        file.seek(max(0, said.stat().st_size - 8192))
        text = _COLOURS.sub("", file.read().decode("utf-8", "replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else f"it ended with {code}")[:_MAX_SAID]


def _move(made: Path, out: Path) -> None:
    """Move a finished file into place, over file systems too."""
    beside = out.with_name(f".{out.name}.part")
    try:
        beside.write_bytes(made.read_bytes())
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
