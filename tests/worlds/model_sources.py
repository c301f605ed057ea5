"""What tests of resources say of a tiny model: its configuration, its info, and damage to it."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lumen_manifest.server_config import ServerConfig
from lumen_resources.model.layouts import LabelSetFiles
from lumen_resources.model.model_info import FILE_NAME, ModelInfo

VISION = "onnx/vision.fp32.onnx"
TEXT = "onnx/text.fp32.onnx"


def a_config(
    uri: str | None, *labels: str, runtime: str = "onnx", **changes: object
) -> ServerConfig:
    """The settings of a server of tiny-clip with these label sets."""
    model = {"name": "tiny-clip", "runtime": runtime, "source": {"uri": uri}}
    sets = [{"name": name} for name in labels]
    document = {"service": "clip", "family": "clip", "model": model, "labelSets": sets}
    return ServerConfig.model_validate({**document, **changes})


def an_info_document(**changes: object) -> dict[str, object]:
    """A model_info.json with all that it must say."""
    return {
        "name": "demo",
        "version": "1.2.3",
        "description": "A model",
        "model_type": "clip",
        "source": {"format": "custom", "repo_id": "me/demo"},
        "runtimes": {"onnx": {"available": True}},
        "embedding_dim": 512,
        **changes,
    }


def an_info(*runtimes: str, **lumen: object) -> ModelInfo:
    """The same, parsed; `lumen` is our part of extra_metadata."""
    offered = {name: {"available": True} for name in runtimes or ("onnx",)}
    return ModelInfo.model_validate(
        an_info_document(runtimes=offered, extra_metadata={"lumen": lumen})
    )


def a_label_set(labels: Path, **changes: Any) -> LabelSetFiles:
    """A label set without vectors whose labels lie in this file."""
    plain = LabelSetFiles("set", labels, None, "", "a photo of a {}", "common")
    return dataclasses.replace(plain, **changes)


@contextlib.contextmanager
def edited_info(root: Path) -> Iterator[dict[str, Any]]:
    """Yield what a folder's model_info.json says, and write what has become of it."""
    info = json.loads((root / FILE_NAME).read_text())
    yield info
    (root / FILE_NAME).write_text(json.dumps(info))


def bent(content: bytes) -> bytes:
    """The same but for one bit in its middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
