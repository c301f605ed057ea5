"""The demo models do what docs/demo-models.md says, computed without our servers.

The figures are asserted a little below the documented ones: Pillow versions differ by a level
here and there, and these are other seeds than the page's.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODELS = EXAMPLES / "demo" / "models"
PICTURES = EXAMPLES / "pictures"
sys.path.insert(0, str(EXAMPLES / "demo"))

from draw import ABSTRACT, ANIMALS, SUBJECTS, Look, draw  # noqa: E402
from measure import SCENES, Cascade, Figures, measure  # noqa: E402

FOLDERS = [MODELS / "demo-clip", MODELS / "demo-bioclip"]
SEEDS = range(3_000_000, 3_000_008)


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return Cascade(MODELS, threads=2)


@pytest.fixture(scope="module")
def figures(cascade) -> Figures:
    return measure(cascade, Look.SEEN, SEEDS)


def model_info(folder: Path) -> dict:
    return json.loads((folder / "model_info.json").read_text())


def test_unseen_drawings_get_their_scene(figures):
    assert figures.scene >= 0.97


def test_unseen_animals_end_as_their_species(figures):
    assert figures.species >= 0.95


def test_unseen_drawings_are_named_among_all_36(figures):
    assert figures.objects >= 0.95


def test_hardly_anything_but_animals_is_sent_to_bioclip(figures):
    assert figures.strays <= 0.01 * figures.others


def test_a_style_never_trained_on_is_mostly_understood(cascade):
    unseen = measure(cascade, Look.UNSEEN, SEEDS[:4])

    assert unseen.scene >= 0.80
    assert unseen.species >= 0.70


def test_the_shipped_pictures_get_the_answers_that_ship_with_them(cascade):
    expected = json.loads((PICTURES / "expected.json").read_text())
    pictures = [Image.open(PICTURES / name) for name in expected]

    answers = cascade.answers(pictures)

    given = {
        name: {"source": answer.source, "label": answer.label}
        for name, answer in zip(expected, answers, strict=True)
    }
    assert expected == given


def test_every_shipped_picture_has_an_expected_answer():
    shipped = {path.name for path in PICTURES.iterdir()} - {"expected.json"}

    assert set(json.loads((PICTURES / "expected.json").read_text())) == shipped


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_file_is_listed_with_its_size_and_digest(folder):
    listed = model_info(folder)["extra_metadata"]["lumen"]["files"]
    files = {path for path in folder.rglob("*") if path.is_file()} - {folder / "model_info.json"}

    found = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files
    }
    assert listed == found


@pytest.mark.parametrize("family", ["clip", "bioclip"])
def test_onnx_vectors_agree_with_those_open_clip_computed(cascade, family):
    towers = getattr(cascade, family)
    parity = towers.info["extra_metadata"]["lumen"]["parity"]
    expected = np.load(towers.folder / parity["vectors"])

    given = np.concatenate(
        [
            towers.images([Image.open(towers.folder / entry["image"])])
            if "image" in entry
            else towers.texts([entry["text"]])
            for entry in parity["inputs"]
        ]
    )

    assert np.allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-3)
    assert (given * expected).sum(1).min() >= 0.9999


def test_species_vectors_are_those_of_the_label_template(cascade):
    names = [animal.name for animal in ANIMALS]
    shipped = np.load(cascade.bioclip.folder / "labels" / "drawn_species.npy")

    computed = cascade.bioclip.texts([f"a photo of a {name}" for name in names])

    assert (shipped * computed).sum(1).min() >= 0.9999


def test_labels_carry_the_whole_lineage(cascade):
    path = cascade.bioclip.folder / "labels" / "drawn_species.json"

    labels = json.loads(path.read_text())

    assert [[list(animal.lineage), animal.name] for animal in ANIMALS] == labels
    assert {7} == {len(lineage) for lineage, _ in labels}


@pytest.mark.parametrize("family", ["clip", "bioclip"])
def test_a_picture_has_the_same_vector_alone_and_in_a_batch(cascade, family):
    towers = getattr(cascade, family)
    pictures = [draw(subject, SEEDS[0]) for subject in SUBJECTS[:6]]

    together = towers.images(pictures)
    alone = np.concatenate([towers.images([picture]) for picture in pictures])

    assert np.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    "words", ["a bird", "a plant", "a fungus", "an insect", "an abstract painting"]
)
def test_prompts_of_the_other_scene_presets_find_their_pictures(cascade, words):
    shown = {
        "a bird": "robin", "a plant": "flower", "a fungus": "mushroom",
        "an insect": "monarch", "an abstract painting": "abstract painting",
    }  # fmt: skip
    others = [name for name in shown.values() if name != shown[words]]
    drawn = {subject.name: subject for subject in (*SUBJECTS, ABSTRACT)}
    pictures = [draw(drawn[name], seed) for name in (shown[words], *others) for seed in SEEDS]

    cosines = cascade.clip.images(pictures) @ cascade.clip.texts([f"a photo of {words}"])[0]

    assert set(range(len(SEEDS) - 1)) <= set(np.argsort(-cosines)[: len(SEEDS) + 1].tolist())


def test_the_scene_prompts_are_told_apart_by_their_own_pictures(cascade):
    vectors = cascade.clip.texts(list(SCENES.values()))

    assert (vectors @ vectors.T - 2 * np.eye(len(SCENES))).max() < 0.8
