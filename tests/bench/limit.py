"""The limit: the best pipeline in one process, without gRPC, run as a process of its own.

Same decode, same session, same batch cap as the server: decode threads feed one model thread that
takes what is there, up to the cap. Commands come as JSON lines on stdin, figures go to stdout.
"""

import argparse
import json
import queue
import statistics
import sys
import threading
import time
from pathlib import Path

import numpy as np

from lumen_cli.bench import drawn_jpeg
from lumen_manifest.server_config import ServerConfig
from lumen_resources.fetch.fetch import open_verified
from lumen_serving.backends.base import BackendSettings, load_backend
from lumen_serving.media.images import decode_rgb
from lumen_serving.settings import ServerSettings


class Pipeline:
    """Decode threads and one model thread over an endless supply of the same JPEG."""

    def __init__(self, config: Path, cache: Path, threads: int, cap: int, decoders: int) -> None:
        loaded = ServerConfig.load(config)
        self.model = open_verified(loaded, cache, cache)
        self.backend = load_backend("onnx", loaded, ServerSettings.from_environment())
        self.backend.load(self.model, BackendSettings(loaded.accelerator, threads))
        self.jpeg = drawn_jpeg(1024, 768)
        self.cap = cap
        self.decoders = decoders

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

        threads = [threading.Thread(target=decode_on) for _ in range(self.decoders)]
        for thread in threads:
            thread.start()
        self._batch(ready)
        start_s, cpu_s, done = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - start_s < seconds:
            done += self._batch(ready)
        elapsed_s = time.perf_counter() - start_s
        cpu_s = time.process_time() - cpu_s
        stop.set()
        for thread in threads:
            thread.join()
        return {"per_second": done / elapsed_s, "cpu_s": cpu_s, "seconds": elapsed_s}

    def _batch(self, ready: "queue.Queue[np.ndarray]") -> int:
        batch = [ready.get()]
        while len(batch) < self.cap:
            try:
                batch.append(ready.get_nowait())
            except queue.Empty:
                break
        return len(self.backend.embed_images(np.stack(batch)))

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
        run = {"throughput": pipeline.throughput, "single": pipeline.single}[command["do"]]
        print(json.dumps(run(command["seconds"])), flush=True)


if __name__ == "__main__":
    main()
