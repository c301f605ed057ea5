"""One control plane for all of a test run's processes, started by the first that wants it.

pytest-xdist runs tests in several processes that come and go on their own. So none of them owns
the control plane: a keeper process of its own does (this module's `main`), and two file locks in
the run's folder say the rest. Every user holds a shared lock on `users`; the keeper waits for an
exclusive one, gets it when the last user has ended, however it ended, and stops. The kernel drops a
dead process's locks, so nothing is left behind even after `kill -9`.
"""

import fcntl
import itertools
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from controlplane.binaries import Binaries
from controlplane.cluster import Cluster
from controlplane.plane import running_control_plane
from controlplane.programs import ProgramFailed


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
        yield Cluster(pickle.loads((folder / "access").read_bytes()))


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
    (folder / "binaries").write_bytes(pickle.dumps(binaries))
    with (folder / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "controlplane.shared", str(folder)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
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


def main() -> None:
    """Be the keeper: run the control plane until no process uses it any more."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = Path(sys.argv[1])
    # A later one finds the logs of an earlier one in peace.
    fresh = next(p for n in itertools.count(1) if not (p := folder / f"run-{n}").exists())
    with (folder / "kept").open("a") as kept, (folder / "users").open("a") as users:
        # Somebody may be looking at this very moment whether it is kept.
        fcntl.flock(kept, fcntl.LOCK_EX)
        binaries = pickle.loads((folder / "binaries").read_bytes())
        with running_control_plane(fresh, binaries) as plane:
            (folder / "access").write_bytes(pickle.dumps(plane.access))
            print("ready", flush=True)
            fcntl.flock(users, fcntl.LOCK_EX)


if __name__ == "__main__":
    main()
