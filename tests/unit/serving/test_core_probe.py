"""What the probe lets through and what it refuses, on backends that go wrong in one way each."""

from types import SimpleNamespace

import numpy as np
import pytest

from lumen_manifest.spec.enums import Precision
from lumen_serving.backends.base import BackendReport, unit_rows
from lumen_serving.errors import ParityFailed
from lumen_serving.graphs.ports import RunFailed
from lumen_serving.startup.probe import colours_found, probe, probe_texts
from lumen_terms.modality import Modality

DIM = 16
MODEL = SimpleNamespace(
    precision=Precision.FP32,
    modalities=frozenset(Modality),
    preprocess=SimpleNamespace(size=8),
    context_length=6,
)


class Projections:
    """A backend of one random projection; `change` spoils the rows [N, dim] of a batch."""

    def __init__(self, change, modality=None, proven=False):
        self._change, self._modality, self._calls, self._proven = change, modality, 0, proven
        self.sizes = set()
        self._weights = np.random.default_rng(0).standard_normal((8 * 8 * 3, DIM))

    def report(self):
        return BackendReport("a", "1", "cpu", "fp32", DIM, batches_proven=self._proven)

    def embed_images(self, images):
        return self._rows(Modality.IMAGE, images)

    def embed_texts(self, tokens):
        return self._rows(Modality.TEXT, tokens)

    def _rows(self, modality, items):
        self._calls += 1
        self.sizes.add(len(items))
        flat = items.reshape(len(items), -1).astype(np.float64)
        rows = flat @ self._weights[: flat.shape[1]]
        if self._modality in {None, modality}:
            rows = self._change(rows, self._calls)
        return rows if self._change is too_long else unit_rows(rows)


def untouched(rows, call):
    return rows


def a_little_other_in_a_batch(rows, call):
    return rows * (1 + 1e-6 * len(rows) * np.arange(DIM))


def constant(rows, call):
    return np.ones_like(rows)


def not_finite(rows, call):
    return rows * np.where(np.arange(DIM) == 3, np.nan, 1)


def zero(rows, call):
    return rows * 0


def too_long(rows, call):
    return rows


def indifferent(rows, call):
    return rows * 0 + np.arange(DIM)


def nearly_indifferent(rows, call):
    return rows * 1e-9 + np.arange(DIM)


def other_each_time(rows, call):
    return rows + call


def in_another_order(rows, call):
    return rows[::-1]


def added_to_its_neighbours(rows, call):
    return rows + rows.mean(axis=0)


@pytest.mark.parametrize("change", [untouched, a_little_other_in_a_batch])
def test_what_computes_by_its_promise_is_let_through(change):
    probe(Projections(change), MODEL)


@pytest.mark.parametrize(("proven", "sizes"), [(True, {1}), (False, {1, 3})])
def test_batches_are_tried_where_the_backend_has_not_tried_them_itself(proven, sizes):
    backend = Projections(untouched, proven=proven)

    probe(backend, MODEL)

    assert backend.sizes == sizes


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (constant, "All numbers"),
        (not_finite, "not finite"),
        (zero, "not finite"),
        (too_long, "length"),
        (indifferent, "the same vector: the model ignores them"),
        (nearly_indifferent, "the same vector: the model ignores them"),
        (other_each_time, "another vector each time"),
        (in_another_order, "in a batch than alone"),
        (added_to_its_neighbours, "in a batch than alone"),
    ],
)
def test_what_cannot_mean_anything_is_refused_for_either_tower(change, words, modality):
    with pytest.raises(ParityFailed, match=words) as refused:
        probe(Projections(change, modality), MODEL)

    things = "picture" if modality is Modality.IMAGE or change is too_long else "text"
    assert things in refused.value.message.lower()
    assert "Export the model anew" in refused.value.remedy


class Colours:
    """Vectors of plain pictures are their colours; those of texts the colours in another order."""

    def __init__(self, order):
        self._order = order

    def embed_images(self, images):
        return unit_rows(images.mean(axis=(1, 2)) + 1)

    def embed_texts(self, tokens):
        return self.embed_images(named_colours()[self._order])


def named_colours():
    rgb = [(255, 0, 0), (0, 160, 0), (0, 0, 255), (0, 0, 0)]
    return np.array(rgb, np.uint8).reshape(4, 1, 1, 3)


class AnyTokens:
    def encode(self, texts):
        return np.zeros((len(texts), 6), np.int64), None


@pytest.mark.parametrize(
    ("order", "found"), [([0, 1, 2, 3], 4), ([1, 0, 2, 3], 2), ([1, 2, 3, 0], 0)]
)
def test_colours_are_found_by_their_names_where_both_towers_belong_together(order, found):
    assert colours_found(Colours(order), MODEL, AnyTokens()) == (found, 4)


class Words:
    """A text tower with a vector for each token below `known`; `beyond` gives the others'."""

    def __init__(self, runtime, known, beyond):
        self._runtime, self._known, self._beyond = runtime, known, beyond

    def report(self):
        return SimpleNamespace(runtime=self._runtime)

    def embed_texts(self, tokens):
        table = np.random.default_rng(1).standard_normal((self._known, DIM))
        inside = tokens < self._known
        if not inside.all():
            self._beyond()
        vectors = table[np.where(inside, tokens, 0)] * inside[..., None]
        return unit_rows(vectors.sum(axis=1) + np.arange(DIM))


def fails():
    raise RunFailed("a token beyond the table")


def refuses():
    raise ValueError("a token beyond the table")


def takes_zeros():
    pass


# Frames of 1 and 2 around two texts, filled up by 30: the largest token is a word's.
ROWS = np.array([[1, 5, 7, 2, 30, 30], [1, 20, 9, 2, 30, 30]])
TOKENIZER = SimpleNamespace(ordinary_rows=lambda: (ROWS, ~np.isin(ROWS, [1, 2, 30])))
BEYOND = [("openvino", takes_zeros), ("onnxruntime", fails), ("torch", refuses)]


@pytest.mark.parametrize(("runtime", "beyond"), BEYOND)
def test_a_tokenizer_of_the_models_own_is_let_through(runtime, beyond):
    probe_texts(Words(runtime, 31, beyond), TOKENIZER)


@pytest.mark.parametrize(("runtime", "beyond"), BEYOND)
def test_a_tokenizer_with_words_that_the_tower_has_not_is_refused(runtime, beyond):
    with pytest.raises(ParityFailed, match="the largest token in a few of them is 20"):
        probe_texts(Words(runtime, 20, beyond), TOKENIZER)
