"""A control plane of one's own: etcd, API server, controller manager, scheduler, kwok.

`with running_control_plane(folder) as plane` is all that a bench needs; tests mostly share one
(shared.py). It ends with the process that started it.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from pathlib import Path

import httpx
from controlplane import components
from controlplane.binaries import Binaries, find_binaries
from controlplane.certificates import Authority, certificate_user, write_kubeconfig
from controlplane.cluster import Access, Cluster, KubectlFailed
from controlplane.components import Layout, Ports, Secrets
from controlplane.programs import Program, wait_until
from ports import reserved_ports

CRDS = Path(__file__).parents[3] / "crds"
_START_WITHIN_S = 90.0
_USERS = {
    "admin": ("admin", "system:masters"),
    "kwok": ("kwok", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "scheduler": ("system:kube-scheduler", None),
}


class ControlPlane(Cluster):
    """A running cluster whose API server can be made to fail."""

    def __init__(self, access: Access, programs: dict[str, Program]) -> None:
        super().__init__(access)
        self._programs = programs

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each program."""
        return {name: program.pid for name, program in self._programs.items()}

    def stop_api_server(self) -> None:
        """End the API server as a crash would: connections break, later ones are refused."""
        self._programs["kube-apiserver"].kill()

    def start_api_server(self) -> None:
        """Start it again on the same port, and wait until it answers."""
        server = self._programs["kube-apiserver"]
        server.start()
        server.wait_until_ready(self.answers, _START_WITHIN_S)

    def restart_api_server(self) -> None:
        """End the API server as a crash would, and start it again."""
        self.stop_api_server()
        self.start_api_server()

    def pause_api_server(self) -> None:
        """Let it hear and say nothing: connections stay, new ones are taken, nothing answers."""
        self._programs["kube-apiserver"].pause()

    def resume_api_server(self) -> None:
        """Let it go on where it was paused."""
        self._programs["kube-apiserver"].resume()
        wait_until(self.answers, _START_WITHIN_S, "the API server answers again")


@contextmanager
def running_control_plane(
    folder: Path, binaries: Binaries | None = None, crds: Path = CRDS
) -> Iterator[ControlPlane]:
    """Start a control plane with our CRDs and one plain node; logs and kubeconfigs are in `folder`.

    Raises:
        ProgramFailed: one of its programs did not start; the message has its last lines.
        GoBuildFailed: its programs are not there and could not be built.

    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        ports = Ports(*stack.enter_context(reserved_ports(len(fields(Ports)))))
        _, layout = prepare(folder, binaries or find_binaries(), ports, _USERS)
        admin = layout.kubeconfig("admin")
        access = Access(folder, layout.url, layout.secrets.authority, admin, layout.binaries)
        plane = ControlPlane(access, _programs(layout, stack))
        _start_api(plane, layout)
        # The garbage collector looks for new kinds every 30 s only, so ours come before it.
        plane.kubectl("apply", "--server-side", "-f", str(crds))
        wait_until(lambda: _established(plane), 60.0, "the definitions are established")
        _start_controllers(plane, layout)
        plane.add_node("plain")
        yield plane


def _established(plane: ControlPlane) -> bool:
    """Say whether the definitions serve; `kubectl wait` fails where one has no status yet."""
    with suppress(KubectlFailed):
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=10s")
        return True
    return False


def prepare(
    folder: Path, binaries: Binaries, ports: Ports, users: Mapping[str, tuple[str, str | None]]
) -> tuple[Authority, Layout]:
    """Write keys, certificates, and a kubeconfig for each user by its name, as (user, group)."""
    authority = Authority(folder / "certificates")
    secrets = Secrets(
        authority=authority.file,
        serving=authority.server("kube-apiserver"),
        front_proxy=authority.client("front-proxy", "front-proxy"),
        service_accounts=authority.key("service-accounts"),
    )
    layout = Layout(folder, binaries, ports, secrets)
    for name, (user, group) in users.items():
        shown = certificate_user(authority.client(name, user, group))
        write_kubeconfig(layout.kubeconfig(name), layout.url, secrets.authority, shown)
    return authority, layout


def _programs(layout: Layout, stack: ExitStack) -> dict[str, Program]:
    commands = {
        "etcd": components.etcd(layout),
        "kube-apiserver": components.api_server(layout),
        "kube-controller-manager": components.controller_manager(layout),
        "kube-scheduler": components.scheduler(layout),
        "kwok": components.kwok(layout),
    }
    logs = layout.folder / "logs"
    logs.mkdir(exist_ok=True)
    programs = {name: Program(line, logs / f"{name}.log") for name, line in commands.items()}
    # Hundreds of megabytes that nobody reads afterwards; the logs stay.
    stack.callback(shutil.rmtree, layout.folder / "etcd", ignore_errors=True)
    for program in programs.values():
        stack.callback(program.stop)
    return programs


def _start_api(plane: ControlPlane, layout: Layout) -> None:
    programs = plane._programs
    programs["etcd"].start()
    programs["etcd"].wait_until_ready(lambda: healthy(f"{layout.etcd_url}/health"))
    programs["kube-apiserver"].start()
    programs["kube-apiserver"].wait_until_ready(plane.answers, _START_WITHIN_S)


def _start_controllers(plane: ControlPlane, layout: Layout) -> None:
    """Start what ends when the API server does not answer its first request."""
    programs = plane._programs
    for name in ("kube-controller-manager", "kube-scheduler", "kwok"):
        programs[name].start()
    ports = layout.ports
    health = {
        "kube-controller-manager": f"https://127.0.0.1:{ports.controller_manager}/healthz",
        "kube-scheduler": f"https://127.0.0.1:{ports.scheduler}/readyz",
        "kwok": f"http://127.0.0.1:{ports.kwok}/healthz",
    }
    for name, url in health.items():
        programs[name].wait_until_ready(lambda url=url: healthy(url))


def healthy(url: str) -> bool:
    """Return whether a program of the control plane says at this URL that it is well."""
    try:
        # These serve certificates that they signed themselves, and say nothing but "ok".
        return httpx.get(url, verify=False, timeout=2.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
