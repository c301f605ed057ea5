"""What gRPC, batching and the router cost, beside the limit of the same machine in the same run.

    python tests/bench/bench_serving.py --cores 2 --pairs 5
    python tests/bench/bench_serving.py --engines onnxruntime,openvino --precisions fp32,bf16,int8

A ViT-B/32-sized ONNX model with random weights, JPEGs of 1024x768, short texts. Limit and server
run in turn, pair by pair; each engine and precision has its own of both, and beside them the
engine's bare library. `of_best` is each server, asked through its router with 32 in flight, beside
the best limit of any engine in that precision.
The load generator shares the cores with what it measures, so its CPU is measured and given back:
ratio = (server answers / CPU seconds left to the server) / (limit pictures / CPU seconds left to
the limit), where left = cores * seconds - the generator's CPU seconds.
On a machine whose host takes its time away (steal), wall-clock figures say little; the ratio by CPU
(the limit's CPU milliseconds a picture / the server's) holds there too.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import uvloop
import vit_model
from limit import TEXT
from processes import Served, processor, served
from router_processes import write_routes
from router_world import a_service

from lumen_cli.bench import drawn_jpeg
from lumen_cli.bench.load import Load, Run, run_load
from lumen_cli.bench.report import percentile, summarise
from lumen_wire.pb import ml_service_pb2 as pb

IN_FLIGHT = (1, 8, 32)


@dataclass
class Plan:
    """How much to measure."""

    cores: int
    pairs: int
    seconds: float
    folder: Path
    ways: tuple[tuple[str, str], ...] = (("openvino", "fp32"),)
    fake_delay_ms: float = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--folder", type=Path, default=Path("bench-results"))
    parser.add_argument("--engines", default="openvino", help="separated by commas")
    parser.add_argument("--precisions", default="fp32", help="separated by commas")
    options = parser.parse_args()
    engines, precisions = options.engines.split(","), options.precisions.split(",")
    ways = tuple(way for way in product(engines, precisions) if way not in NOT_COMPUTED)
    folder = options.folder.resolve()
    plan = Plan(options.cores, options.pairs, options.seconds, folder, ways)
    cores = set(sorted(os.sched_getaffinity(0))[: plan.cores])
    os.sched_setaffinity(0, cores)
    cache = plan.folder / "cache"
    source = vit_model.write_model(plan.folder / "source", say)
    results = {
        "machine": {"processor": processor(), "cores": len(cores), "python": sys.version.split()[0]}
    }
    stolen = steal_s()
    began_s = time.monotonic()
    results["ways"] = {}
    for engine, precision in plan.ways:
        with ExitStack() as stack:
            way = f"{engine} {precision}"
            say(way)
            server = stack.enter_context(
                a_server(plan, source, cache, cores, {}, precision, engine)
            )
            limit = stack.enter_context(a_limit(plan, cache, server, cores))
            router = stack.enter_context(a_router(plan, server, "router-vit"))
            found = {"model": model_figures(server, source)}
            found |= compare_with_limit(plan, server, router, limit)
            found["texts"] = compare_texts(plan, server, limit)
            results["ways"][way] = found
            if (engine, precision) == plan.ways[0]:
                rate = 0.3 * found["throughput"]["32"]["per_second"]
                results["router_before_vit"] = compare_with_router(plan, server, router, rate)
    results["of_best"] = of_best(results["ways"])
    with ExitStack() as stack:
        fake = {"LUMEN_BACKEND": "fake", "LUMEN_FAKE_DELAY_MS": str(plan.fake_delay_ms)}
        server = stack.enter_context(a_server(plan, source, cache, cores, fake))
        router = stack.enter_context(a_router(plan, server, "router-fake"))
        results["router_idle_rss_mib"] = round(router.rss_mib(), 1)
        saturation = summarise(run(load(router, 32, plan.seconds))).per_second
        results["router_before_fake"] = compare_with_router(plan, server, router, 0.3 * saturation)
        results["router_before_fake"]["saturation_per_second"] = round(saturation, 1)
    share = (steal_s() - stolen) / ((time.monotonic() - began_s) * (os.cpu_count() or 1))
    results["machine"]["steal_share"] = round(share, 3)
    path = plan.folder / f"serving-{len(cores)}-cores.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))
    say(f"wrote {path}")


# ONNX Runtime has no kernels in bf16 on CPUs; OpenVINO takes products of integers apart, which
# takes so long that there is nothing to compare.
NOT_COMPUTED = {("onnxruntime", "bf16"), ("openvino", "int8")}
ROUTED_32 = "32 routed"
ROUTED = "lumen_router_requests_total"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def steal_s() -> float:
    """Seconds, over all cores, that the host gave to others while something here wanted to run."""
    return float(psutil.cpu_times().steal)


@contextmanager
def a_server(
    plan: Plan,
    source: Path,
    cache: Path,
    cores: set[int],
    more: dict[str, str],
    precision: str = "fp32",
    engine: str = "",
) -> Iterator[Served]:
    """A model server of the random ViT on these cores."""
    config = plan.folder / "server.json"
    config.write_text(json.dumps(server_config(source, precision, engine)))
    env = {
        "LUMEN_CONFIG": str(config),
        "LUMEN_CACHE_DIR": str(cache),
        "LUMEN_SOURCE_DIR": str(source.parent),
        "LUMEN_CPU_LIMIT": str(len(cores)),
        **more,
    }
    with served("lumen_serving", env, plan.folder / "run", first="lumen_resources") as one:
        yield one


def server_config(source: Path, precision: str = "fp32", engine: str = "") -> dict[str, Any]:
    return {
        "service": "clip",
        "namespace": "default",
        "family": "clip",
        "model": {
            "name": vit_model.NAME,
            "runtime": "onnx",
            "precision": precision,
            **({"engine": engine} if engine else {}),
            "source": {"uri": f"file://{source}"},
        },
        "labelSets": [{"name": "classes"}],
        "accelerator": "cpu",
    }


@contextmanager
def a_router(plan: Plan, server: Served, name: str) -> Iterator[Served]:
    """A router in front of that server."""
    folder = plan.folder / name
    folder.mkdir(exist_ok=True)
    routes = write_routes(folder, [a_service()], clip=[server.grpc_port])
    with served("lumen_router", {"LUMEN_ROUTES_FILE": str(routes)}, folder) as one:
        yield one


class Limit:
    """The in-process pipeline, in a process of its own; it answers one command at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, what: str, seconds: float) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def a_limit(plan: Plan, cache: Path, server: Served, cores: set[int]) -> Iterator[Limit]:
    """The limit with the server's own cap."""
    process = subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).with_name("limit.py")),
            *("--config", str(plan.folder / "server.json"), "--cache", str(cache)),
            *("--threads", str(len(cores)), "--decoders", str(len(cores))),
            *("--cap", str(image_cap(server))),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        json.loads(process.stdout.readline())
        yield Limit(process)
    finally:
        process.stdin.close()
        process.wait(60)


def image_cap(server: Served) -> int:
    """The cap that the server's warm-up measured for pictures."""
    return int(server.status()["batches"]["image"]["cap"])


def model_figures(server: Served, source: Path) -> dict[str, Any]:
    files = "int8" if server.status()["runtime"]["precision"] == "int8" else "fp32"
    weights = (source / "onnx").glob(f"*.{files}.onnx")
    weights_mib = sum(path.stat().st_size for path in weights) / 2**20
    rss_mib = server.rss_mib()
    return {
        "cap": image_cap(server),
        "weights_mib": round(weights_mib, 1),
        "server_rss_mib": round(rss_mib, 1),
        "above_weights_mib": round(rss_mib - weights_mib, 1),
    }


def load(
    target: Served,
    in_flight: int,
    seconds: float,
    rate: float | None = None,
    bodies: tuple[bytes, ...] = (),
) -> Load:
    return Load(
        target=target.address,
        requests=bodies or (request("image_embed", drawn_jpeg(1024, 768), "image/jpeg"),),
        concurrency=in_flight,
        rate=rate,
        duration_s=seconds,
        # A closed warm-up loop would fill the queues before an open loop.
        warmup_s=1.0 if rate is None else 0.0,
    )


def request(task: str, payload: bytes, mime: str) -> bytes:
    return pb.InferRequest(
        correlation_id="bench",
        task=task,
        payload=payload,
        payload_mime=mime,
        meta={"vector": "f32le"},
    ).SerializeToString()


def run(what: Load) -> Run:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_load(what))


def of_best(ways: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Each server's ratio at 32 in flight, had its limit been the best one of its precision."""
    best: dict[str, float] = {}
    for way, found in ways.items():
        precision = way.partition(" ")[2]
        rate = found["throughput"][ROUTED_32]["limit_per_second"]
        best[precision] = max(best.get(precision, 0.0), rate)
    return {
        way: round(
            found["throughput"][ROUTED_32]["ratio"]
            * found["throughput"][ROUTED_32]["limit_per_second"]
            / best[way.partition(" ")[2]],
            3,
        )
        for way, found in ways.items()
    }


def compare_with_limit(plan: Plan, server: Served, router: Served, limit: Limit) -> dict[str, Any]:
    """Throughput and latency over gRPC beside the limit, in interleaved pairs."""
    asked = {**{str(n): (server, n) for n in IN_FLIGHT}, ROUTED_32: (router, 32)}
    pairs: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
    singles: list[float] = []
    bare: list[dict[str, float]] = []
    for pair in range(plan.pairs):
        best = limit.ask("throughput", plan.seconds)
        bare.append(limit.ask("bare", plan.seconds / 2))
        alone = limit.ask("single", plan.seconds / 2)
        say(f"pair {pair + 1} of {plan.pairs}: limit {best['per_second']:.1f} a second")
        for name, (target, n) in asked.items():
            figures = one_load(plan, server, n, target=target)
            left_s = plan.cores * figures["seconds"] - figures["generator_cpu_s"]
            figures["ratio"] = (figures["answered"] / left_s) / (best["per_second"] / plan.cores)
            figures["raw_ratio"] = figures["per_second"] / best["per_second"]
            figures["limit_per_second"] = best["per_second"]
            figures["limit_cpu_ms_a_picture"] = cpu_ms(best)
            figures["cpu_ratio"] = cpu_ms(best) / figures["server_cpu_ms_an_item"]
            figures["bare_cpu_ratio"] = cpu_ms(bare[-1]) / figures["server_cpu_ms_an_item"]
            pairs[name].append(figures)
            say(
                f"  {name:>9} in flight: {figures['per_second']:.1f} a second, "
                f"p50 {figures['p50']:.1f} ms, ratio {figures['ratio']:.3f}, "
                f"by CPU {figures['cpu_ratio']:.3f}"
            )
        singles.append(pairs["1"][-1]["p50"] - alone["both_ms"])
        say(f"  single call above decode and model: {singles[-1]:.2f} ms")
    return {
        "throughput": {name: medians(rows) for name, rows in pairs.items()},
        "bare_engine": medians([{**one, "cpu_ms_a_picture": cpu_ms(one)} for one in bare]),
        "single_above_decode_and_model_ms": round(statistics.median(singles), 2),
    }


def compare_texts(plan: Plan, server: Served, limit: Limit) -> dict[str, float]:
    """Texts over gRPC, 32 in flight, beside the same tokeniser and tower in one process."""
    bodies = tuple(
        request("clip_text_embed", f"{TEXT} {i}".encode(), "text/plain") for i in range(8)
    )
    rows = []
    for _ in range(plan.pairs):
        best = limit.ask("texts", plan.seconds / 2)
        figures = one_load(plan, server, 32, bodies)
        figures["limit_per_second"] = best["per_second"]
        figures["raw_ratio"] = figures["per_second"] / best["per_second"]
        figures["cpu_ratio"] = cpu_ms(best) / figures["server_cpu_ms_an_item"]
        rows.append(figures)
    return medians(rows)


def cpu_ms(figures: dict[str, float]) -> float:
    """CPU milliseconds an item of what the limit measured."""
    done = figures["per_second"] * figures["seconds"]
    if not done:
        raise SystemExit("The limit ended nothing within a measurement: give --seconds more.")
    return figures["cpu_s"] * 1000 / done


def one_load(
    plan: Plan,
    server: Served,
    in_flight: int,
    bodies: tuple[bytes, ...] = (),
    target: Served | None = None,
) -> dict[str, float]:
    """Ask the server, or a target in front of it; its figures, and the CPU of the server alone."""
    items, batches = server.metric("lumen_batch_size_sum"), server.metric("lumen_batch_size_count")
    cpu_s = server.cpu_s()
    report = summarise(run(load(target or server, in_flight, plan.seconds, bodies=bodies)))
    items = server.metric("lumen_batch_size_sum") - items
    if not report.answered or not items:
        raise SystemExit("The server answered nothing within a measurement: give --seconds more.")
    batches = server.metric("lumen_batch_size_count") - batches
    cpu_s = server.cpu_s() - cpu_s
    return {
        "answered": report.answered,
        "failed": report.calls - report.answered,
        "seconds": report.seconds,
        "per_second": report.per_second,
        "p50": report.percentiles_ms["p50"],
        "p95": report.percentiles_ms["p95"],
        "p99": report.percentiles_ms["p99"],
        "mean_batch": items / batches if batches else 0.0,
        "generator_cpu_s": report.generator_cpu_s,
        # The warm-up's calls are in both, so that they do not matter here.
        "server_cpu_ms_an_item": cpu_s * 1000 / items,
    }


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}


def compare_with_router(
    plan: Plan, server: Served, router: Served, rate: float
) -> dict[str, float]:
    """What the router adds at a fixed rate, an open loop, direct and routed in turn."""
    added: dict[str, list[float]] = {"p50": [], "p99": []}
    latencies: dict[str, list[float]] = {"direct": [], "routed": []}
    router_ms: list[float] = []
    for warmed in (server, router):
        run(load(warmed, 1, 1.0))
    for _ in range(plan.pairs):
        direct = run(load(server, 64, plan.seconds, rate))
        before_s, before = router.cpu_s(), router.metric(ROUTED)
        routed = run(load(router, 64, plan.seconds, rate))
        # Of all calls, those of the warm-up too.
        router_ms.append((router.cpu_s() - before_s) * 1000 / (router.metric(ROUTED) - before))
        for name, one in (("direct", direct), ("routed", routed)):
            latencies[name] += [s.latency_ms for s in one.samples if s.code == "OK"]
        a, b = summarise(direct).percentiles_ms, summarise(routed).percentiles_ms
        for p, values in added.items():
            values.append(b[p] - a[p])
    pooled = {
        f"pooled_added_{p}_ms": percentile(sorted(latencies["routed"]), float(p[1:]))
        - percentile(sorted(latencies["direct"]), float(p[1:]))
        for p in added
    }
    return {
        "rate_per_second": round(rate, 2),
        "calls": len(latencies["routed"]),
        **{f"added_{p}_ms": round(statistics.median(v), 2) for p, v in added.items()},
        **{key: round(value, 2) for key, value in pooled.items()},
        "router_cpu_ms_a_call": round(statistics.median(router_ms), 3),
    }


if __name__ == "__main__":
    main()
