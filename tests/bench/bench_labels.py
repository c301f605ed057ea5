"""The proven label search beside numpy's float32 product, in the same run.

    python tests/bench/bench_labels.py --rows 867455 --dim 768 --lies columns --pairs 7

Random unit rows in a memory-mapped file, as a label set is served: row by row, or on its side as
the heads of TreeOfLife are published. The two run in turn, pair by pair, each pair with queries of
its own, and the ratio is the median over the pairs; CPU time counts all threads. numpy's figure is
the bare product, without choosing the best: what it is compared with is the least it could take.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from processes import processor

from lumen_resources.model.layouts import ScoreRule
from lumen_serving.label_index.codes import CodeCache, encode_cached
from lumen_serving.label_index.index import LabelIndex

GOALS = {"single": 0.30, "per query of a batch": 0.045}
READY_GOAL_S = 5.0
# Of so many labels one stays under the mask.
MASKED = 10
MIB = 2**20

Search = Callable[[Any], object]
RULE = ScoreRule()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=450_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lies", choices=("rows", "columns"), default="rows")
    parser.add_argument("--kind", choices=("random", "clustered"), default="random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keeps vectors and codes for the next run")
    return parser.parse_args()


def main() -> None:
    plan = parsed()
    if os.environ.get("OPENBLAS_NUM_THREADS") != str(plan.threads):
        # numpy's BLAS reads it when it is loaded, and else takes every core of the machine.
        os.environ["OPENBLAS_NUM_THREADS"] = str(plan.threads)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: plan.threads])
    with tempfile.TemporaryDirectory() as temporary:
        report = measured(plan, plan.folder or Path(temporary))
    print(json.dumps(report, indent=2))
    print(table(report), file=sys.stderr)


def measured(plan: argparse.Namespace, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    matrix = unit_rows(plan, folder)
    np.asarray(matrix).sum()  # in the page cache, as in a server that has run for a while
    cache = CodeCache(folder / "codes", "bench")
    prepare_s, _ = elapsed(lambda: encode_cached(matrix, cache))
    before = private_bytes()
    ready_s, index = elapsed(lambda: LabelIndex.build(matrix, threads=plan.threads, cache=cache))
    held = private_bytes() - before
    rng = np.random.default_rng(plan.seed + 1)
    mask = rng.random(plan.rows) < 1 / MASKED
    assert_same(matrix, index, queries_of(plan, matrix, rng), mask)
    rule = ScoreRule(scale=100.0)
    figures = {}
    for said, include in (("", None), (f", 1 of {MASKED} labels", mask)):

        def search(queries: Any, include: Any = include) -> object:
            return index.top_k(queries, 5, rule, include)

        queries = [queries_of(plan, matrix, rng) for _ in range(plan.pairs + 1)]
        figures[f"single{said}"] = compared(matrix, search, [q[:1] for q in queries])
        figures[f"per query of a batch{said}"] = compared(matrix, search, queries)
    queries = [queries_of(plan, matrix, rng)[:1] for _ in range(plan.pairs + 1)]
    # What no proof could do without: reading a quarter of the bytes.
    figures["single, the codes' product alone"] = compared(
        matrix,
        lambda query: list(index._scorer.approximate(query)),
        queries,
    )
    return {
        "machine": {
            "cpu": processor(),
            "threads": plan.threads,
            "load": [round(each, 1) for each in os.getloadavg()],
            "python": platform.python_version(),
        },
        "versions": {"numpy": np.__version__, "onnxruntime": onnxruntime.__version__},
        "set": {
            "rows": plan.rows,
            "dim": plan.dim,
            "lies": plan.lies,
            "kind": plan.kind,
            "seed": plan.seed,
        },
        "prepare_s": round(prepare_s, 2),
        "ready_s": round(ready_s, 2),
        "ready_goal_s": READY_GOAL_S,
        "memory_mib": {
            "index": round(index.resident_bytes / MIB),
            "packed codes of the runtime": round(index.runtime_bytes / MIB),
            "measured growth of the process": round(held / MIB),
            "codes on disk": round(sum(f.stat().st_size for f in cache.folder.iterdir()) / MIB),
        },
        "figures": figures,
        "goals": GOALS,
    }


def elapsed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds by the clock, and what it returned."""
    began_at = time.perf_counter()
    made = run()
    return time.perf_counter() - began_at, made


def queries_of(plan: argparse.Namespace, matrix: Any, rng: np.random.Generator) -> Any:
    """A batch of unit queries, each near a label of its own."""
    near = np.asarray(matrix[np.sort(rng.choice(plan.rows, plan.batch, replace=False))])
    queries = rng.standard_normal((plan.batch, plan.dim), dtype=np.float32) + 2 * near
    return queries / np.linalg.norm(queries, axis=1, keepdims=True)


def unit_rows(plan: argparse.Namespace, folder: Path) -> Any:
    """A memory map of random unit rows; `clustered` ones share a direction, as texts do."""
    path = folder / "vectors.npy"
    on_its_side = plan.lies == "columns"
    if not path.exists():
        made = folder / "making.npy"
        write_rows(plan, made, on_its_side=on_its_side)
        made.rename(path)
    found = np.load(path, mmap_mode="r")
    return found.T if on_its_side else found


def write_rows(plan: argparse.Namespace, path: Path, *, on_its_side: bool) -> None:
    rng = np.random.default_rng(plan.seed)
    shape = (plan.dim, plan.rows) if on_its_side else (plan.rows, plan.dim)
    stored = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    matrix = stored.T if on_its_side else stored
    shared = rng.standard_normal(plan.dim, dtype=np.float32)
    shared[0] = 20
    for start in range(0, plan.rows, 16384):
        block = rng.standard_normal((min(16384, plan.rows - start), plan.dim), dtype=np.float32)
        if plan.kind == "clustered":
            block = shared + np.float32(0.7) * block
        matrix[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    stored.flush()


def assert_same(matrix: Any, index: Any, queries: Any, mask: Any) -> None:
    """The answers are the ones of brute force before any of them is timed."""
    products = matrix @ queries.T
    for include in (None, mask):
        among = products if include is None else np.where(mask[:, None], products, -np.inf)
        for column, hits in enumerate(index.top_k(queries, 5, ScoreRule(scale=100.0), include)):
            wanted = np.sort(among[:, column])[-5:][::-1]
            got = np.array([hit.cosine for hit in hits])
            if np.abs(got - wanted).max() > 1e-5:
                raise SystemExit(f"query {column}: {got} is not {wanted}")


def compared(matrix: Any, search: Search, queries: list[Any]) -> dict[str, Any]:
    """Medians over interleaved pairs, in milliseconds a query, and of the ratio of each pair.

    The first queries warm both up.
    """
    pairs = []
    for number, some in enumerate(queries):
        runs = (lambda: matrix @ some[0], lambda: search(some))  # noqa: B023 - run at once
        order = runs if number % 2 else runs[::-1]
        times = {run: timed(run) for run in order}
        pairs.append((times[runs[0]], times[runs[1]]))
    del pairs[0]
    count = len(queries[0])
    ratios = {
        name: [proven_ms[at] / count / bare_ms[at] for bare_ms, proven_ms in pairs]
        for at, name in enumerate(("wall", "cpu"))
    }
    return {
        "numpy_ms": {
            n: median([bare_ms[at] for bare_ms, _ in pairs]) for at, n in enumerate(ratios)
        },
        "proven_ms": {
            n: median([proven_ms[at] / count for _, proven_ms in pairs])
            for at, n in enumerate(ratios)
        },
        "ratio": {name: round(statistics.median(values), 4) for name, values in ratios.items()},
        "ratio_of_pairs": {name: [round(v, 4) for v in values] for name, values in ratios.items()},
    }


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU of all threads) in milliseconds."""
    # numpy's BLAS threads spin for some 30 ms after a product, on the cores of what comes next.
    time.sleep(0.1)
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


def median(values: list[float]) -> float:
    return round(statistics.median(values), 3)


def private_bytes() -> int:
    """Anonymous memory of this process: without the memory map's pages."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def table(report: dict[str, Any]) -> str:
    lines = [f"{'':40}{'numpy ms':>10}{'proven ms':>11}{'ratio':>8}{'cpu ratio':>11}{'goal':>7}"]
    for name, figure in report["figures"].items():
        lines.append(
            f"{name:40}{figure['numpy_ms']['wall']:10.1f}{figure['proven_ms']['wall']:11.2f}"
            f"{figure['ratio']['wall']:8.3f}{figure['ratio']['cpu']:11.3f}{report['goals'][name.partition(',')[0]]:7.3f}"
        )
    memory = ", ".join(f"{name} {mib} MiB" for name, mib in report["memory_mib"].items())
    prepared = f"prepared in {report['prepare_s']} s, then ready in {report['ready_s']} s"
    return "\n".join([*lines, f"{prepared}; {memory}"])


if __name__ == "__main__":
    main()
