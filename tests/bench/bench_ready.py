"""How long a whole server takes to be ready with TreeOfLife's many labels, once prepared.

    python tests/bench/bench_ready.py --rows 867455 --dim 768 --lies columns

A tiny model with a taxonomy of so many invented species and their vectors, as they are published.
Files are fetched, verified and prepared first, as the init containers do it; then the server starts
over and over, and each time counts from its process's start to its first healthy answer.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bench_labels
import bench_serving as serving
import numpy as np
import orjson
import tiny_models
from processes import processor, served

GOAL_S = 5.0
NAME = "tiny-tree"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=867_455)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--lies", choices=("rows", "columns"), default="columns")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keeps what was made for the next run")
    options = parser.parse_args()
    cores = set(sorted(os.sched_getaffinity(0))[: options.cores])
    os.sched_setaffinity(0, cores)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        env = environment(folder, write_tree(folder / "source", options), len(cores))
        prepare(env)
        seconds = [ready_s(env, folder / "run") for _ in range(options.starts)]
    results = {
        "machine": {"processor": processor(), "cores": len(cores)},
        "labels": {"rows": options.rows, "dim": options.dim, "lies": options.lies},
        "ready_s": round(statistics.median(seconds), 2),
        "of_starts": [round(each, 2) for each in seconds],
        "goal_s": GOAL_S,
    }
    print(json.dumps(results, indent=2))


def write_tree(cache: Path, options: argparse.Namespace) -> Path:
    """Write the model's folder unless it is there; return it."""
    root = cache / "models" / NAME
    if (root / "model_info.json").exists():
        return root
    serving.say(f"making {options.rows:,} labels in {root}")
    spec = tiny_models.a_bioclip(name=NAME, dim=options.dim, label_sets={}, parity=False)
    tiny_models.write_model(cache, spec)
    (root / "labels").mkdir(exist_ok=True)
    (root / "labels" / "tree.json").write_bytes(orjson.dumps(species(options.rows)))
    plan = argparse.Namespace(**vars(options), kind="clustered", seed=0)
    bench_labels.unit_rows(plan, root / "labels")
    tree: dict[str, Any] = {"labels": "labels/tree.json", "embeddings": "labels/vectors.npy"}
    (root / "model_info.json").unlink()
    tiny_models.write_model_info(root, spec, {"tree": tree}, None)
    return root


def species(rows: int) -> list[object]:
    """As many entries as TreeOfLife has, of about its numbers of taxa; every fourth has a name."""
    rng = np.random.default_rng(0)
    genera, epithets = rng.integers(0, 90_000, rows), rng.integers(0, 250_000, rows)
    return [
        [
            [
                "Animalia",
                "Arthropoda",
                f"Class{genus % 120}",
                f"Order{genus % 900}",
                f"Family{genus % 9_000}",
                f"Genus{genus}",
                f"epithet{epithet}",
            ],
            "" if row % 4 else f"common name {row}",
        ]
        for row, (genus, epithet) in enumerate(zip(genera.tolist(), epithets.tolist(), strict=True))
    ]


def environment(folder: Path, root: Path, cores: int) -> dict[str, str]:
    """What the three programs of the pod are told."""
    config = serving.server_config(root)
    config |= {"family": "bioclip", "labelSets": [{"name": "tree"}]}
    config["model"]["name"] = NAME
    (folder / "server.json").write_text(json.dumps(config))
    return {
        "LUMEN_CONFIG": str(folder / "server.json"),
        "LUMEN_CACHE_DIR": str(folder / "cache"),
        "LUMEN_SOURCE_DIR": str(root.parent),
        "LUMEN_CPU_LIMIT": str(cores),
        "LUMEN_TERMINATION_LOG": str(folder / "termination"),
    }


def prepare(env: dict[str, str]) -> None:
    """Fetch, verify and prepare, as the init containers do."""
    whole = os.environ | env
    for words in (["lumen_resources"], ["lumen_serving", "prepare"]):
        command = [sys.executable, "-m", *words]
        subprocess.run(command, env=whole, check=True, stdout=sys.stderr)


def ready_s(env: dict[str, str], folder: Path) -> float:
    """Start a server and end it; return the seconds until it was healthy."""
    began_at = time.perf_counter()
    with served("lumen_serving", env, folder):
        return time.perf_counter() - began_at


if __name__ == "__main__":
    main()
