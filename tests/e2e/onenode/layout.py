"""Where everything of the one-node cluster is: addresses, names, folders."""

from dataclasses import dataclass
from pathlib import Path

from controlplane.components import Layout

NODE = "lumen-node"
NODE_IP = "198.18.0.2"  # of the range set aside for tests of networks; its interface has no peer
NODE_NETWORK = f"{NODE_IP}/24"
POD_RANGE = "198.19.0.0/16"
DNS_IP = "10.96.0.10"
DNS_PORT = 5353
CGROUP = "lumen-e2e"
CNI_PROGRAMS = "/usr/lib/cni"  # of Debian's containernetworking-plugins
PAUSE_IMAGE = "localhost/lumen-e2e/pause:1"
DNS_IMAGE = "localhost/lumen-e2e/coredns:1"
VOLUMES = 16


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """The folders and files of a node's programs; all below one folder that goes with it."""

    folder: Path
    control_plane: Layout
    node_programs: Path

    @property
    def containerd_socket(self) -> Path:
        """Where containerd answers."""
        return self.folder / "containerd.sock"

    @property
    def configuration(self) -> Path:
        """The folder of the programs' configuration files."""
        return self.folder / "configuration"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's; it works inside the node's network namespace."""
        return self.control_plane.kubeconfig("admin")

    @property
    def logs(self) -> Path:
        """The folder of the programs' logs."""
        return self.folder / "logs"

    @property
    def volumes(self) -> Path:
        """The folder of the persistent volumes' folders."""
        return self.folder / "volumes"

    @property
    def ready(self) -> Path:
        """A file that is there once the control plane answers and the node's programs run."""
        return self.folder / "ready"
