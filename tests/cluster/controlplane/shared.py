"""One control plane for all of a test run's processes, started by the first that wants it.

pytest-xdist runs tests in several processes that come and go on their own. So none of them owns
the control plane: a keeper process of its own does (keeper.py), and two file locks in the run's
folder say the rest. Every user holds a shared lock on `users`; the keeper waits for an exclusive
one, gets it when the last user has ended, however it ended, and stops. The kernel drops a dead
process's locks, so nothing is left behind even after `kill -9`.
"""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import IO

from controlplane.binaries import Binaries
from controlplane.cluster import Access, Cluster
from controlplane.programs import ProgramFailed

_KEEPER = Path(__file__).with_name("keeper.py")


@contextmanager
def shared_control_plane(folder: Path, binaries: Binaries) -> Iterator[Cluster]:
    """Use the control plane of this folder, starting it where nobody has.

    Raises:
        ProgramFailed: it did not start; the message says why.

    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("a") as users:
        with (folder / "turn").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            # Waits while a keeper is on its way out: it holds this until it has ended.
            fcntl.flock(users, fcntl.LOCK_SH)
            if not _kept(folder):
                _start_keeper(folder, binaries)
        yield Cluster(read_access(folder))


def write_access(folder: Path, access: Access) -> None:
    """Leave word of how to reach the control plane."""
    binaries = {each.name: str(getattr(access.binaries, each.name)) for each in fields(Binaries)}
    document = {
        "folder": str(access.folder),
        "url": access.url,
        "ca": str(access.ca),
        "admin_kubeconfig": str(access.admin_kubeconfig),
        "binaries": binaries,
    }
    (folder / "access.json").write_text(json.dumps(document))


def read_access(folder: Path) -> Access:
    """Read what `write_access` wrote."""
    said = json.loads((folder / "access.json").read_text())
    binaries = Binaries(**{name: Path(path) for name, path in said.pop("binaries").items()})
    url = said.pop("url")
    return Access(**{name: Path(path) for name, path in said.items()}, url=url, binaries=binaries)


def binaries_from(paths: list[str]) -> Binaries:
    """Read the programs' paths from a command line, in the order of their fields."""
    return Binaries(*map(Path, paths))


def _kept(folder: Path) -> bool:
    with (folder / "kept").open("a") as kept:
        return not _locked_now(kept)


def _locked_now(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_keeper(folder: Path, binaries: Binaries) -> None:
    paths = [str(getattr(binaries, each.name)) for each in fields(Binaries)]
    with (folder / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, str(_KEEPER), str(folder), *paths],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # Ctrl-C ends the tests, and they end it.
            start_new_session=True,
        )
    assert keeper.stdout is not None
    with keeper.stdout:
        # One line when it is ready, none when it could not start.
        if not keeper.stdout.readline():
            keeper.wait()
            raise ProgramFailed((folder / "keeper.log").read_text()[-4000:])
