"""The process that owns a shared control plane: `keeper.py FOLDER PROGRAM ...` (shared.py)."""

import fcntl
import itertools
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from controlplane.plane import running_control_plane  # noqa: E402 - the path comes first
from controlplane.shared import binaries_from, write_access  # noqa: E402


def main() -> None:
    """Run the control plane until no process uses it any more."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder, binaries = Path(sys.argv[1]), binaries_from(sys.argv[2:])
    with (folder / "kept").open("a") as kept, (folder / "users").open("a") as users:
        # Somebody may be looking at this very moment whether it is kept.
        fcntl.flock(kept, fcntl.LOCK_EX)
        with running_control_plane(_fresh(folder), binaries) as plane:
            write_access(folder, plane.access)
            print("ready", flush=True)
            fcntl.flock(users, fcntl.LOCK_EX)


def _fresh(folder: Path) -> Path:
    # A later one finds the logs of an earlier one in peace.
    return next(p for n in itertools.count(1) if not (p := folder / f"run-{n}").exists())


if __name__ == "__main__":
    main()
