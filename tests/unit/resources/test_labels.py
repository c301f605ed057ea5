"""Label sets: formats, texts, filters, matrices, computed vectors that resume."""

import hashlib
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_sources import a_label_set

from lumen_resources.errors import LabelSetError
from lumen_resources.labels import label_sets, prepared_labels
from lumen_resources.labels.label_sets import Labels, load_labels, load_matrix, parse_labels
from lumen_resources.labels.rows import WrongRowError, refuse_wrong_rows
from lumen_resources.labels.templates import framed, frames

ROBIN = (("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Erithacus", "rubecula"),
         "European Robin")  # fmt: skip
MORPHO = (("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Nymphalidae", "Morpho", "menelaus"),
          "")  # fmt: skip


def a_taxonomy() -> Labels:
    return parse_labels(json.dumps([ROBIN, MORPHO]).encode())


@pytest.mark.parametrize("wrapped", [False, True])
def test_id2label_is_ordered_by_number_not_by_text(wrapped):
    names = {str(i): f"class {i}" for i in reversed(range(12))}
    document = {"id2label": names} if wrapped else names

    assert parse_labels(json.dumps(document).encode()).names[10] == "class 10"


def test_ranks_that_are_absent_or_null_are_unknown():
    labels = parse_labels(b'[[["Animalia", null], null]]')

    assert labels.lineages == [("Animalia", "", "", "", "", "", "")]
    assert labels.texts() == ["Animalia"]
    assert labels.texts("path8") == ["Animalia/*/*/*/*/*/*/*"]


@pytest.mark.parametrize(
    ("label_format", "expected"),
    [
        ("common", ["European Robin", "Morpho menelaus"]),
        ("scientific", ["Erithacus rubecula", "Morpho menelaus"]),
        (
            "path8",
            [
                "/".join((*ROBIN[0], "European Robin")),
                "Animalia/Arthropoda/Insecta/Lepidoptera/Nymphalidae/Morpho/menelaus/*",
            ],
        ),
    ],
)
def test_a_species_is_written_in_three_ways(label_format, expected):
    assert expected == a_taxonomy().texts(label_format)


def test_a_label_is_put_into_each_sentence_of_a_template():
    assert framed(["cat {x}", "dog"], frames("a {} here")) == ["a cat {x} here", "a dog here"]
    for wrong in ("a photo", "{} and {}"):
        with pytest.raises(LabelSetError):
            frames(wrong)


def test_openai_80_stands_for_the_sentences_that_published_vectors_are_means_of():
    prompts = framed(["cat"], frames("openai-80"))

    assert len(prompts) == len(set(prompts)) == 80
    assert (prompts[0], prompts[-1]) == ("a bad photo of a cat.", "a tattoo of the cat.")
    # The digest of the same sentences in pybioclip's OPENA_AI_IMAGENET_TEMPLATE.
    digest = hashlib.sha256("\n".join(prompts).encode()).hexdigest()
    assert digest == "68af1279214bfd1dea00257b8004ba31fa3297a04c0350b4d822cc8ec7aada31"


def test_what_is_embedded_of_a_species_is_its_known_ranks_and_common_name_however_it_is_shown():
    robin = "Animalia Chordata Aves Passeriformes Muscicapidae Erithacus rubecula"
    fish = (("Animalia", "Chordata", "", "Cypriniformes", "", "Danio", ""), "zebra danio")
    labels = parse_labels(json.dumps([ROBIN, MORPHO, fish]).encode())

    assert labels.embedded(taxonomic=True) == [
        f"{robin} with common name European Robin",
        "Animalia Arthropoda Insecta Lepidoptera Nymphalidae Morpho menelaus",
        "Animalia Chordata Cypriniformes Danio with common name zebra danio",
    ]
    assert labels.embedded(taxonomic=False) == ["European Robin", "Morpho menelaus", "zebra danio"]
    assert Labels(["cat"]).embedded(taxonomic=True) == ["cat"]


def test_the_shown_format_moves_no_vector_and_asks_for_no_new_ones(tmp_path, files):
    model = a_model(tmp_path)
    with prepared_labels.begin(model, files) as preparation:
        preparation.append(rows(0, 5))
        path = preparation.commit()

    assert prepared_labels.prepared(model, replace(files, label_format="path8")) == path


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"[1]",
        b'{"a": "b"}',
        b'{"0": "a", "2": "b"}',
        b'[[["a"], 1]]',
        b'[[["a"], "b"], 7]',
        b'[[["a"], "b"], "cd"]',
        b'[[["a"], "b"], ["abcdefg", "c"]]',
        b'[[["1","2","3","4","5","6","7","8"], "b"]]',
        b'[[[["deep"]], "b"]]',
        b'[[["a"], "b"]',
        b'[[["a"], "b"] [["a"], "b"]]',
    ],
)
def test_a_file_of_another_shape_is_refused_with_the_shapes_expected(tmp_path, content):
    (tmp_path / "labels.json").write_bytes(content)

    with pytest.raises(LabelSetError) as caught:
        load_labels(a_label_set(tmp_path / "labels.json"))

    assert "from index to name" in caught.value.remedy


entries = st.lists(
    st.tuples(st.lists(st.text(max_size=8), min_size=1, max_size=7), st.text(max_size=8)),
    min_size=1,
    max_size=20,
)


@given(entries, st.integers(1, 64), st.booleans())
def test_entries_read_block_by_block_equal_those_read_at_once(document, block, spaced):
    separators = (" , ", ": ") if spaced else (",", ":")
    content = json.dumps(document, separators=separators, ensure_ascii=spaced).encode()
    before = label_sets.BLOCK_BYTES
    label_sets.BLOCK_BYTES = block
    try:
        labels = parse_labels(content)
    finally:
        label_sets.BLOCK_BYTES = before

    assert labels.names == [name for _, name in document]
    assert labels.lineages == [(*ranks, *[""] * (7 - len(ranks))) for ranks, _ in document]


def test_a_text_that_looks_like_the_end_of_an_entry_does_not_split_it(monkeypatch):
    monkeypatch.setattr(label_sets, "BLOCK_BYTES", 1)
    tricky = [[["a"], 'x"],[["y'], [["b],[["], "],[["]]

    labels = parse_labels(json.dumps(tricky).encode())

    assert labels.names == ['x"],[["y', "],[["]


def test_an_npz_holds_labels_and_vectors(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, labels=np.array(["a", "b"]), embeddings=np.eye(2, 4, dtype=np.float32))

    assert load_labels(a_label_set(path)).names == ["a", "b"]
    assert load_matrix(path, 4, 2).shape == (2, 4)


def test_pickled_labels_are_never_loaded(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, labels=np.array([Path("x")], dtype=object))

    with pytest.raises(LabelSetError, match="cannot be read"):
        load_labels(a_label_set(path))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_matrix_is_memory_mapped_in_either_orientation(tmp_path, dtype):
    matrix = np.arange(12, dtype=dtype).reshape(3, 4)
    np.save(tmp_path / "rows.npy", matrix)
    np.save(tmp_path / "columns.npy", np.ascontiguousarray(matrix.T))

    rows, columns = (load_matrix(tmp_path / f"{n}.npy", 4, 3) for n in ("rows", "columns"))

    assert isinstance(rows, np.memmap)
    np.testing.assert_array_equal(matrix, rows)
    np.testing.assert_array_equal(matrix, columns)


def test_a_matrix_of_other_shape_type_or_length_is_refused(tmp_path):
    path = tmp_path / "m.npy"
    for wrong in (np.ones((3, 5), np.float32), np.ones((3, 4)), np.array([{}], dtype=object)):
        np.save(path, wrong, allow_pickle=True)
        with pytest.raises(LabelSetError):
            load_matrix(path, 4, 3)
    np.save(path, np.ones((3, 4), np.float32))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LabelSetError):
        load_matrix(path, 4, 3)


def turned() -> np.ndarray:
    """A square matrix whose columns are the unit vectors."""
    rows = np.random.default_rng(1).normal(size=(8, 8)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T.copy()


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [(turned(), turned().T), (turned().T, turned().T), (np.eye(8)[::-1], np.eye(8)[::-1])],
    ids=["columns", "rows", "both"],
)
def test_the_labels_of_a_square_matrix_are_told_by_which_vectors_are_unit(
    tmp_path, matrix, expected
):
    np.save(tmp_path / "m.npy", matrix.astype(np.float32))

    assert (load_matrix(tmp_path / "m.npy", 8, 8) == expected.astype(np.float32)).all()


def test_labels_that_are_written_alike_or_empty_are_named():
    labels = Labels(["crane", "hen", "", "crane", "crane"])

    alike, empty = labels.remarks()

    assert alike.startswith(
        "2 labels are written like an earlier one (first 'crane', rows 0 and 3)"
    )
    assert empty == "The label of row 2 is empty."
    assert Labels(["crane", "hen"]).remarks() == ()


def test_many_species_are_read_with_less_memory_than_their_json_takes_parsed_at_once():
    ranks = ("Animalia", "Chordata", "Aves")
    content = orjson.dumps(
        [
            [
                [*ranks, f"o{i % 50}", f"f{i % 900}", f"g{i % 8000}", f"epithet {i}"],
                f"name {i}" if i % 3 else "",
            ]
            for i in range(50_000)
        ]
    )

    at_once, _ = peak_bytes(lambda: orjson.loads(content))
    peak, labels = peak_bytes(lambda: parse_labels(content))

    assert len(labels) == 50_000
    assert labels.lineages[2][3] is labels.lineages[49_952][3]
    assert peak < 0.7 * at_once


def peak_bytes(work):
    tracemalloc.start()
    try:
        result = work()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def a_model(cache: Path, **changes: object) -> SimpleNamespace:
    values = {"cache": cache, "embedding_space": "space", "embedding_dim": 4, "name": "m"}
    return SimpleNamespace(**{**values, **changes})


@pytest.fixture
def files(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps([f"label {i}" for i in range(5)]))
    return a_label_set(tmp_path / "labels.json")


def rows(start: int, stop: int) -> np.ndarray:
    return np.arange(start * 4, stop * 4, dtype=np.float32).reshape(-1, 4)


def test_computed_vectors_are_found_again(tmp_path, files):
    model = a_model(tmp_path)
    assert prepared_labels.prepared(model, files) is None

    with prepared_labels.begin(model, files) as preparation:
        preparation.append(rows(0, 3))
        preparation.append(rows(3, 5))
        path = preparation.commit()

    assert path == prepared_labels.prepared(model, files)
    np.testing.assert_array_equal(rows(0, 5), load_matrix(path, 4, 5))


def test_two_services_keep_their_vectors_of_sets_that_are_called_the_same(tmp_path, files):
    model, other = a_model(tmp_path), a_label_set(files.labels, template="a {}")
    for each, row in ((files, 0), (other, 1)):
        with prepared_labels.begin(model, each) as preparation:
            preparation.append(rows(row, row + 5))
            preparation.commit()

    for each, row in ((files, 0), (other, 1)):
        found = prepared_labels.prepared(model, each)
        np.testing.assert_array_equal(rows(row, row + 5), load_matrix(found, 4, 5))


def test_an_interrupted_preparation_goes_on_at_its_last_whole_row(tmp_path, files):
    model = a_model(tmp_path)
    with prepared_labels.begin(model, files) as preparation:
        preparation.append(rows(0, 3))
    partial = model.cache / "prepared" / files.name / "vectors.partial"
    partial.write_bytes(partial.read_bytes()[:-3])

    with prepared_labels.begin(model, files) as preparation:
        assert preparation.done_rows == 2
        preparation.append(rows(2, 5))
        path = preparation.commit()

    np.testing.assert_array_equal(rows(0, 5), np.load(path))


def changed(model, files, what):
    if what == "labels":
        files.labels.write_text(json.dumps(["other"] * 5))
    model = a_model(model.cache, **({"embedding_space": "x"} if what == "space" else {}))
    if what == "an older rule":
        # As it was written when the shown format decided what was embedded.
        place = model.cache / "prepared" / files.name / "meta.json"
        place.write_text(json.dumps({**json.loads(place.read_text()), "label_format": "common"}))
    template = "{}!" if what == "template" else files.template
    return model, a_label_set(files.labels, template=template)


@pytest.mark.parametrize("what", ["labels", "space", "template", "an older rule"])
def test_vectors_are_not_used_when_what_they_depend_on_changed(tmp_path, files, what):
    model = a_model(tmp_path)
    with prepared_labels.begin(model, files) as preparation:
        preparation.append(rows(0, 5))
        preparation.commit()

    model, files = changed(model, files, what)

    assert prepared_labels.prepared(model, files) is None
    with prepared_labels.begin(model, files) as preparation:
        assert preparation.done_rows == 0


def test_a_preparation_refuses_what_cannot_be_vectors_of_these_labels(tmp_path, files):
    useless = [np.array([[1.0] * 4, [value] * 4]) for value in (0, np.nan, np.inf)]
    with prepared_labels.begin(a_model(tmp_path), files) as preparation:
        for wrong in useless:
            with pytest.raises(LabelSetError, match="row 1 is"):
                preparation.append(wrong.astype(np.float32))
        for wrong in (np.ones((1, 5)), np.ones((6, 4))):
            with pytest.raises(LabelSetError):
                preparation.append(wrong.astype(np.float32))
        preparation.append(rows(0, 4))
        with pytest.raises(LabelSetError, match="4 of 5"):
            preparation.commit()


def an_older_cache(base: Path, names: list[str], vectors: np.ndarray, **meta: object) -> Path:
    folder = base / "data" / "clip" / "onnxrt" / "ViT-B-32_laion2b"
    folder.mkdir(parents=True)
    np.savez(folder / "text_vectors.npz", names=np.array(names, dtype=object), vecs=vectors)
    text = json.dumps(names, ensure_ascii=False, separators=(",", ":"))
    document = {
        "model_id": "ViT-B-32_laion2b",
        "labels_hash": hashlib.sha256(text.encode()).hexdigest(),
        "embed_dim": 4,
    }
    (folder / "text_vectors.meta.json").write_text(json.dumps({**document, **meta}))
    return folder


@pytest.mark.parametrize(
    ("meta", "taken"),
    [
        ({}, True),
        ({"labels_hash": "x"}, False),
        ({"embed_dim": 8}, False),
        ({"model_id": "y"}, False),
    ],
)
def test_vectors_of_the_older_server_are_taken_over_when_they_are_of_these_labels(
    tmp_path, files, meta, taken
):
    vectors = np.eye(5, 4, dtype=np.float32) + 0.5
    an_older_cache(tmp_path, load_labels(files).names, vectors, **meta)
    model = a_model(tmp_path / "models" / "m", name="ViT-B-32::laion2b", label_sets=(files,))

    prepared_labels.adopt(model)

    path = prepared_labels.prepared(model, files)
    assert taken == (path is not None)
    if path is not None:
        np.testing.assert_allclose(np.linalg.norm(np.load(path), axis=1), 1, atol=1e-6)


def test_vectors_that_nobody_normalised_are_no_damage_and_one_stray_among_unit_rows_is():
    refuse_wrong_rows(np.linspace(0.5, 9, 60))

    lengths = np.ones(60)
    lengths[41] = 1.5
    with pytest.raises(WrongRowError, match=r"row 41 is of length 1\.500 among unit"):
        refuse_wrong_rows(lengths)
