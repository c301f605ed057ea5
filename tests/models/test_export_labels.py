"""Species that go along in an export: the vectors that a server computes for itself."""

import json

import numpy as np
import pytest
import repositories
import torch
from open_clip import get_tokenizer

from lumen_export.label_files import LabelPlan
from lumen_export.run import ExportPlan, export
from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Family, Precision
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.fetch.recording import record
from lumen_resources.labels import prepared_labels
from lumen_resources.labels.templates import framed, frames
from lumen_resources.progress import Progress
from lumen_resources.signals import StopRequest
from lumen_serving.prepare.command import find_missing
from lumen_serving.prepare.label_vectors import compute
from lumen_serving.prepare.work import PrepareWork
from lumen_serving.settings import ServerSettings

SPECIES = [
    [["Animalia", "Chordata", "Aves", "Passeriformes", "Paridae", "Parus", "major"], "great tit"],
    [["Animalia", "Chordata", "", "Cypriniformes", "Cyprinidae", "Cyprinus", "carpio"], ""],
    [
        ["Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "canina"],
        "dog rose",
    ],
]
# Source: BioCLIP's own way to write a taxon; what is unknown is left out.
TEXTS = (
    "Animalia Chordata Aves Passeriformes Paridae Parus major with common name great tit",
    "Animalia Chordata Cypriniformes Cyprinidae Cyprinus carpio",
    "Plantae Tracheophyta Magnoliopsida Rosales Rosaceae Rosa canina with common name dog rose",
)


def config_of(root, runtime):
    spec = {"name": "tiny-bioclip", "runtime": runtime, "source": {"uri": root.as_uri()}}
    document = {"service": "x", "family": "bioclip", "model": spec}
    return ServerConfig.model_validate({**document, "labelSets": [{"name": "species"}]})


def verified(root, runtime):
    return fetch_and_verify(config_of(root, runtime), root.parent / "cache", root, Progress())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The repository with its list of species, the reference, and the folder made of both."""
    folder = tmp_path_factory.mktemp("species")
    reference = repositories.write(folder / "bioclip", "bioclip")
    (folder / "bioclip" / "species.json").write_text(json.dumps(SPECIES))
    record(folder / "bioclip", Progress())
    labels = LabelPlan((folder / "bioclip" / "species.json",), Family.BIOCLIP)
    plan = ExportPlan((Precision.FP32,), folder / "out", labels=labels)
    source = verified(folder / "bioclip", "torch")
    export(source, plan, Progress())
    return folder, reference


def server_s_own(folder):
    """What the init container computes for a model that ships no vectors."""
    root = folder / "bioclip"
    model = verified(root, "torch")
    settings = ServerSettings.from_environment({"LUMEN_CACHE_DIR": str(folder / "cache")})
    missing = list(find_missing(model))
    with StopRequest() as stop:
        compute(model, missing, PrepareWork(config_of(root, "torch"), settings, Progress(), stop))
    ((files, labels),) = missing
    return np.load(prepared_labels.prepared(model, files, labels))


def test_species_have_the_vectors_that_a_server_computes_itself(exported):
    folder, _ = exported
    shipped = np.load(folder / "out" / "labels/species.npy")

    own = server_s_own(folder)

    assert shipped.shape == own.shape == (3, 48)
    assert (shipped * own).sum(axis=1).min() > 0.99999


def test_they_are_the_mean_of_the_taxon_in_eighty_sentences(exported):
    folder, reference = exported
    sentences = frames("openai-80")
    tokenize = get_tokenizer("ViT-B-32")

    shipped = np.load(folder / "out" / "labels/species.npy")

    assert len(sentences) == 80
    for row, text in zip(shipped, TEXTS, strict=True):
        vectors = reference.texts(tokenize(framed([text], sentences)))
        mean = torch.nn.functional.normalize(vectors.mean(dim=0), dim=0).numpy()
        assert row @ mean > 0.99999


def test_the_folder_serves_them_as_they_are(exported):
    folder, _ = exported

    model = verified(folder / "out", "onnx")

    (files,) = model.label_sets
    assert files.embeddings == folder / "out" / "labels/species.npy"
    assert list(find_missing(model)) == []
