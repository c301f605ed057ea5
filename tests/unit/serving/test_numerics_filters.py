"""Queries for some branches of a label set: what they mean, and what is made for them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_resources.labels.filters import Kept
from lumen_resources.labels.label_sets import Labels
from lumen_resources.model.layouts import LabelSetFiles, ScoreRule
from lumen_serving.classify.labels import LabelClassifier, LabelSet
from lumen_serving.errors import BadQuery
from lumen_serving.label_index.close_rows import exact_cosines
from lumen_serving.label_index.index import LabelIndex
from lumen_serving.label_index.query import best_rows
from lumen_wire.meta import parse_request_meta

RULE = ScoreRule(scale=50.0)

CLASSES = ("Aves", "Insecta", "Mammalia")


def a_label_set(rows: int = 90) -> LabelSet:
    """Rows of three classes in turn, each row a genus of its own."""
    lineages = [
        ("Animalia", "Chordata", CLASSES[row % 3], "", "", f"Genus{row}", "x")
        for row in range(rows)
    ]
    labels = Labels([f"label {row}" for row in range(rows)], lineages)
    files = LabelSetFiles("species", Path("species.json"), None, "d", "{}", "common")
    matrix = np.random.default_rng(3).standard_normal((rows, 16)).astype(np.float32)
    return LabelSet(files, labels, LabelIndex.build(matrix), Kept(None, ()))


def a_query(label_set: LabelSet, **meta: str):
    return LabelClassifier({"species": label_set}, RULE, 3).query(parse_request_meta(meta))


def a_vector() -> np.ndarray:
    vector = np.random.default_rng(4).standard_normal((1, 16)).astype(np.float32)
    return vector / np.linalg.norm(vector)


def test_filters_that_differ_in_order_and_case_alone_are_one_query():
    label_set = a_label_set()
    one = a_query(label_set, include="class=Aves,genus=Genus3; genus=Genus1")
    other = a_query(label_set, include="genus=GENUS1; genus=genus3, class=aves")

    assert one == other
    assert hash(one) == hash(other)
    assert label_set.mask(one.branches) is label_set.mask(other.branches)


def test_a_filter_answers_with_its_rows_alone_also_when_its_mask_is_not_kept_any_more():
    label_set = a_label_set()
    query = a_query(label_set, include="class=Aves", topk="90")
    query.prepare()
    for row in range(40):
        a_query(label_set, include=f"genus=Genus{row}").prepare()

    (hits,) = query.score(a_vector())

    assert sorted(hit.row for hit in hits) == list(range(0, 90, 3))


def test_a_request_narrows_and_adds_up_as_the_manifest_does_binomials_included():
    label_set = a_label_set()
    query = a_query(
        label_set, include="class=Aves,genus=Genus3,genus=Genus4;species=Genus7 x", topk="90"
    )
    query.prepare()

    (hits,) = query.score(a_vector())

    assert sorted(hit.row for hit in hits) == [3, 7]


def test_more_labels_than_an_answer_holds_are_refused_and_more_than_there_are_clamped(monkeypatch):
    monkeypatch.setattr("lumen_serving.classify.labels.MAX_TOP_K", 40)
    label_set = a_label_set()
    for meta in ({"topk": "40"}, {"topk": "450000", "rank": "class"}, {"include": "class=Aves"}):
        query = a_query(label_set, **({"topk": "450000"} | meta))
        query.prepare()
        (scored,) = query.score(a_vector())

        assert len(scored) == {"40": 40}.get(meta.get("topk", ""), 3 if "rank" in meta else 30)
    with pytest.raises(BadQuery, match="at most 40 of the 90 labels that species has"):
        a_query(label_set, topk="41").prepare()


def test_a_filter_that_means_no_label_is_refused_before_anything_is_scored():
    with pytest.raises(BadQuery, match=r'^No label of species has "class=Reptilia"\. Check the'):
        a_query(a_label_set(), include="class=Reptilia").prepare()


@pytest.mark.parametrize("meta", [{}, {"include": "class=Aves"}])
def test_a_roll_up_to_as_many_groups_as_there_are_names_the_best_row_of_each(meta):
    label_set = a_label_set()
    query = a_query(label_set, rank="class", topk="4096", **meta)
    query.prepare()
    cosines = label_set.index.top_k(a_vector(), 90, RULE, label_set.mask(query.branches))[0]

    (groups,) = query.score(a_vector())

    best = {}
    for hit in cosines:
        best.setdefault(hit.row % 3, hit.row)
    assert {group.row for group in groups} == set(best.values())


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=60))
def test_the_best_rows_of_many_groups_are_those_that_a_look_at_each_group_finds(rows):
    codes = np.array([code for code, _ in rows], np.int32)
    powers = np.array([power for _, power in rows], np.float64)
    wanted = list(dict.fromkeys(codes.tolist()))

    best = best_rows(codes, powers, wanted)

    members = [np.flatnonzero(codes == code) for code in wanted]
    assert best.tolist() == [int(rows[np.argmax(powers[rows])]) for rows in members]


@given(st.integers(1, 900), st.integers(0, 999))
def test_the_cosines_of_many_rows_are_to_the_bit_those_of_each_row_alone(dim, seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((9, dim)).astype(np.float32)
    query = rng.standard_normal(dim).astype(np.float32)

    together = exact_cosines(rows, query)

    assert together.tolist() == [exact_cosines(row[None], query)[0] for row in rows]
