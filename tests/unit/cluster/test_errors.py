import orjson
import pytest

from lumen_cluster import errors
from lumen_cluster.errors import ApiResponse, classify


def an_answer(status, body=b"", **headers):
    return ApiResponse(
        status, body, {name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.Refused),
        (401, errors.Forbidden),
        (403, errors.Forbidden),
        (404, errors.ObjectNotFound),
        (409, errors.Conflict),
        (422, errors.Refused),
        (429, errors.Throttled),
        (500, errors.ApiUnavailable),
        (503, errors.ApiUnavailable),
        (504, errors.ApiUnavailable),
    ],
)
def test_every_status_means_one_error(status, kind):
    assert type(classify("PATCH /x", an_answer(status))) is kind


def test_the_message_is_that_of_the_status_object():
    body = orjson.dumps({"kind": "Status", "message": "spec.replicas: Invalid value"})
    error = classify("PATCH /x", an_answer(422, body))

    assert str(error) == "PATCH /x: 422 spec.replicas: Invalid value"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff\xfe", b"x" * 100_000, b"null"])
def test_any_body_gives_a_bounded_message(body):
    assert len(str(classify("GET /x", an_answer(500, body)))) < 600


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("0", 0.0), ("9999999", 60.0), ("-1", None), ("soon", None), ("", None)],
)
def test_retry_after_is_read_in_seconds_and_bounded(text, seconds):
    assert classify("GET /x", an_answer(429, Retry_After=text)).retry_after_s == seconds


def test_every_error_of_the_tree_has_a_reason_that_is_a_label():
    def below(kind):
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    assert {each.reason for each in below(errors.ApiError)} == {*errors.ErrorReason}
