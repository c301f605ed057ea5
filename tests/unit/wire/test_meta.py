"""wire.md, "Request meta": what a request may ask for, and how it is refused."""

import pytest

from lumen_terms.taxonomy import LabelFormat, Rank
from lumen_wire.errors import InvalidArgument
from lumen_wire.meta import (
    LONGEST_TERM,
    MOST_NARROWED,
    MOST_TERMS,
    TOP_K_SPELLINGS,
    Include,
    RequestMeta,
    Score,
    VectorFormat,
    check_namespace,
    normalise_mime,
    parse_request_meta,
)


def test_nothing_said_means_the_defaults():
    assert parse_request_meta({}) == RequestMeta()
    assert parse_request_meta({"a key of another client": "x"}) == RequestMeta()


@pytest.mark.parametrize("spelling", TOP_K_SPELLINGS)
def test_top_k_has_six_spellings(spelling):
    assert len(TOP_K_SPELLINGS) == 6
    assert parse_request_meta({spelling: "7"}).top_k == 7


@pytest.mark.parametrize("text", ["0", "-1", "five", "", "1.5", "٣", "1_0", "+3"])
def test_a_top_k_of_0_negative_or_text_is_invalid(text):
    with pytest.raises(InvalidArgument, match='meta "top_k" is'):
        parse_request_meta({"top_k": text})


def test_a_top_k_of_any_length_is_read_as_a_number_above_all_label_sets():
    assert parse_request_meta({"topk": "9" * 4000}).top_k == 10**18


def test_spellings_that_contradict_each_other_are_invalid():
    assert parse_request_meta({"topk": "3", "top_k": "3"}).top_k == 3
    with pytest.raises(InvalidArgument, match="topk=3, top_k=4"):
        parse_request_meta({"topk": "3", "top_k": "4"})


def test_all_that_shapes_an_answer_is_read():
    meta = parse_request_meta(
        {
            "service": "fast",
            "labels": "birds",
            "label_format": "path8",
            "rank": "Genus",
            "include": "class=Aves, order=Passeriformes; genus=Felis",
            "score": "cosine",
            "vector": "f32le",
            "prompt": "template",
            "language": "deu_Latn",
            "embedding_space": "abc",
        }
    )

    assert meta == RequestMeta(
        service="fast",
        labels="birds",
        label_format=LabelFormat.PATH8,
        rank=Rank.GENUS,
        include=(
            (Include(Rank.CLASS, "Aves"), Include(Rank.ORDER, "Passeriformes")),
            (Include(Rank.GENUS, "Felis"),),
        ),
        score=Score.COSINE,
        vector=VectorFormat.F32LE,
        prompt_template=True,
        language="deu_Latn",
        embedding_space="abc",
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("label_format", "latin"),
        ("rank", "tribe"),
        ("include", "Aves"),
        ("include", "tribe=x"),
        ("include", "class="),
        ("score", "percent"),
        ("vector", "f64"),
        ("prompt", "poem"),
        ("error_mode", "loud"),
    ],
)
def test_a_value_that_does_not_exist_is_invalid_and_the_sentence_names_key_and_choices(key, text):
    with pytest.raises(InvalidArgument, match=f'^meta "{key}" is ".*". Send '):
        parse_request_meta({key: text})


def test_a_hostile_value_is_shortened_and_cleaned_in_the_message():
    with pytest.raises(InvalidArgument) as failure:
        parse_request_meta({"rank": "\x1b[31m" + "x" * 10_000})

    assert len(failure.value.message) < 300
    assert "\x1b" not in failure.value.message


def test_the_namespace_of_a_species_service_must_be_bioatlas():
    check_namespace(parse_request_meta({"namespace": "bioatlas"}), "bioclip")
    check_namespace(parse_request_meta({}), "bioclip")
    check_namespace(parse_request_meta({"namespace": "anything"}), "clip")
    with pytest.raises(InvalidArgument, match="bioatlas"):
        check_namespace(parse_request_meta({"namespace": "anything"}), "bioclip")


def test_mime_parameters_and_case_are_ignored():
    assert normalise_mime("Text/Plain; charset=utf-8") == "text/plain"
    assert normalise_mime("image/jpg") == "image/jpeg"
    assert normalise_mime("") == ""


def test_a_payload_is_a_tensor_when_its_meta_says_so():
    assert parse_request_meta({"lumen.input.kind": "tensor"}).tensor
    assert not parse_request_meta({"lumen.input.kind": "picture"}).tensor


def test_include_takes_a_thousand_terms_and_says_so_when_there_are_more():
    many = parse_request_meta({"include": ";".join(f"genus=g{i}" for i in range(MOST_TERMS))})
    assert len(many.include) == MOST_TERMS

    for text in ("genus=g;" * (MOST_TERMS + 1), "genus=" + "x" * LONGEST_TERM):
        with pytest.raises(InvalidArgument, match=f"at most {MOST_TERMS} of {LONGEST_TERM}"):
            parse_request_meta({"include": text})


def test_branches_of_several_ranks_are_fewer_since_each_is_a_pass_over_all_labels():
    narrowed = [f"class=c{i},order=o{i}" for i in range(MOST_NARROWED + 1)]
    assert len(parse_request_meta({"include": ";".join(narrowed[1:])}).include) == MOST_NARROWED

    with pytest.raises(InvalidArgument, match=f"at most {MOST_NARROWED} are read"):
        parse_request_meta({"include": ";".join(narrowed)})
