"""What is tried in the emulated board: the backend on Rockchip's real wheel, with real files.

    on_board.py MODEL_FOLDER WORK_FOLDER

Prints what it finds, a line each; ends with 1 when one of them is not as it must be.
"""

import os
import platform
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Accelerator
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.progress import Progress
from lumen_serving.backends.base import BackendSettings
from lumen_serving.backends.rknn import RknnBackend
from lumen_serving.errors import StartError
from lumen_serving.graphs.ports import RunFailed

ROOT, WORK = Path(sys.argv[1]), Path(sys.argv[2])
NPU = BackendSettings(accelerator=Accelerator.RK3588, threads=2)
FAILED = []


def found(what: str, value: object, *, good: bool) -> None:
    print(f"{'ok ' if good else 'BAD'} {what}: {value}", flush=True)
    if not good:
        FAILED.append(what)


def the_model():
    source = {"uri": f"file://{ROOT}"}
    model = {"name": ROOT.name, "runtime": "rknn", "precision": "fp16", "source": source}
    config = ServerConfig.model_validate(
        {"service": "clip", "family": "clip", "model": model, "accelerator": "rk3588"}
    )
    return fetch_and_verify(config, WORK / "cache", WORK, Progress())


def loaded(model):
    backend = RknnBackend()
    backend.load(model, NPU)
    return backend


def refusal(model, **variables):
    os.environ.update(variables)
    try:
        loaded(model).close()
    except StartError as error:
        return f"{error.reason.value}: {error}"
    finally:
        for name in variables:
            del os.environ[name]
    return "it was loaded"


def main() -> int:
    found("machine", platform.machine(), good=platform.machine() == "aarch64")
    wheel = version("rknn-toolkit-lite2")
    found("wheel", f"rknn-toolkit-lite2 {wheel}", good=True)
    model = the_model()
    side, dim = model.preprocess.size, model.embedding_dim
    backend = loaded(model)
    report = backend.report()
    found("report", report, good=report.device == "rk3588" and report.details["driver"] == "0.9.8")
    found("slots", backend.slots, good=backend.slots == 3)

    pictures = np.random.default_rng(0).integers(0, 256, (6, side, side, 3), dtype=np.uint8)
    alone = np.concatenate([backend.embed_images(each[None]) for each in pictures])
    found("pictures", alone.shape, good=alone.shape == (6, dim))
    found("pictures differ", True, good=len({row.tobytes() for row in alone}) == 6)
    answers = {}

    def embed(number):
        answers[number] = backend.embed_images(pictures[number : number + 1])

    threads = [threading.Thread(target=embed, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = np.concatenate([answers[number] for number in range(6)])
    same = together.tobytes() == alone.tobytes()
    found("six threads on three cores give the same bytes", same, good=same)
    texts = backend.embed_texts(np.ones((2, model.context_length), np.int64))
    found("texts", texts.shape, good=texts.shape == (2, dim))

    os.environ["RT_RUN"] = "-1"
    try:
        backend.embed_images(pictures[:1])
        found("a run that fails", "gave a vector", good=False)
    except RunFailed as error:
        found("a run that fails", f"{error}: {error.__cause__}", good=True)
    del os.environ["RT_RUN"]
    again = backend.embed_images(pictures[:1]).tobytes() == alone[:1].tobytes()
    found("the core serves on", again, good=again)
    backend.close()

    for what, variables, reason in (
        ("a driver that is too old", {"RT_INIT": "-10"}, "DriverMismatch"),
        ("no NPU", {"RT_INIT": "-3"}, "DeviceMismatch"),
        ("a damaged file", {"RT_INIT": "-6"}, "RuntimeUnavailable"),
        ("no memory", {"RT_INIT": "-4"}, "RuntimeUnavailable"),
        ("an older library", {"RT_API": "1.6.0 (a double)"}, "DriverMismatch"),
    ):
        said = refusal(model, **variables)
        found(what, said, good=said.startswith(reason))
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
