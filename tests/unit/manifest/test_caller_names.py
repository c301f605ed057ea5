"""Whom callers mean by a name: one name has one owner, and the older service keeps it."""

import itertools

import pytest

from lumen_manifest.caller_names import CallerNames, Claimant


def a_claim(name, *aliases, family="clip", year=2026, model="", default=False) -> Claimant:
    return Claimant(name, family, aliases, default, model, (f"{year}-01-01T00:00:00Z", 0))


def owners(*claims) -> dict[str, str]:
    return CallerNames(claims).owners()


def said(service, *claims) -> str:
    return " ".join(each.said for each in CallerNames(claims).lost(service))


OLD = a_claim("old", year=2025)

CLASHES = [
    # What the younger service asks for, what is older, the name, and what is said of it.
    (a_claim("new", "old"), OLD, "old", "reach old, which is called so and came first"),
    (
        a_claim("new", "fast"),
        a_claim("old", "fast", year=2025),
        "fast",
        "reach old, which has it as an alias and came first",
    ),
    (
        a_claim("fast"),
        a_claim("old", "fast", year=2025),
        "fast",
        "reach old, which has it as an alias and came first",
    ),
    (
        a_claim("new", "clip"),
        OLD,
        "clip",
        "which is the family's default and came first",
    ),
    (
        a_claim("new", "ViT-B-32", model="ViT-L-14"),
        a_claim("old", year=2025, model="laion/ViT-B-32"),
        "ViT-B-32",
        "is the model of old, which came first; new has another",
    ),
    (
        a_claim("new", "bioclip"),
        a_claim("old", family="bioclip", year=2025),
        "bioclip",
        "is the name of a family, and new is of family clip",
    ),
]


@pytest.mark.parametrize(("new", "old", "name", "why"), CLASHES)
def test_the_older_service_keeps_the_name_and_the_younger_is_told(new, old, name, why):
    assert owners(new, old).get(name) in {"old", None}
    assert owners(new, old) == owners(old, new)
    assert why in said(new.name, new, old)
    assert said("old", new, old) == ""


def test_the_name_of_a_family_never_means_a_service_of_another_one():
    older = a_claim("old", "bioclip", year=2025)

    assert "bioclip" not in owners(older)
    assert owners(older, a_claim("birds", family="bioclip"))["bioclip"] == "birds"
    assert "is the name of a family" in said("old", older)
    assert "siglip" not in owners(a_claim("siglip", family="clip"))


def test_a_service_may_have_its_own_model_as_an_alias_also_beside_one_of_the_same_model():
    one, two = (
        a_claim("a", model="x/ViT-B-32", year=2025),
        a_claim("b", "ViT-B-32", model="ViT-B-32"),
    )

    assert owners(one, two)["ViT-B-32"] == "b"
    assert said("b", one, two) == ""


def test_a_service_called_as_its_family_is_that_name_and_the_default_answers_the_tasks():
    names = CallerNames([a_claim("fast", default=True, year=2025), a_claim("clip")])

    assert names.owners()["clip"] == "clip"
    assert names.default_of("clip").name == "fast"
    assert not list(names.lost("fast"))


def test_of_equal_age_the_name_decides():
    assert owners(a_claim("b", "fast"), a_claim("a", "fast"))["fast"] == "a"


def test_when_the_owner_goes_the_name_falls_to_who_asks_for_it_and_both_are_concerned():
    old, new = a_claim("old", "fast", year=2025), a_claim("new", "fast")
    names = CallerNames([old, new])
    assert names.held("new") == ("new",)
    assert names.concerned(old) == {"new"}

    names.drop("old")

    assert names.held("new") == ("new", "fast", "clip")
    assert not list(names.lost("new"))


def test_whoever_comes_or_goes_everyone_whose_names_change_is_concerned():
    pool = [
        a_claim("a", "x", year=2024, model="m"),
        a_claim("b", "x", "clip", year=2025, default=True),
        a_claim("clip", "m", year=2026, model="n"),
        a_claim("d", "a", family="bioclip", year=2023),
        a_claim("e", "bioclip", "clip", year=2027),
        a_claim("f", family="bioclip", year=2022, default=True),
    ]

    def states(names):
        known = [each.name for each in pool if names.get(each.name)]
        return {
            name: (names.held(name), tuple(names.lost(name)), names.older_default(name))
            for name in known
        }

    for some in itertools.combinations(pool, 4):
        for changing in pool:
            names = CallerNames(each for each in some if each != changing)
            before = states(names)
            names.put(changing)
            after = states(names)
            changed = {name for name in before if before[name] != after[name]}

            assert changed <= names.concerned(changing)
            names.drop(changing.name)
            assert changed <= names.concerned(changing)
            assert states(names) == before
