"""How soon many services are Ready under the operator, beside the least that it could take.

    python tests/bench/bench_operator.py --services 1000,5000 --rounds 2

The cluster is real but for its nodes and pods, which kwok plays: a pod is Ready a fifth of a second
after it got its node, and says nothing of itself. The floor are the very children that the operator
renders for those services, server-side applied as from files by as many clients as the operator has
workers, also by a token, until every pod is Ready; no operator, no owner. With the
operator, as many clients apply the services, and every one has to say Ready.

Every leg gets a control plane of its own. Rounds change the order, figures are medians of rounds.
On a machine that others use too, seconds say little; read the ratio, `cpu_ratio` (CPU seconds of
everything that took part), and the operator's own CPU, and see `others_cores` of each leg.
"""

import argparse
import asyncio
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from bench_cluster import BenchCluster, bench_cluster
from operator_legs import Plan, floor, operated, say
from processes import processor

Figures = dict[str, Any]
Leg = Callable[[BenchCluster, Plan], Awaitable[Figures]]

GOALS = {
    "ratio": 1.3,
    "seconds": 60.0,
    "cpu_ms_per_service": 8.0,
    "rss_peak_mib": 256.0,
    "steady_writes_per_minute": 0.0,
    "growth": 1.1,
}
AT_1000 = frozenset({"seconds", "rss_peak_mib"})
"""Goals that were set for 1,000 services."""


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--services",
        type=counts,
        default=[1000, 5000],
        metavar="N[,N]",
        help="how many LumenModelServices (default: 1000,5000)",
    )
    parser.add_argument("--rounds", type=int, default=2, help="of both legs (default: 2)")
    parser.add_argument(
        "--clients", type=int, default=16, help="at once; the operator's workers too (default: 16)"
    )
    parser.add_argument(
        "--quiet", type=float, default=60.0, metavar="SECONDS", help="to watch the steady state"
    )
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.add_argument("--folder", type=Path, default=Path("bench-results"))
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="run the operator alone under cProfile, which slows it, and write its profile",
    )
    return parser.parse_args()


def counts(text: str) -> list[int]:
    found = [int(each) for each in text.split(",")]
    if min(found) < 1:
        raise ValueError(text)
    return found


def main() -> None:
    options = parsed()
    report = {
        "command": shlex.join(["python", *sys.argv]),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": {"clients": options.clients, "quiet_s": options.quiet},
        "goals": GOALS,
        "services": {str(n): measured(options, n) for n in options.services},
    }
    report["growth"] = growth(report["services"])
    options.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2)
    (options.folder / "operator.json").write_text(text)
    print(text if options.output == "json" else table(report))


def measured(options: argparse.Namespace, services: int) -> Figures:
    """Run all rounds of one size."""
    profile = options.profile.resolve() if options.profile else None
    plan = Plan(services, options.clients, options.quiet, profile)
    rounds = []
    for number in range(options.rounds):
        legs: list[Leg] = [floor, operated] if number % 2 == 0 else [operated, floor]
        if profile is not None:
            legs = [operated]
        rounds.append({leg.__name__: run(leg, plan, number) for leg in legs})
    return {**medians(rounds), "rounds": rounds}


def run(leg: Leg, plan: Plan, number: int) -> Figures:
    """Run one leg on a control plane of its own."""
    say(f"round {number + 1}, {plan.services} services, {leg.__name__}: starts a control plane")
    with (
        tempfile.TemporaryDirectory(prefix="lumen-bench-") as folder,
        bench_cluster(Path(folder), plan.services) as cluster,
    ):
        found = asyncio.run(leg(cluster, plan))
    say(f"  {found['seconds']:.1f} s, others kept {found['others_cores']} cores busy")
    return {"load_before": os.getloadavg()[0], **found}


def medians(rounds: list[Figures]) -> Figures:
    """Say in a line what the rounds say in pages."""
    first = rounds[0]

    def of(*path: str) -> float:
        return round(statistics.median(_at(each, *path) for each in rounds), 3)

    found = {
        "seconds": of("operated", "seconds"),
        "cpu_ms_per_service": of("operated", "operator", "cpu_ms_per_service"),
        "rss_mib": of("operated", "operator", "rss_mib"),
        "rss_peak_mib": of("operated", "operator", "rss_peak_mib"),
        "writes_per_service": of("operated", "operator", "writes_per_service"),
        "write_p50_ms": of("operated", "operator", "write_ms", "p50"),
        "write_p99_ms": of("operated", "operator", "write_ms", "p99"),
        "steady_writes_per_minute": of("operated", "steady", "writes_per_minute"),
        "steady_cores": of("operated", "steady", "cores"),
    }
    if "floor" not in first:
        return found
    ratios = [each["operated"]["seconds"] / each["floor"]["seconds"] for each in rounds]
    cpu = [each["operated"]["cpu_s_all"] / each["floor"]["cpu_s_all"] for each in rounds]
    return {
        **found,
        "restart_seconds": of("operated", "restart", "seconds"),
        "restart_writes": of("operated", "restart", "writes"),
        "restart_rss_peak_mib": of("operated", "restart", "rss_peak_mib"),
        "floor_seconds": of("floor", "seconds"),
        "floor_writes_per_service": first["floor"]["children_per_service"],
        "floor_write_p50_ms": of("floor", "apply_ms", "p50"),
        "floor_write_p99_ms": of("floor", "apply_ms", "p99"),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_rounds": [round(each, 3) for each in ratios],
        "cpu_ratio": round(statistics.median(cpu), 3),
    }


def growth(by_size: dict[str, Figures]) -> Figures:
    """Divide what the most services took by what the fewest did, for each service: 1 is linear."""
    sizes = sorted(by_size, key=int)
    if len(sizes) < 2:
        return {}
    few, many = by_size[sizes[0]], by_size[sizes[-1]]
    times = int(sizes[-1]) / int(sizes[0])
    found = {
        "seconds": many["seconds"] / few["seconds"] / times,
        "operator CPU": many["cpu_ms_per_service"] / few["cpu_ms_per_service"],
        "peak memory": many["rss_peak_mib"] / few["rss_peak_mib"] / times,
    }
    if "floor_seconds" in few:
        found["floor's seconds"] = many["floor_seconds"] / few["floor_seconds"] / times
    return {name: round(value, 3) for name, value in found.items()}


def table(report: Figures) -> str:
    """Lay the medians out beside their goals."""
    sizes = report["services"]
    lines = [f"{'':28}" + "".join(f"{size:>12}" for size in sizes) + f"{'goal':>10}"]
    names = [
        name for name in next(iter(sizes.values())) if name not in {"rounds", "ratio_of_rounds"}
    ]
    for name in names:
        goal = GOALS.get(name)
        cells = "".join(
            f"{figures[name]:12.2f}{_missed(name, size, figures)}"
            for size, figures in sizes.items()
        )
        said = "" if goal is None else f"<= {goal:g}" + (" at 1000" if name in AT_1000 else "")
        lines.append(f"{name:28}{cells}  {said}".rstrip())
    lines += [
        f"growth of {name:18}{value:12.2f}   1 is linear"
        for name, value in report["growth"].items()
    ]
    return "\n".join([*lines, "* misses its goal"])


def machine() -> Figures:
    """Describe where this ran."""
    return {
        "cpu": processor(),
        "cores": len(psutil.Process().cpu_affinity() or ()),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }


def _missed(name: str, size: str, figures: Figures) -> str:
    applies = name in GOALS and (size == "1000" or name not in AT_1000)
    return "*" if applies and figures[name] > GOALS[name] else " "


def _at(figures: Figures, *path: str) -> float:
    for name in path:
        figures = figures[name]
    return float(figures)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
