"""The folders of a run: a locked state directory, one folder per run, a cache that all share.

STATE/lock            held while a run lives; names its pid
STATE/runs/<run>/     routes.json, pods/<pod>/: settings files and termination logs
CACHE/models/...      verified model files, kept between runs
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lumen_local.errors import StateDirBusy, StateDirUnusable


@dataclass(frozen=True, slots=True)
class RunFolders:
    """Where one run keeps its things."""

    run_id: str
    state: Path
    run: Path
    cache: Path

    @property
    def routes_file(self) -> Path:
        """Return the file that tells the router what to serve."""
        return self.run / "routes.json"

    def pod(self, name: str) -> Path:
        """Return a pod's own folder."""
        return self.run / "pods" / name


def default_state_dir(env: Mapping[str, str]) -> Path:
    """Return the platform's folder for state: XDG_STATE_HOME or ~/.local/state."""
    return _xdg(env, "XDG_STATE_HOME", ".local/state") / "lumen"


def default_cache_dir(env: Mapping[str, str]) -> Path:
    """Return the platform's folder for caches: XDG_CACHE_HOME or ~/.cache."""
    return _xdg(env, "XDG_CACHE_HOME", ".cache") / "lumen"


def older_cache_dir(env: Mapping[str, str]) -> Path:
    """Return where an older configuration that names no cache finds its models.

    Older servers kept them in ~/.lumen/models: whoever has that folder has the files there.
    """
    older = Path.home() / ".lumen" / "models"
    return older if older.is_dir() else default_cache_dir(env)


def _xdg(env: Mapping[str, str], variable: str, fallback: str) -> Path:
    value = env.get(variable, "")
    # The specification tells to ignore relative values.
    return Path(value) if Path(value).is_absolute() else Path.home() / fallback


@contextlib.contextmanager
def open_run(state: Path, cache: Path) -> Iterator[RunFolders]:
    """Lock the state directory, clear what dead runs left, make this run's folders.

    Raises StateDirBusy while another run holds it, StateDirUnusable when it cannot be written.
    The lock is the kernel's: it ends with the process, however that ends.
    """
    run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    folders = RunFolders(run_id=run_id, state=state, run=state / "runs" / run_id, cache=cache)
    try:
        state.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateDirUnusable(
            f"{error.filename} cannot be used: {error.strerror}. "
            "Choose other folders: --state-dir DIR --cache-dir DIR"
        ) from error
    try:
        _lock(lock, state)
        shutil.rmtree(state / "runs", ignore_errors=True)
        folders.run.mkdir(parents=True)
        yield folders
    finally:
        shutil.rmtree(folders.run, ignore_errors=True)
        os.close(lock)


def _lock(lock: int, state: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        raise StateDirBusy(
            f"Another lumen runs here already (pid {holder or 'unknown'}) and uses {state}. "
            "Stop it, or give this one a folder of its own: --state-dir DIR"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
