"""Sigmoids: each label for itself, in labels, in groups and beside the shares of scenes."""

import numpy as np
import orjson
import pytest

from lumen_resources.model.layouts import ScoreRule
from lumen_serving.classify.scenes import SceneClassifier, SceneSet
from lumen_serving.label_index.close_rows import exact_cosines
from lumen_serving.label_index.index import LabelIndex
from lumen_serving.label_index.query import Groups
from lumen_serving.label_index.scores import score_facts, shares, sigmoids
from lumen_wire.meta import parse_request_meta

# SigLIP's and SigLIP 2's own are about these.
SIGMOID = ScoreRule("sigmoid", 117.33, -12.93)
ROWS, DIM = 6000, 48
by_either_scorer = pytest.mark.parametrize("small_rows", [1, 10**9], ids=["integer", "float"])


def units(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def a_matrix(seed: int) -> np.ndarray:
    return units(np.random.default_rng(seed).normal(size=(ROWS, DIM)))


def plain(cosines: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(SIGMOID.scale * cosines.astype(np.longdouble) + SIGMOID.bias)))


@by_either_scorer
def test_a_labels_score_is_its_own_whatever_else_the_set_holds(small_rows):
    matrix, query = a_matrix(1), units(np.random.default_rng(2).normal(size=DIM))
    cosines = exact_cosines(matrix, query)
    some = np.random.default_rng(3).random(ROWS) < 0.1
    index = LabelIndex.build(matrix, small_rows=small_rows)

    (of_all,) = index.top_k(query[None], 5, SIGMOID)
    (of_some,) = index.top_k(query[None], 5, SIGMOID, some)

    wanted = np.argsort(-cosines)[:5]
    assert [hit.row for hit in of_all] == wanted.tolist()
    assert [hit.score for hit in of_all] == pytest.approx(plain(cosines[wanted]).astype(float))
    best = np.flatnonzero(some)[np.argmax(cosines[some])]
    assert of_some[0].row == best
    assert of_some[0].score == pytest.approx(float(plain(cosines[best])))


def test_a_picture_that_nothing_fits_has_no_score_worth_the_name():
    matrix = a_matrix(4)
    (hits,) = LabelIndex.build(matrix).top_k(-matrix[:1] + 0 * matrix[:1], ROWS, SIGMOID)

    assert hits[-1].score < 1e-50
    assert all(0 < hit.score < 0.5 for hit in hits if hit.cosine < 0.1)


@by_either_scorer
def test_a_groups_score_is_its_best_labels(small_rows):
    matrix, query = a_matrix(5), units(np.random.default_rng(6).normal(size=DIM))
    codes = np.random.default_rng(7).integers(0, 300, ROWS).astype(np.int32)
    names = tuple(f"g{at}" for at in range(300))
    include = np.random.default_rng(8).random(ROWS) < 0.5
    groups = Groups(codes, names, tuple((name,) for name in names))

    (hits,) = LabelIndex.build(matrix, small_rows=small_rows).top_groups(
        query[None], 6, SIGMOID, groups, include
    )

    cosines = np.where(include, exact_cosines(matrix, query), -np.inf)
    tops = np.array([cosines[codes == group].max() for group in range(300)])
    wanted = np.argsort(-tops)[:6]
    assert [hit.group for hit in hits] == wanted.tolist()
    assert [hit.cosine for hit in hits] == pytest.approx(tops[wanted].tolist())
    assert [hit.score for hit in hits] == pytest.approx(plain(tops[wanted]).astype(float))


def test_far_from_the_middle_nothing_overflows_and_the_small_stays_exact():
    rule = ScoreRule("sigmoid", 1000.0, -16.0)

    got = sigmoids(np.array([-1.0, -0.3, 0.0, 0.016, 1.0], np.float32), rule)

    assert got[[0, 1]] == pytest.approx([0, np.exp(-316.0)], rel=1e-3)
    assert got[2:] == pytest.approx([np.exp(-16.0), 0.5, 1], rel=1e-4)


@pytest.mark.parametrize("rule", [ScoreRule(scale=SIGMOID.scale), SIGMOID], ids=["clip", "siglip"])
def test_scenes_are_shares_and_a_sigmoid_stands_beside_them(rule):
    scenes = SceneSet.from_spec(None)
    vectors = units(np.random.default_rng(9).normal(size=(len(scenes.prompts), DIM)))
    picture = units(np.random.default_rng(10).normal(size=DIM))
    classifier = SceneClassifier(scenes, vectors, rule)
    query = classifier.query(parse_request_meta({"topk": "3"}))

    (scored,) = query.score(picture[None])
    result = query.result(scored)

    wanted = shares(vectors @ picture, rule.scale)
    best = np.argsort(-wanted)[:3]
    assert [label for label, _ in result.labels] == [scenes.labels[at] for at in best]
    assert [score for _, score in result.labels] == pytest.approx(wanted[best].tolist())
    assert result.meta["score_rule"] == rule.kind
    if rule.kind == "softmax":
        assert "sigmoids" not in result.meta
        assert "logit_bias" not in result.meta
    else:
        own = orjson.loads(result.meta["sigmoids"])
        assert list(own) == [scenes.labels[at] for at in best]
        assert list(own.values()) == pytest.approx(
            plain((vectors @ picture)[best]).astype(float).tolist(), rel=1e-4
        )
        assert result.meta["logit_bias"] == "-12.93"


def test_what_a_client_needs_to_know_is_said():
    assert score_facts(ScoreRule()) == {"score_rule": "softmax", "logit_scale": "100"}
    assert score_facts(SIGMOID) == {
        "score_rule": "sigmoid",
        "logit_scale": "117.33",
        "logit_bias": "-12.93",
    }
