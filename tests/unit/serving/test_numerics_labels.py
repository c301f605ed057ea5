"""The proven top k equals brute force in float64, whatever the rows look like."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumen_resources.errors import LabelSetError
from lumen_resources.labels.rows import WrongRowError
from lumen_resources.model.layouts import LabelSetFiles, ScoreRule
from lumen_serving.classify.labels import load_label_sets
from lumen_serving.label_index.close_rows import (
    CodedRows,
    FileRows,
    Narrowing,
    close_cosines,
    exact_cosines,
)
from lumen_serving.label_index.codes import CodeCache, encode, encode_cached, rounding
from lumen_serving.label_index.index import LabelIndex
from lumen_serving.label_index.query import (
    Groups,
    block_tops,
    group_by_rank,
    rows_of_blocks,
)
from lumen_serving.label_index.scorers import Approximation, FloatScorer, IntegerScorer
from lumen_serving.label_index.scores import shares

SCALE = 100.0
SOFTMAX = ScoreRule(scale=SCALE)
by_either_scorer = pytest.mark.parametrize("small_rows", [0, 10**9], ids=["integer", "float"])


def unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=-1, keepdims=True)).astype(np.float32)


def brute_force(matrix: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    """Rows of the k largest cosines in float64, equal ones by row."""
    return np.lexsort((np.arange(len(matrix)), -exact_cosines(matrix, query.astype(float))))[
        :k
    ].tolist()


def a_query(seed: int, dim: int, toward: np.ndarray | float = 0.0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal(dim) + toward)


def found(matrix: np.ndarray, query: np.ndarray, k: int, small_rows: int, include=None) -> list:
    """The hits of one query in a new index."""
    index = LabelIndex.build(matrix, small_rows=small_rows)
    (hits,) = index.top_k(query[None], k, SOFTMAX, include)
    return hits


def rows_of(hits) -> list[int]:
    return [hit.row for hit in hits]


def a_matrix(kind: str, rows: int, dim: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((rows, dim))
    if kind == "random":
        return unit(noise)
    if kind == "clustered":
        # As CLIP's texts: a shared direction with one huge component, little of its own.
        shared = rng.standard_normal(dim)
        shared[0] = 20
        return unit(shared + 0.7 * noise)
    if kind == "near-duplicates":
        return unit(noise[rng.integers(0, min(3, rows), rows)] + 1e-6 * noise)
    if kind == "duplicates":
        return unit(noise[rng.integers(0, max(1, rows // 4), rows)])
    if kind == "spiky":
        # One component rules each row, so that eight bits lose most of the others.
        noise[np.arange(rows), rng.integers(0, dim, rows)] *= 1000
        return unit(noise)
    lengths = rng.uniform(0.2, 5, (rows, 1))
    return (unit(noise) * lengths).astype(np.float32)


KINDS = ["random", "clustered", "near-duplicates", "duplicates", "spiky", "not unit"]


@by_either_scorer
@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    rows=st.integers(1, 700),
    dim=st.integers(2, 70),
    k=st.integers(1, 750),
    seed=st.integers(0, 10_000),
    near=st.booleans(),
    turned=st.booleans(),
)
def test_no_row_is_ever_missed(small_rows, kind, rows, dim, k, seed, near, turned):
    matrix = a_matrix(kind, rows, dim, seed)
    searched = np.asfortranarray(matrix) if turned else matrix
    query = np.random.default_rng(seed + 1).standard_normal(dim)
    if near:
        query = 0.01 * query + matrix[seed % rows]
    query = unit(query)

    assert rows_of(found(searched, query, k, small_rows)) == brute_force(matrix, query, k)


class WorstScorer:
    """Scores that are as wrong as their bounds allow: the k best too low, the others too high."""

    def __init__(self, matrix: np.ndarray, k: int, rng: np.random.Generator) -> None:
        self._matrix, self._k = matrix, k
        self.lengths, self.rests = rng.uniform(0, 1, (2, len(matrix))).astype(np.float32)
        self._by_length, self._by_rest = rng.uniform(0, 3, 2)
        self.resident_bytes = 0

    def approximate(self, queries):
        scale, offset = 0.02, 0.1
        for query in queries:
            cosines = exact_cosines(self._matrix, query)
            wrong = self._by_length * self.lengths + self._by_rest * self.rests
            wrong[brute_force(self._matrix, query, self._k)] *= -1
            scores = ((cosines - offset) / scale + 0.999 * wrong).astype(np.float32)
            yield Approximation(scores, scale, offset, self._by_length, self._by_rest)


@settings(max_examples=100)
@given(rows=st.integers(1, 3000), k=st.integers(1, 200), seed=st.integers(0, 10_000))
def test_no_row_is_missed_when_every_score_is_as_wrong_as_it_may_be(rows, k, seed):
    rng = np.random.default_rng(seed)
    matrix = a_matrix("random", rows, 24, seed)
    query = unit(rng.standard_normal(24))

    index = LabelIndex(FileRows(matrix), WorstScorer(matrix, k, rng))
    (hits,) = index.top_k(query[None], k, SOFTMAX)

    assert rows_of(hits) == brute_force(matrix, query, k)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [31, 512])
def test_the_errors_bound_what_the_integer_product_loses(kind, dim):
    matrix = a_matrix(kind, 3000, dim, 5)
    queries = unit(np.random.default_rng(6).standard_normal((20, dim)) + 2 * matrix[:20])
    scorer = IntegerScorer(encode(matrix), threads=1)

    for query, quick in zip(queries, scorer.approximate(queries), strict=True):
        for answer in (quick, scorer.refined(query, quick)):
            cosines = answer.scale * answer.scores.astype(np.float64) + answer.offset
            wrong = np.abs(cosines - exact_cosines(matrix, query.astype(np.float64)))
            bound = answer.scale * (
                answer.by_length * scorer.lengths.astype(np.float64)
                + answer.by_rest * scorer.rests.astype(np.float64)
            )
            assert (wrong <= bound).all()


def test_refining_narrows_the_bound():
    matrix = a_matrix("clustered", 2000, 64, 1)
    scorer = IntegerScorer(encode(matrix), threads=1)
    (quick,) = scorer.approximate(matrix[:1])

    narrow = scorer.refined(matrix[0], quick)

    assert narrow.by_length < 0.05 * quick.by_length
    assert not narrow.coarse


def test_the_errors_bound_what_the_float_product_loses():
    matrix = a_matrix("random", 2000, 768, 2)

    for query, quick in zip(matrix[:5], FloatScorer(matrix).approximate(matrix[:5]), strict=True):
        assert np.abs(quick.scores - exact_cosines(matrix, query)).max() <= quick.by_length


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [2, 31, 768])
def test_close_cosines_are_as_close_as_their_rounding(kind, dim):
    matrix = a_matrix(kind, 2000, dim, 19)
    query = a_query(20, dim, 2 * matrix[0])

    for rows in (matrix, matrix.astype(np.float16)):
        wrong = np.abs(close_cosines(rows, query) - exact_cosines(rows, query))
        assert wrong.max() <= 2 * rounding(dim)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [31, 768])
def test_codes_of_a_matrix_on_its_side_are_as_close_as_they_say(kind, dim):
    matrix = a_matrix(kind, 2000, dim, 19)
    query = a_query(20, dim, 2 * matrix[0])
    rows = np.arange(len(matrix))
    on_its_side = np.asfortranarray(matrix)
    codes = encode(on_its_side)

    cosines, errors = CodedRows(on_its_side, codes).close(rows, query)

    assert (np.abs(cosines - exact_cosines(matrix, query)) <= errors).all()
    assert np.median(codes.fine_rests) < np.median(codes.rests) / 10
    assert codes.fine.nbytes <= codes.codes.nbytes / 2 + len(matrix)
    assert encode(matrix).fine.nbytes == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 70])
def test_narrowing_leaves_out_most_rows_and_none_of_the_best(kind, k):
    matrix = a_matrix(kind, 4000, 256, 29)
    query = a_query(30, 256, 2 * matrix[0])

    left = Narrowing(encode(matrix)).still_reaching(np.arange(len(matrix)), query, k)

    assert set(brute_force(matrix, query, k)) <= set(left.tolist())
    assert len(left) < 1000 or "duplicates" in kind or kind == "spiky"


@by_either_scorer
def test_rows_closer_than_float32_tells_are_ranked_exactly(small_rows):
    matrix = np.tile(unit(np.ones(768)), (1000, 1))
    matrix[:, 0] *= 1 + 1e-7 * np.random.default_rng(21).permutation(1000).astype(np.float32)
    query = unit(np.arange(768, 0, -1))

    assert rows_of(found(matrix, query, 7, small_rows)) == brute_force(matrix, query, 7)


@by_either_scorer
def test_float16_matrices_and_transposed_views_are_searched_as_they_are(small_rows):
    matrix = a_matrix("random", 600, 32, 3)
    query = unit(np.ones(32))

    for view in (matrix.astype(np.float16), np.asfortranarray(matrix)):
        wanted = brute_force(np.ascontiguousarray(view), query, 5)
        assert rows_of(found(view, query, 5, small_rows)) == wanted


@by_either_scorer
def test_a_query_gets_the_same_answer_alone_and_in_any_batch(small_rows):
    matrix = a_matrix("clustered", 5000, 64, 4)
    queries = unit(np.random.default_rng(5).standard_normal((40, 64)))
    index = LabelIndex.build(matrix, small_rows=small_rows)

    together = index.top_k(queries, 5, SOFTMAX)

    assert [index.top_k(query[None], 5, SOFTMAX)[0] for query in queries] == together


@pytest.mark.parametrize("scale", [1, 20, SCALE, 1000])
@pytest.mark.parametrize("sign", [1, -1], ids=["near one", "far from all"])
@pytest.mark.parametrize("kind", ["random", "clustered"])
def test_shares_of_a_few_are_those_of_the_whole_set(kind, sign, scale):
    matrix = a_matrix(kind, 20_000, 256, 9)
    query = a_query(10, 256, sign * 20 * matrix[77])

    (hits,) = LabelIndex.build(matrix).top_k(query[None], 5, ScoreRule(scale=scale))

    whole = shares(exact_cosines(matrix, query.astype(np.float64)), scale)
    assert [hit.score for hit in hits] == pytest.approx(whole[rows_of(hits)].tolist(), rel=5e-3)


@pytest.mark.parametrize("share", [0.01, 1])
@by_either_scorer
def test_a_set_restricted_or_whole_is_ranked_and_shared_among_its_own(small_rows, share):
    matrix = a_matrix("random", 3000, 48, 11)
    query = a_query(12, 48)
    include = np.random.default_rng(13).random(3000) < share
    index = LabelIndex.build(matrix, small_rows=small_rows)
    (hits,) = index.top_k(query[None], 10**6, SOFTMAX, None if include.all() else include)

    allowed = np.flatnonzero(include)
    wanted = allowed[brute_force(matrix[allowed], query, len(allowed))]
    assert rows_of(hits) == wanted.tolist()
    assert sum(hit.score for hit in hits) == pytest.approx(1.0, abs=1e-9)
    assert all(0 <= hit.score <= 1 for hit in hits)
    (few,) = index.top_k(query[None], 3, SOFTMAX, include)
    assert rows_of(few) == wanted[:3].tolist()


@by_either_scorer
def test_a_set_restricted_to_the_rows_of_one_block_is_ranked(small_rows):
    matrix = a_matrix("random", 3200, 48, 22)
    query = a_query(23, 48)
    allowed = rows_of_blocks(np.array([7]), len(matrix))
    include = np.isin(np.arange(len(matrix)), allowed)

    hits = found(matrix, query, 3, small_rows, include)

    assert rows_of(hits) == allowed[brute_force(matrix[allowed], query, 3)].tolist()


def test_an_empty_restriction_has_no_hits():
    index = LabelIndex.build(a_matrix("random", 50, 8, 1))

    assert index.top_k(unit(np.ones((1, 8))), 3, SOFTMAX, np.zeros(50, bool)) == [[]]


@pytest.mark.parametrize("on_its_side", [False, True])
@pytest.mark.parametrize("share", [0.5, 1])
@by_either_scorer
def test_groups_are_ranked_by_the_sum_of_their_shares(small_rows, share, on_its_side):
    matrix = a_matrix("clustered", 5000, 64, 14)
    codes = np.random.default_rng(15).integers(0, 40, 5000).astype(np.int32)
    groups = Groups(codes, tuple(f"g{i}" for i in range(40)), tuple((f"g{i}",) for i in range(40)))
    query = a_query(16, 64, 30 * matrix[5])

    include = np.random.default_rng(17).random(5000) < share

    searched = np.asfortranarray(matrix) if on_its_side else matrix
    (hits,) = LabelIndex.build(searched, small_rows=small_rows).top_groups(
        query[None], 4, SOFTMAX, groups, include if share < 1 else None
    )

    cosines = np.where(include, exact_cosines(matrix, query.astype(np.float64)), -np.inf)
    sums = np.bincount(codes, weights=shares(cosines, SCALE), minlength=40)
    wanted = np.argsort(-sums)[:4]
    assert [hit.group for hit in hits] == wanted.tolist()
    assert [hit.score for hit in hits] == pytest.approx(sums[wanted].tolist(), rel=5e-3)
    best = [np.flatnonzero(codes == g)[np.argmax(cosines[codes == g])] for g in wanted]
    assert [hit.row for hit in hits] == best


def test_codes_are_kept_in_the_cache_and_made_anew_for_another_key(tmp_path):
    matrix = a_matrix("random", 500, 16, 18)
    first = encode_cached(matrix, CodeCache(tmp_path / "index", "one"))

    again = encode_cached(matrix[::-1], CodeCache(tmp_path / "index", "one"))
    other = encode_cached(matrix[::-1], CodeCache(tmp_path / "index", "two"))

    assert isinstance(again.codes, np.memmap)
    assert again.codes.tobytes() == first.codes.tobytes()
    assert other.codes.tobytes() == encode(matrix[::-1]).codes.tobytes() != first.codes.tobytes()
    assert {path.suffix for path in (tmp_path / "index").iterdir()} == {".npy", ".json"}


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    (tmp_path / "file").write_text("in the way")
    matrix = a_matrix("random", 500, 16, 18)

    made = encode_cached(matrix, CodeCache(tmp_path / "file" / "index", "one"))

    assert made.codes.shape == (500, 16)


@pytest.mark.parametrize("packs", [True, False])
def test_codes_are_given_back_where_the_runtime_has_a_copy_and_put_back_where_not(
    monkeypatch, packs
):
    matrix = a_matrix("random", 500, 16, 18)
    gives_back = IntegerScorer._gives_back
    # A runtime without a copy would answer otherwise once the pages are gone.
    monkeypatch.setattr(IntegerScorer, "_gives_back", lambda self: gives_back(self) and packs)

    scorer = IntegerScorer(encode(matrix), threads=1)

    turned = np.frombuffer(scorer._turned, np.int8)
    assert turned.any() != packs
    assert (scorer.resident_bytes >= turned.nbytes) != packs
    (quick,) = scorer.approximate(matrix[:1])
    assert np.argmax(quick.scores) == 0


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize("scale", [10.0, 100.0])
def test_a_share_is_the_same_whatever_is_asked_for_and_as_wrong_as_it_says(scale, share):
    rng = np.random.default_rng(11)
    matrix = rng.standard_normal((6000, 96)).astype(np.float32)
    index = LabelIndex.build(matrix)
    units = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    include = None if share == 1.0 else rng.random(len(matrix)) < share
    rule = ScoreRule("softmax", scale)
    for direction in (units[3], units[:40].mean(axis=0), rng.standard_normal(96)):
        query = (direction / np.linalg.norm(direction)).astype(np.float32)
        cosines = units.astype(np.float64) @ query
        true = shares(cosines if include is None else np.where(include, cosines, -9), scale).max()
        first = [index.top_k(query[None], k, rule, include)[0][0] for k in (1, 5, 16, 17, 600)]

        assert {hit.row for hit in first} == {first[0].row}
        assert [hit.score for hit in first] == pytest.approx([first[0].score] * 5, rel=1e-9)
        assert first[0].score == pytest.approx(true, rel=first[0].error + 1e-6)
        assert first[0].error < 0.05


@pytest.mark.parametrize("most", [20_000, 150])
def test_a_groups_share_is_the_same_however_many_are_asked_for(monkeypatch, most):
    monkeypatch.setattr("lumen_serving.label_index.query._MOST_MEMBERS", most)
    rng = np.random.default_rng(12)
    matrix = rng.standard_normal((6000, 96)).astype(np.float32)
    index = LabelIndex.build(matrix)
    query = (matrix[7] / np.linalg.norm(matrix[7])).astype(np.float32)[None]
    codes = rng.integers(0, 200, len(matrix)).astype(np.int32)
    groups = Groups(codes, tuple(map(str, range(200))), tuple((str(n),) for n in range(200)))
    answers = [
        index.top_groups(query, k, ScoreRule("softmax", 100.0), groups)[0] for k in (1, 5, 200)
    ]

    for few in answers[:2]:
        for one, same in zip(few, answers[2], strict=False):
            assert (one.group, one.row) == (same.group, same.row)
            assert one.score == pytest.approx(same.score, rel=1e-9)


def test_shares_are_stable_and_add_up_to_one():
    got = shares(np.array([[1e4, 1e4 - 1, -1e6], [0, 0, 0]], np.float32), 1.0)

    assert got.sum(axis=1) == pytest.approx([1, 1])
    assert got[0] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0])


def test_ranks_group_by_the_whole_lineage_above_them():
    lineages = [
        ("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Erithacus", "rubecula"),
        ("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Luscinia", "svecica"),
        ("Plantae", "", "Aves", "", "", "", ""),
    ]

    assert group_by_rank(lineages, 2).names == ("Aves", "Aves")
    assert group_by_rank(lineages, 2).codes.tolist() == [0, 0, 1]
    assert group_by_rank(lineages, 6).names == ("Erithacus rubecula", "Luscinia svecica", "*")


@given(st.integers(1, 300))
def test_blocks_hold_every_row_once_and_know_their_largest(count):
    values = np.random.default_rng(count).standard_normal(count).astype(np.float32)

    tops = block_tops(values)

    held = [rows_of_blocks(np.array([block]), count) for block in range(len(tops))]
    assert sorted(np.concatenate(held).tolist()) == list(range(count))
    assert [values[rows].max() for rows in held] == tops.tolist()


@pytest.mark.parametrize("small_rows", [1, 1 << 20])
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 2.0])
@pytest.mark.parametrize("row", [0, 63, 4097, 8999])
def test_every_row_is_looked_at_once_when_a_matrix_is_indexed(small_rows, value, row):
    matrix = a_matrix("random", 9000, 16, 5)
    matrix[row] = value

    with pytest.raises(WrongRowError) as caught:
        LabelIndex.build(matrix, small_rows=small_rows)

    assert caught.value.row == row


def test_codes_that_were_kept_of_a_row_that_is_not_finite_are_made_anew(tmp_path):
    matrix = a_matrix("random", 600, 16, 5)
    cache = CodeCache(tmp_path, "key")
    encode_cached(matrix, cache)
    scales = np.load(tmp_path / "scales.npy")
    scales[3] = np.nan
    np.save(tmp_path / "scales.npy", scales)

    assert np.isfinite(encode_cached(matrix, cache).scales).all()


def a_label_model(folder, names, matrix):
    (folder / "set.json").write_text(json.dumps(names))
    np.save(folder / "set.npy", matrix)
    files = LabelSetFiles(
        "set", folder / "set.json", folder / "set.npy", "", "a photo of a {}", "common"
    )
    return SimpleNamespace(label_sets=[files], embedding_dim=16, cache=folder, digest="d")


@pytest.mark.parametrize(
    ("shape", "names"),
    [((90, 16), 91), ((16, 90), 91), ((16, 16), 90), ((90, 17), 90), ((90, 4, 4), 90), ((16,), 1)],
    ids=str,
)
def test_vectors_that_do_not_fit_the_names_are_refused_as_such(tmp_path, shape, names):
    model = a_label_model(tmp_path, ["a"] * names, np.ones(shape, np.float32))

    with pytest.raises(LabelSetError, match=rf"\[{names}, 16\] is expected"):
        list(load_label_sets(model, 1))


@pytest.mark.parametrize("count", [16, 90, 9000])
@pytest.mark.parametrize("on_its_side", [False, True])
def test_the_index_is_of_the_vectors_that_belong_to_the_names(tmp_path, count, on_its_side):
    matrix = a_matrix("random", count, 16, 5)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    stored = np.ascontiguousarray(matrix.T) if on_its_side else matrix
    model = a_label_model(tmp_path, [f"thing {row}" for row in range(count)], stored)

    (found,) = load_label_sets(model, 1)

    ((best,),) = found.index.top_k(matrix[7:8], 1, ScoreRule())
    assert (best.row, round(best.cosine, 5)) == (7, 1.0)
    assert found.texts([best.row], "common") == ["thing 7"]


def test_names_that_cannot_be_read_are_refused_whatever_the_vectors_are(tmp_path):
    model = a_label_model(tmp_path, {"a": 1}, np.zeros((90, 16), np.float32))

    with pytest.raises(LabelSetError, match=r"set\.json"):
        list(load_label_sets(model, 1))


def test_a_wrong_row_of_a_large_set_is_refused_by_row_and_label_when_it_is_indexed(tmp_path):
    matrix = a_matrix("random", 9000, 16, 5)
    matrix[8191] = np.nan
    model = a_label_model(tmp_path, [f"thing {row}" for row in range(9000)], matrix)

    with pytest.raises(LabelSetError) as caught:
        list(load_label_sets(model, 1))

    assert caught.value.reason == "LabelSetInvalid"
    assert "row 8191 ('thing 8191' of set) is not finite" in caught.value.message
