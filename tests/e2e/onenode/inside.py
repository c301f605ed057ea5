"""What runs inside the node's own namespaces: `inside.py FOLDER`.

PID 1 of the PID namespace reaps what is left to it. Its one child prepares mounts and network,
starts the control plane and the node's programs, and ends when one of them does.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

_TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(_TESTS / "e2e"), str(_TESTS / "cluster"), str(_TESTS)]

from controlplane import components, plane  # noqa: E402 - the path comes first
from controlplane.certificates import Authority, KeyPair  # noqa: E402
from controlplane.components import Ports  # noqa: E402
from controlplane.programs import Program  # noqa: E402
from onenode import configuration  # noqa: E402
from onenode.binaries import build_programs  # noqa: E402
from onenode.layout import NODE, NODE_NETWORK, VOLUMES, NodeLayout  # noqa: E402

# Folders that programs of a node take for theirs wherever they are told to work.
_PRIVATE = ("/run", "/var/lib", "/var/log")
_PORTS = Ports(
    etcd=2379, etcd_peer=2380, api_server=6443, controller_manager=10257, scheduler=10259, kwok=0
)
_LOOK_EVERY_S = 0.5
_USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "scheduler": ("system:kube-scheduler", None),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "kube-proxy": ("system:kube-proxy", None),
}


def main() -> None:
    """Be PID 1: run the node in a child, and reap whoever else ends."""
    child = os.fork()
    if child == 0:
        run_node(Path(sys.argv[1]))
        return
    while True:
        ended, status = os.wait()
        if ended == child:
            sys.exit(os.waitstatus_to_exitcode(status) or 1)


def run_node(folder: Path) -> None:
    """Start everything, leave word, and end with the first program that ends."""
    subprocess.run(["hostname", NODE], check=True)
    _private_mounts()
    _network()
    authority, layout = _prepare(folder)
    kubelet_client = authority.client("kubelet-client", "kube-apiserver", "system:masters")
    programs = _start(layout, kubelet_client)
    layout.ready.touch()
    while all(program.running for program in programs.values()):
        time.sleep(_LOOK_EVERY_S)
    ended = [name for name, program in programs.items() if not program.running]
    sys.exit(f"{', '.join(ended)} ended")


def _private_mounts() -> None:
    """Let mounts of the node's programs be seen by its pods, and nothing of theirs by the host."""
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    for folder in _PRIVATE:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder], check=True)
    for folder in ("/run/netns", "/run/lock", "/var/lib/kubelet", "/var/log/containers"):
        Path(folder).mkdir(parents=True, exist_ok=True)


def _network() -> None:
    """Have an address that pods reach and a default route, which addresses of Services take.

    Both ends of the link are in this namespace: nothing leads out of it.
    """
    for words in (
        "link set lo up",
        "link add node0 type veth peer name node1",
        f"addr add {NODE_NETWORK} dev node0",
        "link set node0 up",
        "link set node1 up",
        "route add default dev node0",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _prepare(folder: Path) -> tuple[Authority, NodeLayout]:
    programs = build_programs(lambda text: print(text, flush=True))
    authority, control_plane = plane.prepare(folder, programs.control_plane, _PORTS, _USERS)
    layout = NodeLayout(folder, control_plane, programs.node)
    for path, text in configuration.files(layout).items():
        file = layout.configuration / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for number in range(VOLUMES):
        volume = layout.volumes / str(number)
        volume.mkdir(parents=True)
        volume.chmod(0o777)  # whoever the pod runs as
    layout.logs.mkdir(exist_ok=True)
    return authority, layout


def _start(layout: NodeLayout, kubelet_client: KeyPair) -> dict[str, Program]:
    control_plane = layout.control_plane
    lines = {
        "etcd": components.etcd(control_plane),
        "containerd": configuration.containerd_command(layout),
        "kube-apiserver": configuration.api_server_command(layout, kubelet_client),
        "kube-controller-manager": components.controller_manager(control_plane),
        "kube-scheduler": components.scheduler(control_plane),
        "kube-proxy": configuration.kube_proxy_command(layout),
        "kubelet": configuration.kubelet_command(layout),
    }
    programs = {name: Program(line, layout.logs / f"{name}.log") for name, line in lines.items()}
    ready = {
        "etcd": lambda: plane.healthy(f"{control_plane.etcd_url}/health"),
        "containerd": layout.containerd_socket.exists,
        "kube-apiserver": lambda: plane.healthy(f"{control_plane.url}/readyz"),
    }
    for name, program in programs.items():
        program.start()
        if name in ready:
            program.wait_until_ready(ready[name], within_s=120.0)
    return programs


if __name__ == "__main__":
    main()
