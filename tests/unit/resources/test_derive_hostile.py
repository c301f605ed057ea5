"""Repositories that are broken, contradict themselves or mean harm: each is refused by name."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_models import BY_ROW, CLIP, HALF, SIGLIP, Published, without

from lumen_resources.errors import ModelInfoError, ResourceError, TokenizerError
from lumen_resources.model.derive import derive

HUB = "open_clip_config.json"


def refused(there: Published) -> ResourceError:
    with pytest.raises(ResourceError) as caught:
        derive(there.repository, there.files(), there.read())
    assert caught.value.remedy
    assert caught.value.message.isprintable()
    return caught.value


def changed(row: str, path: str, edit: Callable[[dict[str, Any]], object]) -> Published:
    """The repository of a row, with one document edited in place or replaced."""
    there = BY_ROW[row]
    document = json.loads(json.dumps(there.documents[path]))
    edited = edit(document)
    said = document if edited is None else edited
    return Published(there.repository, {**there.documents, path: said}, there.large, there.sizes)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("no JSON", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"a": ' * 900 + "1" + "}" * 900, "nested more than 100 deep"),
        ("", "has 0 bytes"),
        ('{"model_cfg": {}}', "embed_dim"),
        ('{"model_cfg": [1]}', "embed_dim"),
    ],
)
def test_a_configuration_of_another_shape_is_refused(document, says):
    assert says in refused(changed("ViT-B-32", HUB, lambda _: document)).message


@pytest.mark.parametrize("dim", [0, -1, 1.5, True, "512", None, 10**30, [512]])
def test_a_dimension_is_a_number_that_vectors_can_have(dim):
    there = changed("ViT-B-32", HUB, lambda config: config["model_cfg"].update(embed_dim=dim))

    assert isinstance(refused(there), ModelInfoError)


@pytest.mark.parametrize(
    ("row", "where", "value", "says"),
    [
        ("ViT-B-32", ("text_cfg", "context_length"), 10**9, "context_length"),
        ("ViT-B-32", ("text_cfg", "tokenizer_mode"), "clips", "tokenizer_mode"),
        ("SigLIP", ("text_cfg", "tokenizer_kwargs"), {"clean": "shout"}, "clean 'shout'"),
        ("SigLIP", ("text_cfg", "tokenizer_kwargs"), {"trust_remote_code": True}, "trust_remote"),
        ("SigLIP", ("text_cfg", "hf_tokenizer_name"), "x" * 10_000, "hf_tokenizer_name"),
        ("SigLIP", ("text_cfg", "hf_tokenizer_name"), "a\x1b[31mb", "hf_tokenizer_name"),
        ("nllb-clip-siglip", ("text_cfg", "tokenizer_kwargs"), {"language": "\0"}, "language"),
        ("nllb-clip-siglip", ("text_cfg", "tokenizer_kwargs"), {"language": "of a"}, "language"),
        ("ViT-B-32", ("text_cfg",), "none", "text_cfg"),
        ("ViT-B-32", ("vision_cfg",), None, "vision_cfg"),
    ],
)
def test_what_nobody_computes_is_refused_by_its_field(row, where, value, says):
    def edit(config: dict[str, Any]) -> None:
        *path, last = where
        inside = config["model_cfg"]
        for part in path:
            inside = inside[part]
        inside[last] = value

    assert says in refused(changed(row, HUB, edit)).message


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"model_type": "siglip2"}, "NaFlex"),
        ({"model_type": "clipseg"}, "segments"),
        ({"model_type": "blip"}, "captioner"),
        ({"model_type": "owlvit"}, "detector"),
        ({"model_type": "llama"}, "model_type 'llama'"),
        ({"model_type": ["clip"]}, "model_type"),
        (SIGLIP | {"vision_config": {"num_patches": 256}}, "NaFlex"),
        (SIGLIP | {"text_config": {"hidden_size": 512}}, "vectors of 512, pictures of 768"),
        (CLIP | {"projection_dim": -3}, "projection_dim"),
    ],
)
def test_kinds_that_are_not_served_are_refused_and_others_named(document, says):
    error = refused(changed("transformers' CLIP", "config.json", lambda _: document))

    assert says in error.message


@pytest.mark.parametrize(
    ("row", "settings", "kind"),
    [
        # A token that the vocabulary lacks, one that is no token, and none at all.
        ("SigLIP", {"pad_token": "<nowhere>", "added_tokens_decoder": {}}, TokenizerError),
        ("SigLIP", {"pad_token": 7}, TokenizerError),
        ("SigLIP", {}, TokenizerError),
        (
            "SigLIP",
            {"pad_token": "p", "added_tokens_decoder": {"9" * 9: {"content": "p"}}},
            ModelInfoError,
        ),
        (
            "SigLIP",
            {"pad_token": "p", "added_tokens_decoder": {"9" * 5000: {"content": "p"}}},
            TokenizerError,
        ),
        ("SigLIP", {"pad_token": "p", "added_tokens_decoder": [["p"]]}, TokenizerError),
    ],
)
def test_a_tokenizer_whose_settings_lie_is_refused(row, settings, kind):
    there = changed(row, "tokenizer_config.json", lambda _: settings)
    tokenizer = {"added_tokens": "none", "model": {"vocab": [["a", 0.0], "odd", ["b", -1]]}}
    documents = {**there.documents, "tokenizer.json": tokenizer}

    assert isinstance(refused(Published(there.repository, documents, there.large)), kind)


@pytest.mark.parametrize(
    ("tokenizer", "number"),
    [
        ({"added_tokens": [{"id": 3, "content": "<p>"}], "model": {"vocab": {"<p>": 9}}}, 3),
        ({"model": {"vocab": {"<p>": 9}}}, 9),
        ({"added_tokens": [], "model": {"vocab": [["a", 0.0], ["<p>", -2.5]]}}, 1),
    ],
)
def test_a_pad_token_is_numbered_by_the_tokenizer_itself(tokenizer, number):
    there = changed("SigLIP", "tokenizer_config.json", lambda _: {"pad_token": {"content": "<p>"}})
    documents = {**there.documents, "tokenizer.json": tokenizer}
    whole = Published(there.repository, documents, there.large)

    info, _ = derive("siglip", whole.files(), whole.read())

    assert info.lumen.text is not None
    assert info.lumen.text.pad_id == number


def test_files_that_are_missing_empty_or_too_large_are_named():
    assert "holds no weights" in refused(without("ViT-L-14 laion", *BY_ROW["SigLIP"].large)).message
    assert (
        "is not there" in refused(without("transformers' CLIP", "preprocessor_config.json")).message
    )
    nothing = without("ViT-B-32 openai", HUB)
    assert refused(Published("someone/else", nothing.documents, nothing.large)).message.startswith(
        "someone/else has no open_clip_config.json"
    )
    empty = Published("a/b", BY_ROW["SigLIP"].documents, (), {"open_clip_model.safetensors": 0})
    assert refused(empty).message == "open_clip_model.safetensors is empty."
    there = BY_ROW["SigLIP"]
    files = there.files() | {HUB: 10**12}
    with pytest.raises(ModelInfoError, match="1,000,000,000,000 bytes"):
        derive("huge", files, there.read())


def test_a_bare_architecture_takes_its_pictures_from_the_table_or_is_refused():
    config = {"embed_dim": 512, "vision_cfg": {"image_size": 256}, "text_cfg": {"width": 8}}

    def bare(repository: str, **changes: object) -> Published:
        return Published(repository, {"config.json": config | changes}, ("model.pt",))

    there = bare("me/MobileCLIP2-S2")
    info, _ = derive("m", there.files(), there.read(), repository=there.repository)
    assert info.lumen.preprocess is not None
    assert (info.lumen.preprocess.interpolation, info.lumen.preprocess.std) == (
        "bilinear",
        (1.0, 1.0, 1.0),
    )
    assert "nothing says how pictures" in refused(bare("me/mine")).message
    assert "vectors of 640" in refused(bare("me/MobileCLIP2-S2", embed_dim=640)).message


def test_open_clips_configuration_decides_whatever_transformers_file_says_beside_it():
    there = changed(
        "ViT-B-32", "preprocessor_config.json", lambda said: said | {"image_mean": HALF}
    )

    _, said = derive(there.repository, there.files(), there.read())

    assert any("0.4815" in each and "(open_clip_config.json)" in each for each in said)


def test_paths_that_lead_elsewhere_are_never_asked_for():
    there = BY_ROW["ViT-B-32"]
    hostile = ("../open_clip_config.json", "/etc/passwd", "a\\b", "x/../README.md", "\x1b.json")
    asked = []

    def read(path: str) -> bytes:
        asked.append(path)
        return there.contents()[path]

    info, _ = derive("m", there.files() | dict.fromkeys(hostile, 10), read)

    assert not set(hostile) & {*asked, *(p for r in info.runtimes.values() for p in r.all_files())}


def test_a_listing_is_bounded():
    many = {f"{n}.bin": 1 for n in range(10_001)}

    with pytest.raises(ModelInfoError, match="more than 10,000 files"):
        derive("m", many, BY_ROW["ViT-B-32"].read())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["embed_dim", "vision_cfg", "text_cfg", "init_logit_bias", "quick_gelu", "custom_text"]
)


@given(field=FIELDS, value=JSON_VALUES, settings=JSON_VALUES)
def test_whatever_a_configuration_says_it_is_used_or_refused(field, value, settings):
    there = changed("SigLIP", HUB, lambda config: config["model_cfg"].update({field: value}))
    documents = {**there.documents, "tokenizer_config.json": settings}
    whole = Published(there.repository, documents, there.large, there.sizes)
    documents_read = {**whole.contents(), "tokenizer.json": b"{}"}
    with contextlib.suppress(ResourceError):
        info, sentences = derive("m", whole.files(), documents_read.__getitem__)
        assert info.embedding_dim
        assert sentences


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("\ufeff---\r\nlicense: 'apple-amlr'\r\n---\r\n", "apple-amlr"),
        ("---\nlicense:\n- cc-by-nc-4.0\n---\n", "cc-by-nc-4.0"),
        ("---\nlicense_name: apple-amlr\nlicense: other\n---\n", "apple-amlr"),
        ("---\nlicense: \x1b[31mfree\n---\n", None),
        ("---\nlicense: " + "x" * 500 + "\n---\n", None),
        ("# A model\nlicense: mit\n", None),
        ("---\nlicense: mit\n", None),
    ],
)
def test_the_licence_is_what_the_readme_states_in_front(readme, licence):
    there = BY_ROW["SigLIP"]
    documents = {**there.documents, "README.md": readme}
    whole = Published(there.repository, documents, there.large, there.sizes)

    info, sentences = derive("m", whole.files(), whole.read())

    assert (info.metadata and info.metadata.license) == licence
    assert any("Licence" in sentence for sentence in sentences) is (licence is not None)
