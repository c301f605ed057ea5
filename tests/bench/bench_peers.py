"""Lumen beside clip-as-service and Infinity: the same pictures, cores and minute, in turn.

    python tests/bench/bench_peers.py --rounds 3

ViT-B/32 with random weights behind each; JPEGs of 1024x768, 32 in flight over the loopback, each
server asked by its own client or API. Each peer lives in an environment of its own, installed once
from tests/bench/peers/*.txt into the folder of results. All servers are up; in each round each is
asked in turn, so that a change of the machine's speed meets all of them. Beside each precision of
Lumen stands what its engine's bare library makes of tensors that are there already: no server of
that precision can do more on this processor.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import bench_serving as serving
import vit_model
from ports import free_ports
from processes import processor

from lumen_cli.bench import drawn_jpeg
from lumen_cli.bench.report import summarise

PEERS = Path(__file__).with_name("peers")
IN_FLIGHT = 32
READY_WITHIN_S = 300
# From a name to what answers so many pictures a second.
Contestants = dict[str, Callable[[float], float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("bench-results"))
    options = parser.parse_args()
    folder = options.folder.resolve()
    cores = set(sorted(os.sched_getaffinity(0))[: options.cores])
    os.sched_setaffinity(0, cores)
    source = vit_model.write_model(folder / "source", serving.say)
    picture = folder / "picture.jpg"
    picture.write_bytes(drawn_jpeg(1024, 768))
    with ExitStack() as stack:
        contestants: Contestants = {}
        for precision in ("fp32", "bf16", "int8"):
            plan = serving.Plan(len(cores), 1, options.seconds, folder / f"lumen-{precision}")
            plan.folder.mkdir(parents=True, exist_ok=True)
            contestants |= stack.enter_context(lumen(plan, source, cores, precision))
        contestants |= stack.enter_context(clip_as_service(folder, source, picture))
        contestants |= stack.enter_context(infinity(folder, picture))
        rates = measure(contestants, options.rounds, options.seconds)
    medians = {name: round(statistics.median(each), 2) for name, each in rates.items()}
    results = {
        "machine": {"processor": processor(), "cores": len(cores)},
        "pictures_per_second": medians,
        "rounds": {name: [round(rate, 2) for rate in each] for name, each in rates.items()},
    }
    (folder / "peers.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def measure(contestants: Contestants, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Ask each in turn, round after round."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        serving.say(f"round {number + 1} of {rounds}")
        for name, ask in contestants.items():
            rates[name].append(ask(seconds))
            serving.say(f"  {name:28} {rates[name][-1]:6.1f} pictures a second")
    return rates


@contextmanager
def lumen(
    plan: serving.Plan, source: Path, cores: set[int], precision: str
) -> Iterator[Contestants]:
    """Lumen's server of this precision, asked through its router, and its engine's bare library."""
    cache = plan.folder / "cache"
    with (
        serving.a_server(plan, source, cache, cores, {}, precision) as server,
        serving.a_router(plan, server, "router") as router,
        serving.a_limit(plan, cache, server, cores) as limit,
    ):

        def ask(seconds: float) -> float:
            report = summarise(serving.run(serving.load(router, IN_FLIGHT, seconds)))
            return report.answered / report.seconds

        yield {
            f"lumen {precision}": ask,
            f"its engine alone, {precision}": lambda s: limit.ask("bare", s)["per_second"],
        }


@contextmanager
def clip_as_service(folder: Path, source: Path, picture: Path) -> Iterator[Contestants]:
    """Its ONNX server with the same graphs, by its own client: a picture a call, and eight."""
    python = environment(folder, "clip-as-service")
    model = folder / "clip-as-service-model"
    model.mkdir(exist_ok=True)
    for theirs, ours in (("visual.onnx", "vision.fp32.onnx"), ("textual.onnx", "text.fp32.onnx")):
        (model / theirs).unlink(missing_ok=True)
        (model / theirs).symlink_to(source / "onnx" / ours)
    (port,) = free_ports(1)
    flow = folder / "clip-as-service.yml"
    encoder = {
        "name": "clip",
        "uses": {
            "jtype": "CLIPEncoder",
            "with": {"name": "ViT-B-32::openai", "model_path": str(model)},
            "metas": {"py_modules": ["clip_server.executors.clip_onnx"]},
        },
        "timeout_ready": READY_WITHIN_S * 1000,
    }
    # JSON is YAML.
    flow.write_text(
        json.dumps(
            {
                "jtype": "Flow",
                "version": "1",
                "with": {"port": port, "host": "127.0.0.1"},
                "executors": [encoder],
            }
        )
    )
    asks = str(PEERS / "ask_clip_as_service.py")
    address = f"grpc://127.0.0.1:{port}"

    def asking(in_flight: int, batch: int) -> Callable[[float], float]:
        return lambda seconds: asked(
            [python, asks, address, picture, in_flight, batch, seconds], python
        )

    command = [python, "-m", "clip_server", flow]
    with peer(folder / "clip-as-service.log", command, python) as (log, process):
        wait(process, lambda: "ready to serve" in log.read_text(errors="replace"))
        yield {
            "clip-as-service": asking(IN_FLIGHT, 1),
            "clip-as-service, 4 x 8": asking(IN_FLIGHT // 8, 8),
        }


@contextmanager
def infinity(folder: Path, picture: Path) -> Iterator[Contestants]:
    """Its torch server with a random ViT-B/32, by its HTTP API."""
    python = environment(folder, "infinity")
    model = folder / "infinity-model"
    if not (model / "tokenizer_config.json").exists():
        serving.say(f"making a random CLIP for Infinity in {model}")
        subprocess.run([python, PEERS / "random_clip.py", model], check=True)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [
        *(python.with_name("infinity_emb"), "v2", "--model-id", model),
        *("--engine", "torch", "--device", "cpu", "--host", "127.0.0.1", "--port", port),
    ]
    with peer(folder / "infinity.log", command, python) as (_, process):
        wait(process, lambda: answers(f"{url}/health"))
        asks = [sys.executable, PEERS / "ask_infinity.py", url, model, picture]
        yield {
            "Infinity": lambda seconds: asked([*asks, IN_FLIGHT, 1, seconds], python),
            "Infinity, 4 x 8": lambda seconds: asked([*asks, IN_FLIGHT // 8, 8, seconds], python),
        }


def environment(folder: Path, name: str) -> Path:
    """Install a peer's lock into an environment of its own, once; return its Python."""
    place, lock = folder / "peers" / name, PEERS / f"{name}.txt"
    python, stamp = place / "bin" / "python", place / "installed.txt"
    if not stamp.exists() or stamp.read_text() != lock.read_text():
        serving.say(f"installing {name} into {place}: some gigabytes, once")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
        uv = Path(sys.executable).with_name("uv")
        subprocess.run(
            [uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", lock], check=True
        )
        stamp.write_text(lock.read_text())
    return python


@contextmanager
def peer(
    path: Path, command: list[Any], python: Path
) -> Iterator[tuple[Path, "subprocess.Popen[bytes]"]]:
    """Run a peer's server in a session of its own, and end all of it with the block."""
    with path.open("wb") as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=log,
            stderr=log,
            env=quiet(python),
            start_new_session=True,
        )
    try:
        yield path, process
    finally:
        # Its workers are processes of its session, which this bench began.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(subprocess.TimeoutExpired, ProcessLookupError):
                os.killpg(process.pid, number)
                process.wait(20)


def quiet(python: Path) -> dict[str, str]:
    """The environment of a peer: its own programs first, and nobody is asked over the network."""
    return os.environ | {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "NO_VERSION_CHECK": "1",
        "JINA_HIDE_SURVEY": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    }


def wait(process: "subprocess.Popen[bytes]", ready: Callable[[], bool]) -> None:
    """Wait until a peer is ready; its log says why it is not."""
    ends_s = time.monotonic() + READY_WITHIN_S
    while not ready():
        if process.poll() is not None or time.monotonic() > ends_s:
            raise SystemExit(f"{process.args} did not get ready; its log is in the results")
        time.sleep(0.5)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def asked(command: list[Any], python: Path) -> float:
    """Run a client; return pictures a second."""
    ended = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        env=quiet(python),
        check=True,
        timeout=600,
    )
    line = json.loads(ended.stdout.decode().strip().splitlines()[-1])
    return float(line["answered"] / line["seconds"])


if __name__ == "__main__":
    main()
