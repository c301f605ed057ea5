"""Lists of names that a label set is narrowed by: how they are written, found and refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from model_sources import a_config, a_label_set

from lumen_resources.errors import InvalidConfig, LabelSetError
from lumen_resources.labels.filters import kept
from lumen_resources.labels.label_sets import Labels
from lumen_resources.labels.name_lists import MAX_NAMES, mounted_lists, read_names, without_author
from lumen_resources.model.layouts import NameList

CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "catus")
LYNX = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Lynx", "rufus")
WOLF = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Canis", "rufus")
ROBIN = ("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Erithacus", "rubecula")
ANIMALS = Labels(["cat", "bobcat", "red wolf", "European Robin"], [CAT, LYNX, WOLF, ROBIN])


@pytest.fixture
def listed(tmp_path):
    """Return what a list of this text keeps of the animals, and what is said."""

    def keep(text: str, **changes):
        (tmp_path / "park.txt").write_text(text, encoding="utf-8")
        files = a_label_set(tmp_path / "labels.json", include_names=NameList(tmp_path / "park.txt"))
        found = kept(ANIMALS, replace(files, **changes))
        stay = zip(ANIMALS.names, found.mask.tolist(), strict=True)
        return {name for name, stays in stay if stays}, found.remarks

    return keep


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Felis catus\n\n# a comment\nCanis rufus\n", {"cat", "red wolf"}),
        ("EUROPEAN ROBIN\nBobcat", {"European Robin", "bobcat"}),
        ("Felidae\nAves", {"cat", "bobcat", "European Robin"}),
        (
            "Felis catus Linnaeus, 1758\nErithacus rubecula (Linnaeus, 1758)",
            {"cat", "European Robin"},
        ),
        ("\ufeffgbifID\tscientific_name\tlocality\n1\tLynx rufus\tX\n2\t\tY\n", {"bobcat"}),
        ("species,scientificName\nFelis catus,Felis catus L.\n", {"cat"}),
        ("Common Name;n\nred wolf;3\n", {"red wolf"}),
        ("class\nMammalia\n", {"cat", "bobcat", "red wolf"}),
        ('name,n\n"red wolf",3\n', {"red wolf"}),
    ],
)
def test_a_list_is_one_name_a_line_or_a_table_with_a_column_of_them(listed, text, expected):
    assert listed(text)[0] == expected


def test_names_that_no_label_has_are_counted_and_the_first_ten_are_named(listed):
    unknown = [f"Nomen ignotum{number}" for number in range(13)]

    stays, said = listed("\n".join(["Felis catus", *unknown]))

    assert stays == {"cat"}
    assert "park.txt keeps 1: 1 of its 14 names are known." in said
    assert any("'Nomen ignotum9' and 3 more" in each for each in said)
    assert not any("ignotum10" in each for each in said)


def test_a_list_adds_to_the_entries_and_one_may_be_excluded(listed, tmp_path):
    assert listed("Felis catus", include=("class=Aves",))[0] == {"cat", "European Robin"}

    (tmp_path / "none.txt").write_text("bobcat\n")
    without = {"include_names": None, "exclude_names": NameList(tmp_path / "none.txt")}
    assert listed("x", **without)[0] == {"cat", "red wolf", "European Robin"}


def test_a_table_of_ranks_says_nothing_of_labels_that_have_none(tmp_path):
    (tmp_path / "park.txt").write_text("class\nAves\n")
    files = a_label_set(tmp_path / "labels.json", include_names=NameList(tmp_path / "park.txt"))

    with pytest.raises(LabelSetError, match="have no ranks"):
        kept(Labels(["Aves", "cat"]), files)


def test_ten_thousand_names_are_looked_up_and_never_compared_row_by_row(listed):
    names = [f"Genus{n} species{n % 7}" for n in range(10_000)]

    stays, said = listed("\n".join([*names, "Canis rufus"]))

    assert stays == {"red wolf"}
    assert any("1 of its 10,001 names" in each for each in said)


@pytest.mark.parametrize(
    "content", [b"", b"# nothing\n", b"\xff\xfeF\x00", b"\xe4\xf6", b"x" * 300, b'name\n"a\nb']
)
def test_what_is_no_list_of_names_is_refused_with_how_to_write_one(tmp_path, content):
    (tmp_path / "names.txt").write_bytes(content)

    with pytest.raises(LabelSetError, match="cannot be read") as caught:
        read_names(NameList(tmp_path / "names.txt"))

    assert "one name a line" in caught.value.remedy


def test_a_list_is_bounded(tmp_path):
    (tmp_path / "names.txt").write_text("".join(f"{n}\n" for n in range(MAX_NAMES + 1)))

    with pytest.raises(LabelSetError, match="200,001 names"):
        read_names(NameList(tmp_path / "names.txt"))


def test_a_list_that_is_not_there_is_refused_with_where_it_should_come_from(tmp_path):
    with pytest.raises(LabelSetError, match="is not there") as caught:
        read_names(NameList(tmp_path / "names.txt"))

    assert "ConfigMap" in caught.value.remedy


def listing(**said: object):
    return a_config(None, labelSets=[{"name": "a", "includeFrom": said}])


def place_of(config, source_dir: Path) -> Path:
    return mounted_lists(config, source_dir)["a", "include_from"].path


def test_a_file_is_beside_the_manifest_and_a_config_map_is_where_it_is_mounted(tmp_path):
    (tmp_path / "park.txt").touch()
    from_map = listing(configMap={"name": "parks", "key": "park.csv"})

    assert place_of(listing(file="park.txt"), tmp_path) == tmp_path / "park.txt"
    assert place_of(from_map, tmp_path) == Path("/etc/lumen-names/a.include")


@pytest.mark.parametrize("file", ["../outside.txt", "inside/../../outside.txt", "link.txt"])
def test_a_file_outside_the_manifests_folder_is_refused(tmp_path, file):
    (tmp_path / "here").mkdir()
    (tmp_path / "outside.txt").write_text(json.dumps("a secret"))
    (tmp_path / "here" / "link.txt").symlink_to(tmp_path / "outside.txt")

    with pytest.raises(InvalidConfig, match="leads out"):
        mounted_lists(listing(file=file), tmp_path / "here")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Felis catus Linnaeus, 1758", "Felis catus"),
        ("Canis lupus dingo Meyer, 1793", "Canis lupus dingo"),
        ("Erithacus rubecula (Linnaeus, 1758)", "Erithacus rubecula"),
        ("Felis", "Felis"),
    ],
)
def test_an_author_is_no_part_of_a_species_name(name, expected):
    assert without_author(name) == expected
