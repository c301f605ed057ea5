"""The limit: the best pipeline in one process, without gRPC, run as a process of its own.

Same decode, same sessions, same batch cap as the server: decode threads feed the model threads that
take what is there, up to the cap. Texts are tokenised by one thread between batches. `bare` is
the engine's own library alone, on batches of floats that are there already: no decode, no
normalising, no code of ours. Commands come as JSON lines on stdin, figures go to stdout.
"""

import argparse
import json
import queue
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import openvino

from lumen_cli.bench import drawn_jpeg
from lumen_manifest.server_config import ServerConfig
from lumen_resources.fetch.fetch import open_verified
from lumen_serving.backends.base import BackendSettings, load_backend
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.text import Tokenizer
from lumen_serving.settings import ServerSettings

TEXT = "a photo of a red boat on a lake, number"


class Pipeline:
    """Decode threads and a model thread for each slot over an endless supply of the same JPEG."""

    def __init__(self, config: Path, cache: Path, threads: int, cap: int, decoders: int) -> None:
        loaded = ServerConfig.load(config)
        self.model = open_verified(loaded, cache, cache)
        self.backend = load_backend("onnx", loaded, ServerSettings.from_environment())
        self.backend.load(self.model, BackendSettings(loaded.accelerator, threads))
        self.jpeg = drawn_jpeg(1024, 768)
        self.cap = cap
        self.decoders = decoders
        self.threads = threads
        self.tokenizer = Tokenizer.load(self.model)
        self.bare_run: Callable[[np.ndarray], object] | None = None

    def decode(self) -> np.ndarray:
        return decode_rgb(self.jpeg, "image/jpeg", self.model.preprocess)

    def throughput(self, seconds: float) -> dict[str, float]:
        """Pictures a second through the whole pipeline, and its CPU seconds."""
        # As much ahead as a client with 32 calls in flight keeps in a server.
        ready: queue.Queue[np.ndarray] = queue.Queue(maxsize=32)
        stop = threading.Event()

        def decode_on() -> None:
            while not stop.is_set():
                picture = self.decode()
                while not stop.is_set():
                    try:
                        ready.put(picture, timeout=0.1)
                        break
                    except queue.Full:
                        continue

        def run_on() -> float:
            """Batches one after the other, as an engine's thread does it; items a second."""
            start_s, done = time.perf_counter(), 0
            while (elapsed_s := time.perf_counter() - start_s) < seconds:
                done += self._batch(ready)
            return done / elapsed_s

        threads = [threading.Thread(target=decode_on) for _ in range(self.decoders)]
        for thread in threads:
            thread.start()
        self._batch(ready)
        slots = self.backend.slots
        start_s, cpu_s = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(slots) as engine:
            per_second = sum(
                each.result() for each in [engine.submit(run_on) for _ in range(slots)]
            )
        elapsed_s = time.perf_counter() - start_s
        cpu_s = time.process_time() - cpu_s
        stop.set()
        for thread in threads:
            thread.join()
        return {"per_second": per_second, "cpu_s": cpu_s, "seconds": elapsed_s}

    def _batch(self, ready: "queue.Queue[np.ndarray]") -> int:
        batch = [ready.get()]
        while len(batch) < self.cap:
            try:
                batch.append(ready.get_nowait())
            except queue.Empty:
                break
        return len(self.backend.embed_images(np.stack(batch)))

    def texts(self, seconds: float) -> dict[str, float]:
        """Texts a second through tokenising and model, in batches of 8, and its CPU seconds."""
        texts = [f"{TEXT} {i}" for i in range(8)]

        def run() -> None:
            self.backend.embed_texts(self.tokenizer.encode(texts)[0])

        return repeated(run, len(texts), seconds)

    def bare(self, seconds: float) -> dict[str, float]:
        """Pictures a second through the engine's own library alone, in batches of 8 or more."""
        side = self.model.preprocess.size
        count = max(8, self.cap)
        pixels = np.random.default_rng(0).standard_normal((count, 3, side, side), np.float32)
        if self.bare_run is None:
            report = self.backend.report()
            make = {"openvino": bare_openvino, "onnxruntime": bare_onnxruntime}[report.runtime]
            graph = str(self.model.files.vision)
            self.bare_run = make(graph, self.threads, report.precision)
        run = self.bare_run
        return repeated(lambda: run(pixels), count, seconds)

    def single(self, seconds: float) -> dict[str, float]:
        """Median milliseconds of one decode and of one model run, one after the other."""
        decode_ms, model_ms = [], []
        end_s = time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            a = time.perf_counter()
            picture = self.decode()
            b = time.perf_counter()
            self.backend.embed_images(picture[None])
            decode_ms.append((b - a) * 1000)
            model_ms.append((time.perf_counter() - b) * 1000)
        return {
            "decode_ms": statistics.median(decode_ms),
            "model_ms": statistics.median(model_ms),
            "both_ms": statistics.median(a + b for a, b in zip(decode_ms, model_ms, strict=True)),
        }


def repeated(run: Callable[[], object], items: int, seconds: float) -> dict[str, float]:
    run()
    start_s, cpu_s, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start_s < seconds:
        run()
        done += items
    elapsed_s = time.perf_counter() - start_s
    return {
        "per_second": done / elapsed_s,
        "cpu_s": time.process_time() - cpu_s,
        "seconds": elapsed_s,
    }


def bare_onnxruntime(graph: str, threads: int, precision: str) -> Callable[[np.ndarray], object]:
    """ONNX Runtime as its documentation shows it, with as many threads."""
    del precision
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {name: pixels})


def bare_openvino(graph: str, threads: int, precision: str) -> Callable[[np.ndarray], object]:
    """OpenVINO as its documentation shows it, with as many threads and this precision."""
    hints = {
        # All threads on the one batch that is asked for at a time.
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16"}.get(precision, "f32"),
    }
    return openvino.compile_model(graph, "CPU", hints)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cap", type=int, required=True)
    parser.add_argument("--decoders", type=int, required=True)
    options = parser.parse_args()
    pipeline = Pipeline(
        options.config, options.cache, options.threads, options.cap, options.decoders
    )
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        run = getattr(pipeline, command["do"])
        print(json.dumps(run(command["seconds"])), flush=True)


if __name__ == "__main__":
    main()
