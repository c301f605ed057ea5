"""Filters of a label set: which labels a branch of the taxonomy means, and what is said of it."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_sources import a_label_set

from lumen_resources.errors import LabelSetError
from lumen_resources.labels import label_sets
from lumen_resources.labels.filters import Kept, kept
from lumen_resources.labels.label_sets import Labels

CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "catus")
LYNX = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Lynx", "rufus")
WOLF = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Canis", "rufus")
ROBIN = ("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Erithacus", "rubecula")
STORK = ("Animalia", "Chordata", "Aves", "Ciconiiformes", "Ciconiidae", "Ciconia", "ciconia")
# A hybrid's genus is two words, a subspecies' epithet too.
CYPRESS = ("Plantae", "", "", "Pinales", "Cupressaceae", "× Hesperotropsis", "leylandii")
DINGO = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Canis", "lupus dingo")
SPECIES = {"cat": CAT, "lynx": LYNX, "wolf": WOLF, "robin": ROBIN, "stork": STORK}
SPECIES |= {"cypress": CYPRESS, "dingo": DINGO}
ANIMALS = Labels(list(SPECIES), list(SPECIES.values()))


def what_stays(labels: Labels = ANIMALS, include=(), exclude=()) -> set[str]:
    found = kept(labels, some_files(include=include, exclude=exclude))
    assert found.mask is not None
    return {name for name, stays in zip(labels.names, found.mask, strict=True) if stays}


def some_files(**changes):
    return replace(a_label_set(Path("labels.json")), **changes)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("class=aves", {"robin", "stork"}),
        ("name=WOLF", {"wolf"}),
        ("species=rufus", {"lynx", "wolf"}),
        ("species=Canis rufus", {"wolf"}),
        ("species=canis  lupus dingo", {"dingo"}),
        ("species=lupus dingo", {"dingo"}),
        ("species=× Hesperotropsis leylandii", {"cypress"}),
        ("species=Felis rufus", set()),
        ("class=Aves,order=Passeriformes", {"robin"}),
        ("class=Mammalia, species=rufus, genus=Lynx", {"lynx"}),
        ("class=Aves,class=Mammalia,order=Carnivora", {"cat", "lynx", "wolf", "dingo"}),
        ("class=Aves,order=Carnivora", set()),
    ],
)
def test_of_one_rank_any_term_holds_and_of_several_ranks_each(entry, expected):
    assert what_stays(include=[entry]) == expected
    assert what_stays(exclude=[entry]) == set(SPECIES) - expected


def test_entries_add_up_and_excluded_ones_are_taken_away():
    assert what_stays(include=["class=Aves,genus=Ciconia", "species=Felis catus"]) == {
        "stork",
        "cat",
    }
    assert what_stays(include=["order=Carnivora"], exclude=["family=Canidae", "name=cat"]) == {
        "lynx"
    }


def test_a_name_may_contain_a_comma():
    labels = Labels(["Robin, European", "Robin"], [ROBIN, ROBIN])

    assert what_stays(labels, ["name=Robin, European"]) == {"Robin, European"}


def test_a_filter_counts_what_it_keeps_and_drops_of_the_whole():
    files = some_files(include=("order=Carnivora", "family=Ciconiidae"), exclude=("genus=Lynx",))

    remarks = kept(ANIMALS, files).remarks

    assert "order=Carnivora keeps 4; family=Ciconiidae keeps 1." in remarks
    assert "genus=Lynx drops 1." in remarks
    assert "4 of 7 labels are in use." in remarks


def test_a_broad_taxon_of_few_rows_and_every_unknown_one_are_pointed_out():
    unknown = ("class=Avess,order=Passeriformes", "genus=Foo", "species=Felis rufus")
    files = some_files(include=("class=Aves", *unknown), exclude=("genus=Bar",))

    said = " ".join(kept(ANIMALS, files).remarks)

    for name in ("class=Avess", "genus=Foo", "species=Felis rufus", "genus=Bar"):
        assert f"No label has {name}: check the spelling." in said
    assert "class=Aves keeps 2 only" in said
    assert "genus=Foo keeps 0 only" not in said


def test_what_is_said_of_a_filter_is_printable_whatever_it_holds():
    files = some_files(include=("class=\x1b[2JAves", "genus=Felis"))

    assert all(remark.isprintable() for remark in kept(ANIMALS, files).remarks)


def test_many_branches_are_counted_together():
    files = some_files(include=tuple(f"genus={lineage[5]}" for lineage in SPECIES.values()) * 2)

    assert "14 branches together: keep 7." in kept(ANIMALS, files).remarks


def test_a_set_without_filters_is_whole_and_nothing_is_said_of_it():
    assert kept(ANIMALS, some_files()) == Kept(None, ())


@pytest.mark.parametrize("wrong", ["Aves", "colour=red", "class="])
def test_a_term_that_is_none_is_refused_with_the_keys_that_there_are(wrong):
    with pytest.raises(LabelSetError, match="is not a filter") as caught:
        kept(ANIMALS, some_files(include=(wrong,)))

    assert "genus, species, name" in caught.value.remedy


def test_plain_names_have_no_ranks_to_filter_by():
    with pytest.raises(LabelSetError, match="name"):
        kept(Labels(["cat"]), some_files(include=("class=Aves",)))


class CountedText(str):
    """A text that counts how often any of them is folded."""

    __slots__ = ()
    folds = 0

    def casefold(self) -> str:
        CountedText.folds += 1
        return super().casefold()


def test_a_filter_of_many_terms_looks_at_each_term_and_each_name_once():
    lineages = [
        ("Animalia", "Chordata", "Aves", "", "", CountedText(f"Genus{row % 40}"), "x")
        for row in range(4000)
    ]
    taxa = Labels([""] * len(lineages), lineages).taxa()
    CountedText.folds = 0

    first = taxa.rows([("genus", CountedText(f"genus{n}"))] for n in range(0, 1400, 2))
    folds_of_first = CountedText.folds
    second = taxa.rows([("genus", CountedText(f"GENUS{n}"))] for n in range(0, 1400, 2))

    assert folds_of_first == 40 + 700
    assert CountedText.folds - folds_of_first == 700
    assert first.tolist() == second.tolist() == [row % 40 % 2 == 0 for row in range(4000)]


RANK_NAMES = st.sampled_from(["", "Aves", "aves", "Straße", "STRASSE", "Insecta", "İ"])
TERMS = st.tuples(st.sampled_from(label_sets.RANKS), RANK_NAMES.filter(bool))


@given(
    st.lists(st.tuples(*[RANK_NAMES] * 7), min_size=1, max_size=20),
    st.lists(st.lists(TERMS, min_size=1, max_size=3), max_size=4),
)
def test_rows_found_by_code_are_those_whose_texts_compare_equal_without_case(lineages, branches):
    labels = Labels(["x"] * len(lineages), lineages)

    found = labels.taxa().rows(branches)

    def on(lineage, branch) -> bool:
        return all(
            any(
                lineage[label_sets.RANKS.index(rank)].casefold() == name.casefold()
                for other, name in branch
                if other == rank
            )
            for rank in {rank for rank, _ in branch}
        )

    assert found.tolist() == [any(on(lineage, b) for b in branches) for lineage in lineages]
