"""Towers on torch beside open_clip's and transformers' own forward, for every published layout."""

from dataclasses import replace

import numpy as np
import pytest
import repositories
import torch
from verified_repositories import derived, verified

from lumen_serving.backends.torch.towers import open_model, open_towers
from lumen_terms.modality import Modality

torch.set_num_threads(2)
PICTURES = 3


def cosines(got, wanted):
    got = torch.nn.functional.normalize(got.double(), dim=-1)
    return (got * wanted).sum(dim=1)


def pictures(row):
    size = row.picture["size"][0]
    return torch.from_numpy(
        np.random.default_rng(3).standard_normal((PICTURES, 3, size, size)).astype(np.float32)
    )


@pytest.fixture(scope="module", params=sorted(repositories.ROWS))
def published(request, tmp_path_factory):
    row = repositories.ROWS[request.param]
    folder = tmp_path_factory.mktemp("repositories") / request.param
    reference = repositories.write(folder, request.param)
    return row, reference, derived(folder)


def test_what_is_derived_is_what_the_row_says(published):
    row, reference, model = published
    encoders = {Modality.IMAGE: reference.pictures, Modality.TEXT: reference.texts}
    present = frozenset(modality for modality, encode in encoders.items() if encode)

    said = verified(model.root, row, reference.dim, modalities=present)

    assert model.modalities == said.modalities
    assert model.embedding_dim == reference.dim
    own = row.cfg.get("image_processor_type") == "CLIPImageProcessor"
    if Modality.IMAGE in present:
        # transformers rounds half a pixel of what is cropped away down, torchvision to even.
        crop = "down" if own else "even"
        assert model.preprocess == replace(said.preprocess, crop=crop)
    assert model.context_length == row.context
    # transformers' CLIP fills rows up with its end; in a causal tower that changes nothing.
    clips = own and row.kind == "clip"
    frame = ("own", row.vocabulary - 1) if clips else (said.text.frame, said.text.pad_id)
    assert (model.text.frame, model.text.pad_id) == frame
    score = open_model(model, modalities=()).score or model.score
    assert score.kind == row.score
    assert score.scale == pytest.approx(reference.scale, rel=1e-5)
    assert score.bias == pytest.approx(reference.bias, rel=1e-5)


def test_vectors_are_those_of_the_models_own_library(published):
    row, reference, model = published
    items = {
        Modality.IMAGE: pictures(row),
        Modality.TEXT: torch.from_numpy(repositories.tokens(row, PICTURES)),
    }

    towers = open_towers(model)

    for modality, tower in towers.items():
        own = reference.pictures if modality is Modality.IMAGE else reference.texts
        wanted = own(items[modality])
        with torch.inference_mode():
            got = tower(items[modality])
        assert got.shape == (PICTURES, reference.dim)
        assert cosines(got, wanted).min() > 0.999999
        # Random weights that answer the same for everything would prove nothing.
        assert (wanted[0] @ wanted[1]) < 0.999
