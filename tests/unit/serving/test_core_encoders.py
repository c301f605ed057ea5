"""Text encoders of a hub, configured from the shapes of their weights and from no network."""

import pytest

from lumen_resources.errors import ResourceValidationError, RuntimeNotSupportedError
from lumen_serving.backends.torch.architecture import bounded
from lumen_serving.backends.torch.text_encoders import configured_folder, encoder_config


def bert_shapes(vocabulary, width, layers, inner, positions, types):
    return {
        "embeddings.word_embeddings.weight": (vocabulary, width),
        "embeddings.position_embeddings.weight": (positions, width),
        "embeddings.token_type_embeddings.weight": (types, width),
        **{
            f"encoder.layer.{layer}.attention.self.query.weight": (width, width)
            for layer in range(layers)
        },
        **{
            f"encoder.layer.{layer}.intermediate.dense.weight": (inner, width)
            for layer in range(layers)
        },
    }


def nllb_shapes(vocabulary, width, layers, inner):
    return {
        "embed_tokens.weight": (vocabulary, width),
        **{f"layers.{layer}.self_attn.q_proj.weight": (width, width) for layer in range(layers)},
        **{f"layers.{layer}.fc1.weight": (inner, width) for layer in range(layers)},
    }


# As the encoders' own config.json has it.
@pytest.mark.parametrize(
    ("name", "shapes", "wanted"),
    [
        (
            "xlm-roberta-base",
            bert_shapes(250002, 768, 12, 3072, 514, 1),
            {"model_type": "xlm-roberta", "num_attention_heads": 12, "num_hidden_layers": 12,
             "vocab_size": 250002, "intermediate_size": 3072, "max_position_embeddings": 514,
             "layer_norm_eps": 1e-5, "pad_token_id": 1, "type_vocab_size": 1},
        ),
        (
            "FacebookAI/xlm-roberta-large",
            bert_shapes(250002, 1024, 24, 4096, 514, 1),
            {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24},
        ),
        (
            "sentence-transformers/LaBSE",
            bert_shapes(501153, 768, 12, 3072, 512, 2),
            {"model_type": "bert", "layer_norm_eps": 1e-12, "pad_token_id": 0,
             "type_vocab_size": 2},
        ),
        (
            "facebook/nllb-200-distilled-600M",
            nllb_shapes(256206, 1024, 12, 4096),
            {"model_type": "m2m_100", "d_model": 1024, "encoder_layers": 12,
             "encoder_attention_heads": 16, "encoder_ffn_dim": 4096, "scale_embedding": True,
             "activation_function": "relu", "max_position_embeddings": 1024},
        ),
        (
            "facebook/nllb-200-distilled-1.3B",
            nllb_shapes(256206, 1024, 24, 8192),
            {"encoder_layers": 24, "encoder_ffn_dim": 8192},
        ),
    ],
)  # fmt: skip
def test_an_encoder_is_configured_as_its_own_repository_has_it(name, shapes, wanted):
    found = encoder_config(name, shapes)

    assert {key: found[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    "name",
    ["someone/xlm-roberta-base", "xlm-roberta-base/../..", "/models/xlm-roberta-base", ""],
)
def test_a_name_that_only_looks_like_one_is_refused(name):
    with pytest.raises(RuntimeNotSupportedError, match="not taught here"):
        encoder_config(name, bert_shapes(9, 64, 1, 9, 9, 1))


@pytest.mark.parametrize("shapes", [{}, {"embeddings.word_embeddings.weight": (9,)}])
def test_weights_of_another_encoder_are_refused(shapes):
    with pytest.raises(ResourceValidationError, match="not those of a text tower"):
        encoder_config("xlm-roberta-base", shapes)


def test_the_library_is_shown_a_folder_with_the_configuration_alone():
    with configured_folder({"model_type": "bert"}) as folder:
        assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert not folder.exists()


@pytest.mark.parametrize(
    "config",
    [
        {"vision_cfg": {"image_size": 4096, "patch_size": 2}},
        {"vision_cfg": {"image_size": 224, "patch_size": 0}},
        {"text_cfg": {"context_length": 8193}},
        {"text_cfg": {"layers": 513}},
        {"text_config": {"num_hidden_layers": 10**5}},
        {"vision_cfg": {"layers": [3, 4, 10**4]}},
        {"embed_dim": 10**8},
        {"vision_cfg": {"mlp_ratio": float("inf")}},
        {"vision_cfg": {"mlp_ratio": float("nan")}},
    ],
)
def test_numbers_that_no_model_has_are_refused_before_anything_is_built(config):
    with pytest.raises(ResourceValidationError, match="at most"):
        bounded(config)


def test_what_models_have_is_let_through():
    text = {"vocab_size": 901629, "layers": 24, "eos_id": 2, "proj_type": None}
    vision = {"image_size": 448, "patch_size": 14, "layers": [3, 4, 6, 3], "mlp_ratio": 4.9231}
    bounded({"embed_dim": 1280, "text_cfg": text, "vision_cfg": vision})
    bounded({"text_config": {"eos_token_id": 49407, "intermediate_size": 8192}})
