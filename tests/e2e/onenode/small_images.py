"""Images with one static program each: what holds a pod together, and the cluster's DNS.

Written as Docker archives by hand: a tar with a configuration and one layer.
"""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

_MODE = 0o755
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_image(archive: Path, reference: str, program: Path) -> Path:
    """Write an image that holds the program at its root and starts it."""
    machine = platform.machine()
    layer = _tar({program.name: program.read_bytes()})
    configuration = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
        }
    ).encode()
    described = {
        "Config": f"{_digest(configuration)}.json",
        "RepoTags": [reference],
        "Layers": ["layer.tar"],
    }
    parts = {
        described["Config"]: configuration,
        "layer.tar": layer,
        "manifest.json": json.dumps([described]).encode(),
    }
    archive.write_bytes(_tar(parts))
    return archive


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), _MODE
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
