"""What is derived from published repositories is what their own libraries were told."""

import open_clip
import pytest
from repositories import ROWS, write
from trained_tokenizers import KINDS
from verified_repositories import derived

from lumen_resources.model.layouts import Cleaning, TextRule
from lumen_terms.modality import Modality
from lumen_terms.open_clip_tags import open_clip_tags

# Where transformers itself tokenises, it cleans nothing before tokenizer.json does.
_UNCLEANED = {
    "transformers-clip",
    "transformers-metaclip2",
    "transformers-siglip",
    "transformers-siglip2",
    "m-clip",
}


@pytest.mark.parametrize("name", ROWS)
def test_a_published_repository_is_what_its_own_library_makes_of_it(name, tmp_path):
    row = ROWS[name]
    folder = tmp_path / name
    reference = write(folder, name)

    model = derived(folder)

    kind = KINDS[row.kind]
    rule = TextRule(
        row.context,
        Cleaning(kind.cleaning),
        kind.frame,
        kind.pad_id,
        strip_sep=kind.strip_sep,
        language=kind.language,
    )
    if name in _UNCLEANED:
        assert (model.text.cleaning, model.text.frame) == (Cleaning.NONE, "own")
        assert model.text.context_length == row.context
    else:
        assert model.text == rule
    assert model.embedding_dim == reference.dim
    assert model.info.license == row.license
    if reference.pictures is None:
        assert model.modalities == {Modality.TEXT}
    else:
        picture = model.preprocess
        assert (picture.size, picture.resize_mode) == (
            row.picture["size"][0],
            row.picture["resize_mode"],
        )
        assert picture.interpolation == row.picture["interpolation"]
        assert list(picture.mean) == row.picture["mean"]
        assert list(picture.std) == row.picture["std"]
    weights = model.files.weights
    assert weights is not None
    if weights.suffix == ".safetensors":
        assert model.score.kind == row.score
        assert model.score.scale == pytest.approx(reference.scale, rel=1e-5)
        assert model.score.bias == pytest.approx(reference.bias)


def test_the_table_of_tags_is_open_clip_s_own():
    known = {tag.name: tag for tag in open_clip_tags()}
    listed = {f"{arch}::{tag}" for arch, tag in open_clip.list_pretrained()}

    assert set(known) == listed
    for name, tag in known.items():
        config = open_clip.get_model_config(tag.architecture)
        weights = open_clip.get_pretrained_cfg(tag.architecture, tag.tag)
        text = config["text_cfg"]

        assert tag.embedding_dim == config["embed_dim"], name
        assert tag.context_length == text.get("context_length", 77), name
        assert tag.tokenizer == text.get("hf_tokenizer_name", ""), name
        assert tag.causal is not text.get("no_causal_mask", False), name
        assert tag.has_bias is ("init_logit_bias" in config), name
        # It belongs to the weights, whichever name the architecture is called by.
        quick = weights.get("quick_gelu", False) or config.get("quick_gelu", False)
        assert tag.quick_gelu is quick, name
        assert f"{tag.repository}/{tag.file}" == weights["hf_hub"], name
        assert tag.mean == pytest.approx(weights["mean"], abs=1e-6), name
        assert tag.std == pytest.approx(weights["std"], abs=1e-6), name
        assert tag.interpolation == weights["interpolation"], name
        assert tag.resize_mode == weights["resize_mode"], name
