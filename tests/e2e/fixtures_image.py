"""Build the image of what the tests run in the cluster: `fixtures_image.build(...)`."""

import shutil
import subprocess
import tempfile
from pathlib import Path

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_DAMAGED = "demo-clip-damaged"
_WEIGHTS = "onnx/vision.fp16.onnx"


def build(reference: str, server_image: str, archive: Path) -> None:
    """Build the image and save it; raises CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="lumen-fixtures-") as name:
        context = Path(name)
        shutil.copytree(_ROOT / "examples/demo/models", context / "models")
        shutil.copytree(_ROOT / "examples/pictures", context / "pictures")
        shutil.copytree(_HERE / "in_cluster", context / "in_cluster")
        _damage(context / "models")
        command = ["buildah", "build", "--isolation", "chroot", "--format", "docker"]
        command += ["--pull-never", "--build-arg", f"SERVER_IMAGE={server_image}", "--quiet"]
        command += ["--file", str(_HERE / "fixtures.Containerfile"), "--tag", reference, name]
        _run(command)
    archive.unlink(missing_ok=True)
    _run(["buildah", "push", "--quiet", reference, f"docker-archive:{archive}:{reference}"])


def _damage(models: Path) -> None:
    """Add a model whose weights have one other byte than was recorded."""
    damaged = shutil.copytree(models / "demo-clip", models / _DAMAGED)
    weights = damaged / _WEIGHTS
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0xFF
    weights.write_bytes(content)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
