"""Finds the control plane's programs: given ones first, else built from Go modules into a cache.

`python -m controlplane.binaries`, by which `make test-cluster` builds them while other tests run,
ends by SIGTERM with what it has started.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from go_tools import MODULES, build, say_on_stderr

SERVER_PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where each program is."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    kubectl: Path
    kwok: Path


def find_binaries(say: Callable[[str], None] = say_on_stderr) -> Binaries:
    """Return the programs; builds those that are not given, which takes minutes once.

    Kubernetes' own are taken as one set, so that versions never mix: all five from
    KUBEBUILDER_ASSETS and PATH, or all five built.

    Raises:
        GoBuildFailed: they are neither there nor can they be built.

    """
    given = {name: _given(name) for name in SERVER_PROGRAMS}
    missing = [name for name, path in given.items() if path is None]
    if missing:
        if os.environ.get("KUBEBUILDER_ASSETS"):
            say(f"KUBEBUILDER_ASSETS and PATH lack {', '.join(missing)}: building all of them")
        folder = build(MODULES["controlplane"], say)
        given = {name: folder / name for name in SERVER_PROGRAMS}
    kwok = _given("kwok") or build(MODULES["kwok"], say) / "kwok"
    return Binaries(*(path for path in given.values() if path is not None), kwok)


def _given(name: str) -> Path | None:
    folders = [os.environ.get(variable) for variable in ("KUBEBUILDER_ASSETS", "PATH")]
    found = shutil.which(name, path=os.pathsep.join(filter(None, folders)))
    return Path(found) if found else None


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    find_binaries()
