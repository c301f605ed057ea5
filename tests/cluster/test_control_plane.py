"""The control plane that the tests run against is strict where a cluster is, and leaves nothing.

That it is as strict about rights, the tests of the router's and the operator's accounts prove, and
that what an owner leaves is collected, those of deleted services.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from controlplane.binaries import SERVER_PROGRAMS, find_binaries
from controlplane.cluster import KubectlFailed
from controlplane.programs import ProgramFailed, wait_until
from controlplane.shared import shared_control_plane

LIBRARY = Path(__file__).parent


def test_a_restricted_namespace_refuses_a_privileged_pod(control_plane, namespace):
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    control_plane.kubectl("label", "namespace", namespace, restricted)
    container = {"name": "server", "image": "i", "securityContext": {"privileged": True}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [container]},
    }

    with pytest.raises(KubectlFailed, match='violates PodSecurity "restricted:latest"'):
        control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(pod))


def test_given_programs_are_taken_as_one_set(tmp_path, monkeypatch):
    for name in (*SERVER_PROGRAMS, "kwok"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    found = find_binaries()

    assert found.kube_apiserver == tmp_path / "kube-apiserver"
    assert found.kubectl == tmp_path / "kubectl"
    assert found.kwok == tmp_path / "kwok"


def test_a_given_set_that_lacks_one_program_is_not_mixed_with_built_ones(
    control_plane_binaries, tmp_path, monkeypatch
):
    (tmp_path / "kube-apiserver").write_text("#!/bin/sh\n")
    (tmp_path / "kube-apiserver").chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    said: list[str] = []

    found = find_binaries(said.append)

    assert found == control_plane_binaries
    assert "KUBEBUILDER_ASSETS and PATH lack etcd" in said[0]


USER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from controlplane.binaries import find_binaries
from controlplane.shared import shared_control_plane
with shared_control_plane(Path(sys.argv[3]), find_binaries()) as cluster:
    print(cluster.url, cluster.answers(), flush=True)
    sys.stdin.read()
"""


def test_users_share_one_control_plane_that_ends_with_the_last_even_if_killed(
    control_plane_binaries, tmp_path
):
    users = [a_user(tmp_path) for _ in range(2)]
    said = [user.stdout.readline() for user in users]
    assert said[0] == said[1]
    assert said[0].endswith(" True\n")
    keeper = holder_of(tmp_path / "kept")
    pids = [keeper, *children_of(keeper)]
    assert len(pids) == 6

    end(users[0])
    assert all(is_alive(pid) for pid in pids)
    end(users[1])

    wait_until(lambda: not any(is_alive(pid) for pid in pids), 60, "nothing is left")


def test_a_killed_keeper_takes_its_programs_along(control_plane_binaries, tmp_path):
    user = a_user(tmp_path)
    assert user.stdout.readline()
    keeper = holder_of(tmp_path / "kept")
    pids = [keeper, *children_of(keeper)]

    os.kill(keeper, signal.SIGKILL)

    wait_until(lambda: not any(is_alive(pid) for pid in pids[1:]), 60, "nothing is left")
    end(user)


def test_a_program_that_does_not_start_is_named_to_every_user(control_plane_binaries, tmp_path):
    broken = tmp_path / "kube-apiserver"
    broken.write_text("#!/bin/sh\necho no such flag >&2\nexit 1\n")
    broken.chmod(0o755)
    binaries = replace(control_plane_binaries, kube_apiserver=broken)

    for _ in range(2):
        with (
            pytest.raises(ProgramFailed, match=r"(?s)kube-apiserver ended.*no such flag"),
            shared_control_plane(tmp_path / "shared", binaries),
        ):
            pass


def a_user(folder: Path) -> subprocess.Popen[str]:
    """Start a process that uses the folder's control plane until it ends."""
    library = [str(LIBRARY), str(LIBRARY.parent)]
    return subprocess.Popen(
        [sys.executable, "-c", USER, *library, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def end(user: subprocess.Popen[str]) -> None:
    user.kill()
    user.communicate()


def holder_of(lock: Path) -> int:
    """Return the process that holds the lock on a file."""
    with lock.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    inode = f":{lock.stat().st_ino} "
    (line,) = [each for each in Path("/proc/locks").read_text().splitlines() if inode in each]
    return int(line.split()[4])


def children_of(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def is_alive(pid: int) -> bool:
    """Return whether the process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
