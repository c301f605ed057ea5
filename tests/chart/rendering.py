"""Runs Helm over the chart and reads what it rendered, for the tests that look at it."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "lumen"
VALUES = Path(__file__).parent / "values"
VALUE_SETS: dict[str, tuple[str, ...]] = {
    "default": (),
    **{path.stem: (f"--values={path}",) for path in sorted(VALUES.glob("*.yaml"))},
}
RELEASE, NAMESPACE = "lumen", "lumen"
_WITHIN_S = 120.0

Manifest = dict[str, Any]


class ProgramFailed(RuntimeError):
    """A program ended with an error; the message is all that it wrote."""


def run(*command: str | Path, stdin: str | None = None, **environment: str) -> str:
    """Run a program to its end and return what it printed; raises ProgramFailed."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        env=environment or None,
        check=False,
        timeout=_WITHIN_S,
    )
    if done.returncode != 0:
        raise ProgramFailed(f"{done.stdout}{done.stderr}".strip())
    return done.stdout


def template(helm: Path, *options: str) -> str:
    """Render the chart to text, hooks included."""
    return run(helm, "template", RELEASE, CHART, f"--namespace={NAMESPACE}", *options)


def manifests(text: str) -> list[Manifest]:
    """Read rendered text."""
    return [document for document in yaml.safe_load_all(text) if document]


def rendered(helm: Path, *options: str) -> list[Manifest]:
    """Render the chart and read it."""
    return manifests(template(helm, *options))


def the(documents: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the one object of that kind and name."""
    (found,) = (one for one in documents if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found
