"""A checkpoint of open_clip's that brings no tokenizer is read with open_clip's own words."""

import open_clip
import repositories
from verified_repositories import derived

from lumen_manifest.spec.enums import Accelerator
from lumen_serving.backends.base import BackendSettings
from lumen_serving.backends.torch.backend import TorchBackend
from lumen_serving.media.text import Tokenizer

TEXTS = ("A photo of a cat,  on the roof!", "schön &amp; 写真 🦋", "the dog " * 60)


def test_texts_have_the_vectors_of_open_clips_own_tokens(tmp_path):
    folder = tmp_path / "laion-vit-b-32"
    reference = repositories.write(folder, "laion-vit-b-32")
    for path in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / path).unlink()
    wanted = reference.texts(open_clip.get_tokenizer(f"local-dir:{folder}")(list(TEXTS))).numpy()
    model = derived(folder)
    backend = TorchBackend()
    backend.load(model, BackendSettings(Accelerator.CPU, threads=2))

    tokens, truncated = Tokenizer.load(model).encode(TEXTS)
    got = backend.embed_texts(tokens)

    assert model.files.tokenizer is None
    assert truncated == (False, False, True)
    assert (got * wanted).sum(axis=1).min() > 0.9999
    assert (wanted[0] @ wanted[1]) < 0.999
