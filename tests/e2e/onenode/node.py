"""A one-node cluster of this machine's own, in namespaces of its own: `running_node(...)`.

Needs root and Debian's containerd. Everything of it ends with the process that started it; its
folder, its cgroups and the kernel settings that a kubelet changes are put back.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.programs import Program, ProgramFailed, wait_until
from onenode.binaries import NodePrograms
from onenode.cgroups import own_cgroups
from onenode.layout import DNS_IMAGE, NODE, PAUSE_IMAGE
from onenode.objects import objects
from onenode.small_images import write_image

_INSIDE = Path(__file__).with_name("inside.py")
_START_WITHIN_S = 240.0
_END_WITHIN_S = 20.0
_WAIT = "--timeout=180s"
# What a kubelet sets for the whole machine when it starts.
_KERNEL_SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)


@dataclass(frozen=True, slots=True)
class Node:
    """A running node, seen from outside its namespaces."""

    folder: Path
    pid: int
    programs: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's; use it in the node's network namespace."""
        return self.folder / "admin.kubeconfig"

    def inside(self, *command: str | Path) -> list[str]:
        """Return a command line that runs the command in the node's network namespace."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *map(str, command)]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the administrator; raises ProgramFailed with what it wrote."""
        command = self.inside(
            self.programs / "kubectl", "--kubeconfig", self.kubeconfig, *arguments
        )
        return _output(command, stdin)

    def load(self, archive: Path) -> None:
        """Give the node an image; raises ProgramFailed."""
        socket = self.folder / "containerd.sock"
        command = ["ctr", "--address", str(socket), "--namespace", "k8s.io", "images", "import"]
        _output([*command, "--digests=false", str(archive)])


@contextmanager
def running_node(programs: NodePrograms, say: Callable[[str], None]) -> Iterator[Node]:
    """Start a node and its control plane; ends both. One at a time: its names are the machine's.

    Raises:
        ProgramFailed: it did not start; the message has the last lines of the log that says why.

    """
    begun = time.monotonic()
    say("Starting a node ...")
    with ExitStack() as stack:
        folder = stack.enter_context(_own_folder())
        stack.enter_context(own_cgroups())
        stack.enter_context(_kernel_settings_kept())
        namespaces = "--fork --pid --mount-proc --mount --net --uts --kill-child=KILL"
        unshare = shutil.which("unshare") or "unshare"
        (folder / "logs").mkdir()
        init = Program(
            [unshare, *namespaces.split(), sys.executable, str(_INSIDE), str(folder)],
            folder / "logs" / "node.log",
        )
        init.start()
        stack.callback(_end, init)
        try:
            init.wait_until_ready((folder / "ready").exists, _START_WITHIN_S)
        except ProgramFailed as failure:
            raise ProgramFailed(f"{failure}\n{_logs(folder)}") from failure
        node = Node(folder, _child_of(init.pid), programs.control_plane.kubectl.parent)
        _furnish(node, programs)
        say(f"Starting a node   {time.monotonic() - begun:.0f} s   logs: {folder}/logs")
        yield node


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Make the node's folder; what a killed run has left there goes first."""
    folder = Path(tempfile.gettempdir()) / "lumen-e2e"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _furnish(node: Node, programs: NodePrograms) -> None:
    """Give it what a usual cluster has, and wait until pods can run."""
    for reference, program in ((PAUSE_IMAGE, "pause"), (DNS_IMAGE, "coredns")):
        archive = node.folder / f"{program}.tar"
        node.load(write_image(archive, reference, programs.pods / program))
        archive.unlink()
    listed = {"apiVersion": "v1", "kind": "List", "items": objects(node.folder / "volumes")}
    node.kubectl("apply", "-f", "-", stdin=json.dumps(listed))
    node.kubectl("wait", "--for=create", f"node/{NODE}", _WAIT)
    node.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", _WAIT)
    node.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", _WAIT)


def _end(init: Program) -> None:
    """Kill the namespace's PID 1 by way of its parent, and wait: the kernel ends all others."""
    if not init.running:
        return
    child = _child_of(init.pid)
    init.kill()
    wait_until(lambda: not Path(f"/proc/{child}").exists(), _END_WITHIN_S, "the node has ended")


def _child_of(pid: int) -> int:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if not found:
        raise ProgramFailed("the node has ended")
    return int(found[0])


@contextmanager
def _kernel_settings_kept() -> Iterator[None]:
    files = [Path("/proc/sys") / name for name in _KERNEL_SETTINGS]
    before = {file: file.read_text() for file in files if os.access(file, os.R_OK)}
    try:
        yield
    finally:
        for file, text in before.items():
            if file.read_text() != text:
                file.write_text(text)


def _output(command: list[str], stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProgramFailed(f"{' '.join(command[:6])} ...: {done.stderr.strip()}")
    return done.stdout


def _logs(folder: Path) -> str:
    tails = []
    for log in sorted(folder.glob("logs/*.log")):
        lines = log.read_text(errors="replace").splitlines()[-4:]
        tails.append("\n".join([f"--- {log.stem}", *lines]))
    return "\n".join(tails)
