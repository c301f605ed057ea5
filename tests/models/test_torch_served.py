"""From a published repository to served vectors by torch, beside open_clip on the same files."""

import io
import json
import signal

import numpy as np
import open_clip
import pytest
import repositories
import tiny_models
from local_runs import Lumen
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from verified_repositories import derived

from lumen_client import Client
from lumen_manifest.spec.enums import Accelerator
from lumen_resources.fetch.recording import record
from lumen_resources.progress import Progress
from lumen_serving.backends.base import BackendSettings
from lumen_serving.backends.torch.backend import TorchBackend
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.text import Tokenizer

TEXTS = ("A photo of a cat,  on the roof!", "zwei Hunde laufen über das Gras", "")
OPEN_CLIPS = sorted(
    name
    for name, row in repositories.ROWS.items()
    if "text_cfg" in row.cfg and name != "bioclip"  # the same architecture as laion's
)


def a_png() -> bytes:
    out = io.BytesIO()
    tiny_models.a_picture(3, 500, 310).save(out, "PNG")
    return out.getvalue()


def own_vectors(folder, reference, picture, texts):
    """What open_clip gives: its transform and its tokenizer of these files, its own forward."""
    document = json.loads((folder / "open_clip_config.json").read_text())
    said = {k: v for k, v in document["preprocess_cfg"].items() if k != "size"}
    size = document["preprocess_cfg"]["size"][0]
    transform = image_transform_v2(PreprocessCfg(size=size, **said), is_train=False)
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    pixels = transform(Image.open(io.BytesIO(picture)).convert("RGB"))[None]
    context = document["model_cfg"]["text_cfg"].get("context_length", 77)
    rows = tokenize(list(texts), context_length=context)
    return reference.pictures(pixels).numpy(), reference.texts(rows).numpy()


@pytest.mark.parametrize("name", OPEN_CLIPS)
def test_pictures_and_texts_have_open_clips_vectors(name, tmp_path):
    folder = tmp_path / name
    reference = repositories.write(folder, name)
    wanted = own_vectors(folder, reference, a_png(), TEXTS)
    model = derived(folder)
    backend = TorchBackend()
    backend.load(model, BackendSettings(Accelerator.CPU, threads=2))

    tokens, _ = Tokenizer.load(model).encode(TEXTS)
    vectors = (
        backend.embed_images(decode_rgb(a_png(), "image/png", model.preprocess)[None]),
        backend.embed_texts(tokens),
    )

    for got, own in zip(vectors, wanted, strict=True):
        assert (got * own).sum(axis=1).min() > 0.9999


def test_lumen_up_serves_a_folder_as_it_was_published(tmp_path):
    folder = tmp_path / "models" / "dfn-squash"
    reference = repositories.write(folder, "dfn-squash")
    picture, texts = own_vectors(folder, reference, a_png(), TEXTS[:2])
    record(folder, Progress())
    (tmp_path / "service.yaml").write_text(
        f"""
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {{name: clip}}
spec:
  family: clip
  model:
    name: dfn-squash
    runtime: torch
    source: {{uri: "file://{folder}"}}
  pool: cpu
"""
    )
    command = ("up", "-f", "service.yaml", "--port", "0", "--state-dir", str(tmp_path / "state"))

    with Lumen(*command, cwd=tmp_path) as run:
        # torch and what comes with it are read from the disk first.
        ready = run.until("ready", bound_s=240, service="clip")
        with Client(f"grpc://{run.until_up()}") as client:
            got = client.encode([a_png(), *TEXTS[:2]])
        run.process.send_signal(signal.SIGINT)
        code = run.ended()

    assert code == 0
    assert (ready["device"], ready["precision"]) == ("cpu", "fp32")
    wanted = np.concatenate([picture, texts])
    assert (np.asarray(got) * wanted).sum(axis=1).min() > 0.9999
