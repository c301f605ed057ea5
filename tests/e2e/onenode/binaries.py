"""The programs of the node, built from Go modules into the cache that all tests share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controlplane.binaries import Binaries
from go_tools import GO_MODULES, MODULES, GoModule, build

_NODE = GoModule(GO_MODULES / "node", MODULES["controlplane"].ldflags)
_DNS = GoModule(GO_MODULES / "coredns")


@dataclass(frozen=True, slots=True)
class NodePrograms:
    """The control plane's programs, and the folders with those of the node and of its pods."""

    control_plane: Binaries
    node: Path
    pods: Path


def build_programs(say: Callable[[str], None]) -> NodePrograms:
    """Return the programs; builds those that are not in the cache, which takes minutes once.

    Raises:
        GoBuildFailed: one cannot be built.

    """
    plane = build(MODULES["controlplane"], say)
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    # The node is a real one: nothing of kwok's runs here.
    binaries = Binaries(*(plane / name for name in names), kwok=plane / "kwok")
    return NodePrograms(binaries, build(_NODE, say), build(_DNS, say))
