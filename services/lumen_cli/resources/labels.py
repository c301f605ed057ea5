"""`lumen resources labels`."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from lumen_cli.output import output_option, write_rows
from lumen_cli.resources.selection import Selected, Selection, selection_options
from lumen_cli.resources.work import explain
from lumen_resources.errors import ResourceError
from lumen_resources.fetch.fetch import open_verified
from lumen_resources.labels.label_sets import load_labels
from lumen_resources.labels.prepared_labels import prepared
from lumen_resources.model.layouts import VerifiedModel

COLUMNS = ("model", "labelSet", "labels", "used", "vectors", "template", "note")


@click.command("labels")
@selection_options
@click.option("--prepare", is_flag=True, help="Compute the vectors that are missing, here and now.")
@output_option
def command(selection: Selection, prepare: bool, output: str) -> None:
    """Show a model's label sets: how many labels, and where their vectors are.

    Computing goes on where an earlier run was stopped.

    \b
    Examples:
      lumen resources labels -f clip-service.yaml
      lumen resources labels bioclip-2 --labels TreeOfLife-10M --prepare
    """
    rows: list[dict[str, Any]] = []
    failed = False
    for selected in selection.models:
        name = selected.config.model.name
        try:
            if prepare and _run_prepare(selected, selection.cache_dir) != 0:
                failed = True
            model = open_verified(selected.config, selection.cache_dir, selected.source_dir)
            rows += _rows(model)
        except ResourceError as error:
            explain(name, error)
            failed = True
    write_rows(rows, COLUMNS, output)
    if failed:
        raise SystemExit(1)


def _rows(model: VerifiedModel) -> Iterator[dict[str, Any]]:
    for files in model.label_sets:
        labels = load_labels(files)
        computed = prepared(model, files, labels) if files.embeddings is None else None
        vectors = "shipped" if files.embeddings else "computed" if computed else "to be computed"
        yield {
            "model": model.name,
            "labelSet": files.name,
            "labels": len(labels),
            "used": int(labels.mask(files.include, files.exclude).sum()),
            "vectors": vectors,
            "template": files.template,
            "note": files.note,
        }


def _run_prepare(selected: Selected, cache_dir: Path) -> int:
    """Run the server's own step, as a pod does: the device and the library are its business."""
    with tempfile.TemporaryDirectory(prefix="lumen-prepare-") as folder:
        config = Path(folder) / "server.json"
        config.write_text(selected.config.to_json())
        env = {
            **os.environ,
            "LUMEN_CONFIG": str(config),
            "LUMEN_CACHE_DIR": str(cache_dir),
            "LUMEN_SOURCE_DIR": str(selected.source_dir),
            "LUMEN_TERMINATION_LOG": str(Path(folder) / "termination"),
            "LUMEN_BIND": "127.0.0.1",
            "LUMEN_METRICS_PORT": "0",
            "LUMEN_LOG_FORMAT": "console",
        }
        step = [sys.executable, "-m", "lumen_serving", "prepare"]
        return subprocess.run(step, env=env, check=False).returncode  # noqa: S603  # our own module
