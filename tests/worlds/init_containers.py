"""The init container `resources` as a process of this machine.

`pyproject.toml` makes this module importable as `init_containers`.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from model_sources import a_config
from ports import free_ports


class InitContainer:
    """One run of `python -m lumen_resources` with folders of its own, readable by every user."""

    def __init__(self, folder: Path, uri: str, cache: Path | None = None) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}
        self.cache = cache or folder / "cache"
        self.log = folder / "termination.log"
        self.log.touch()
        self.log.chmod(0o666)
        (folder / "server.json").write_text(a_config(uri).to_json())
        (self.port,) = free_ports(1)

    def start(
        self, command: Sequence[str] = ("-m", "lumen_resources"), **options: object
    ) -> subprocess.Popen[bytes]:
        env = {
            **os.environ,
            "LUMEN_CONFIG": str(self.folder / "server.json"),
            "LUMEN_CACHE_DIR": str(self.cache),
            "LUMEN_SOURCE_DIR": str(self.folder),
            "LUMEN_TERMINATION_LOG": str(self.log),
            "LUMEN_BIND": "127.0.0.1",
            "LUMEN_METRICS_PORT": str(self.port),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.variables,
        }
        return subprocess.Popen(
            [sys.executable, *command], env=env, cwd=self.folder, stderr=subprocess.PIPE, **options
        )

    def run(self, **options: object) -> tuple[int, dict[str, object]]:
        process = self.start(**options)
        _, errors = process.communicate(timeout=60)
        assert b"Traceback" not in errors, errors.decode()
        return process.returncode, self.termination()

    def termination(self) -> dict[str, object]:
        content = self.log.read_bytes()
        assert len(content) <= 4096
        return json.loads(content)

    def status(self) -> dict[str, object]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=5) as answer:
            return json.load(answer)

    def parts(self) -> list[Path]:
        incoming = self.cache / "models" / "tiny-clip" / ".lumen" / "incoming"
        return list(incoming.glob("*/*.part"))


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
