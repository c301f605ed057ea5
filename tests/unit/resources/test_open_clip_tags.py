"""open_clip's table, as it is looked up by names in any spelling."""

import pytest

from lumen_terms.open_clip_tags import architecture_tags, find_tag, open_clip_tags


def test_every_tag_says_all_that_decides_a_vector():
    tags = open_clip_tags()

    assert len({tag.name for tag in tags}) == len(tags) == 196
    assert all(min(tag.std) > 0 and tag.repository.count("/") == 1 for tag in tags)
    assert {tag.cleaning for tag in tags if tag.has_bias} == {"canonicalize", "whitespace"}
    assert not any(tag.quick_gelu for tag in tags if "datacomp" in tag.tag)


@pytest.mark.parametrize(
    "name",
    [
        "ViT-B-32::openai",
        "ViT-B-32__openai",
        "vit-b-32::OPENAI",
        "timm/vit_base_patch32_clip_224.openai",
    ],
)
def test_a_tag_is_found_in_the_spellings_that_are_in_use(name):
    found = find_tag(name)

    assert found is not None
    assert (found.name, found.quick_gelu) == ("ViT-B-32::openai", True)


def test_what_is_unknown_is_not_found():
    assert find_tag("ViT-B-32") is None
    assert find_tag("") is None
    assert [tag.name for tag in architecture_tags("mobileclip2_s4")] == ["MobileCLIP2-S4::dfndr2b"]
    assert list(architecture_tags("open_clip_pytorch_model")) == []
