"""What a machine with a GPU must show, within eight minutes: parity, its own evidence, and speed.

    export PYTHONPATH=tests/models:tests/worlds
    python tests/models/device_check.py --device cuda
    python tests/models/device_check.py --device cpu --tiny

Prints a line of JSON for each check and ends with 1 when one failed. Weights are seeded and random,
references are computed on the CPU by open_clip and transformers. Without an onnxruntime for the
device its part says what the server would say, and counts as failed.
"""

import argparse
import io
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import repositories
import tiny_models
import torch
from verified_repositories import config_of, derived

from lumen_export.graphs import InputSize, write_graph
from lumen_manifest.spec.enums import Accelerator, Precision
from lumen_serving.backends.base import Backend, BackendSettings, noise
from lumen_serving.backends.onnx import OnnxBackend
from lumen_serving.backends.torch.backend import TorchBackend
from lumen_serving.backends.torch.towers import open_towers
from lumen_serving.errors import StartError
from lumen_serving.media.images import decode_rgb
from lumen_terms.modality import Modality

# One of each kind of text tower, of picture tower and of library.
ROWS = ("mobileclip2", "siglip2", "nllb-clip-siglip", "xlm-roberta", "metaclip2-worldwide",
        "chinese-clip", "transformers-siglip")  # fmt: skip
LEAST = {Precision.FP32: 0.9999, Precision.FP16: 0.999, Precision.BF16: 0.999}
BATCHES = (1, 2, 8, 16, 32, 64, 128)
BUDGET_S = 480.0
# The whole of ViT-B-32, as open_clip has it; its texts keep the vocabulary of the tokenizer.
VIT_B_32 = "vit-b-32"


@dataclass(frozen=True, slots=True)
class Machine:
    """What is checked: the device, in which precisions, how much of it."""

    device: Accelerator
    precisions: tuple[Precision, ...]
    tiny: bool
    seconds: float

    @property
    def settings(self) -> BackendSettings:
        return BackendSettings(self.device, threads=torch.get_num_threads())


def main() -> int:
    """Run every check that the budget allows; 1 when one failed."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--device", choices=["cuda", "rocm", "cpu"], default="cuda")
    options.add_argument("--tiny", action="store_true", help="small models, a moment each")
    options.add_argument("--budget-s", type=float, default=BUDGET_S)
    asked = options.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    on_cpu = asked.device == "cpu"
    machine = Machine(
        Accelerator(asked.device),
        (Precision.FP32, Precision.BF16) if on_cpu else tuple(LEAST),
        asked.tiny,
        0.2 if asked.tiny else 3.0,
    )
    ends_at, failed = time.monotonic() + asked.budget_s, False
    with tempfile.TemporaryDirectory() as folder:
        for check in checks(machine, Path(folder)):
            if time.monotonic() > ends_at:
                say({"check": "budget", "ok": False, "because": "no time for the rest"})
                return 1
            try:
                said = check()
            except StartError as error:
                said = {"check": "start", "ok": False, "because": str(error)}
            failed |= not said["ok"]
            say(said)
    return int(failed)


def say(said: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def checks(machine: Machine, folder: Path) -> Iterator[Callable[[], Mapping[str, Any]]]:
    """Yield the checks, what matters most first."""
    if not machine.tiny:
        row = repositories.ROWS["laion-vit-b-32"]
        cfg = {**open_clip.get_model_config("ViT-B-32"), "quick_gelu": False}
        picture = {**row.picture, "size": [224, 224]}
        repositories.ROWS = {
            **repositories.ROWS,
            VIT_B_32: repositories.Published(row.write, row.kind, picture, cfg=cfg),
        }
    big = "laion-vit-b-32" if machine.tiny else VIT_B_32
    rows = ROWS[-1:] if machine.tiny else ROWS
    for precision in machine.precisions:
        yield lambda p=precision: torch_parity(machine, folder, big, p)
    yield lambda: torch_speed(machine, folder, big)
    yield lambda: onnx_parity(machine, folder, big)
    for name in rows:
        for precision in machine.precisions[::-2]:
            yield lambda n=name, p=precision: torch_parity(machine, folder, n, p)


def repository(folder: Path, name: str) -> tuple[Path, repositories.Reference]:
    """Write a repository once; the reference is made anew, and is the same."""
    return folder / name, repositories.write(folder / name, name)


def wanted(name: str, reference: repositories.Reference, items: Mapping[Modality, Any]) -> Any:
    """Return the references' rows of pictures and of texts."""
    picture = repositories.ROWS[name].picture
    mean, std = (np.float32(picture[key]) for key in ("mean", "std"))
    levels = items[Modality.IMAGE].astype(np.float32) / np.float32(255)
    pixels = ((levels - mean) / std).transpose(0, 3, 1, 2)
    rows = torch.from_numpy(items[Modality.TEXT])
    return (
        reference.pictures(torch.from_numpy(np.ascontiguousarray(pixels))).numpy(),
        reference.texts(rows).numpy(),
    )


def compared(backend: Backend, name: str, reference: Any, model: Any) -> dict[str, Any]:
    """Compare with the reference, and each item alone with itself in a batch."""
    items = noise(model, 19)
    items[Modality.TEXT] = repositories.tokens(repositories.ROWS[name], 19)
    own = wanted(name, reference, items)
    together = (
        backend.embed_images(items[Modality.IMAGE]),
        backend.embed_texts(items[Modality.TEXT]),
    )
    alone = (
        backend.embed_images(items[Modality.IMAGE][3:4]),
        backend.embed_texts(items[Modality.TEXT][3:4]),
    )
    least = [float((got * one).sum(axis=1).min()) for got, one in zip(together, own, strict=True)]
    same = [one.tobytes() == got[3:4].tobytes() for one, got in zip(alone, together, strict=True)]
    report = backend.report()
    return {
        "model": name,
        "cosine": {"pictures": round(least[0], 7), "texts": round(least[1], 7)},
        "bytes_alone_and_together": same,
        "report": {
            "runtime": f"{report.runtime} {report.version}",
            "device": report.device,
            "precision": report.precision,
            "providers": report.providers,
            **report.details,
        },
    }


def torch_parity(
    machine: Machine, folder: Path, name: str, precision: Precision
) -> Mapping[str, Any]:
    """Cosines to the reference, one item's bytes, and what the device says of itself."""
    place, reference = repository(folder, name)
    model = derived(place, precision=precision.value)
    backend = TorchBackend()
    backend.load(model, machine.settings)
    said = compared(backend, name, reference, model)
    ok = (
        min(said["cosine"].values()) >= LEAST[precision]
        and all(said["bytes_alone_and_together"])
        and said["report"]["device"] == machine.device.value
    )
    backend.close()
    return {"check": f"torch {precision.value}", "ok": bool(ok), **said}


def onnx_parity(machine: Machine, folder: Path, name: str) -> Mapping[str, Any]:
    """The same model as ONNX files, by onnxruntime on the device."""
    place, reference = repository(folder, name)
    model = derived(place)
    (place / "onnx").mkdir(exist_ok=True)
    size = InputSize(model.preprocess.size, model.context_length)
    for modality, tower in open_towers(model).items():
        half = "vision" if modality is Modality.IMAGE else "text"
        write_graph(tower, modality, size, place / "onnx" / f"{half}.fp32.onnx")
    (place / "model_info.json").unlink()
    model = derived(place, runtime="onnx")
    backend = OnnxBackend.configured(config_of(place, runtime="onnx"), None)
    backend.load(model, machine.settings)
    said = compared(backend, name, reference, model)
    ok = min(said["cosine"].values()) >= LEAST[Precision.FP32]
    rate = per_second(backend.embed_images, noise(model, 64)[Modality.IMAGE], machine.seconds)
    backend.close()
    return {"check": "onnx fp32", "ok": bool(ok), **said, "pictures_a_second": rate}


def torch_speed(machine: Machine, folder: Path, name: str) -> Mapping[str, Any]:
    """Pictures a second from JPEG and from bytes, beside the bare model on its best batch."""
    precision = Precision.FP32 if machine.device is Accelerator.CPU else Precision.FP16
    place, _ = repository(folder, name)
    model = derived(place, precision=precision.value)
    backend = TorchBackend()
    backend.load(model, machine.settings)
    batches = BATCHES[:3] if machine.tiny else BATCHES
    pictures = noise(model, max(batches))[Modality.IMAGE]
    served = {n: per_second(backend.embed_images, pictures[:n], machine.seconds) for n in batches}
    jpegs = [jpeg(number) for number in range(8)]
    with ThreadPoolExecutor() as pool:

        def from_jpegs(_: Any) -> Any:
            made = pool.map(lambda one: decode_rgb(one, "image/jpeg", model.preprocess), jpegs * 8)
            return backend.embed_images(np.stack(list(made)))

        decoded = per_second(from_jpegs, range(len(jpegs) * 8), machine.seconds)
    backend.close()
    bare = bare_speed(machine, model, precision, batches)
    return {
        "check": f"speed {precision.value}",
        "ok": True,
        "model": name,
        "from_bytes": served,
        "from_jpeg_1024x768": decoded,
        "bare_torch": bare,
        "of_the_best_bare": round(max(served.values()) / max(bare.values()), 3),
    }


def bare_speed(
    machine: Machine, model: Any, precision: Precision, batches: tuple[int, ...]
) -> dict[int, float]:
    """The tower itself on tensors that lie on the device, waiting for each batch."""
    device = "cpu" if machine.device is Accelerator.CPU else "cuda"
    dtype = torch.float32 if precision is Precision.FP32 else torch.float16
    tower = open_towers(model, precision)[Modality.IMAGE].to(device)
    side = model.preprocess.size
    items = torch.randn(max(batches), 3, side, side, device=device, dtype=dtype)

    @torch.inference_mode()
    def run(part: Any) -> Any:
        return tower(part).float().cpu()

    return {n: per_second(run, items[:n], machine.seconds) for n in batches}


def per_second(run: Callable[[Any], Any], items: Any, seconds: float) -> float:
    """How many items a second `run` takes, after one run that is not counted."""
    run(items)
    began_at, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - began_at) < seconds or not count:
        run(items)
        count += len(items)
    return round(count / passed, 1)


def jpeg(seed: int) -> bytes:
    out = io.BytesIO()
    tiny_models.a_picture(seed, 1024, 768).save(out, "JPEG", quality=90)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
