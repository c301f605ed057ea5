"""What is told of texts that strangers had a hand in: nothing secret, and nothing without end."""

import io
import json
import logging

import pytest
import structlog

from lumen_process import logs
from lumen_process.printable import TOLD_MOST, told
from lumen_resources.errors import InvalidConfig
from lumen_resources.termination import failure_line

SECRET = "s3cr3t"
SECRETS = [
    f"https://user:{SECRET}@host/x cannot be reached",
    f"'s3://{SECRET}:{SECRET}@bucket/x' is none",
    f"https://{SECRET}@host:8443/x",
    f"redirected to https://b.s3.amazonaws.com/x?X-Amz-Algorithm=a&X-Amz-Signature={SECRET}&y=2",
    f"https://b.s3.amazonaws.com/x?AWSAccessKeyId={SECRET}&Signature={SECRET}&Expires=1",
    f"https://cdn/x?auth_key={SECRET}",
    f"https://h/x?a=1&token={SECRET}",
    f"(http://proxy-user:{SECRET}@proxy:3128)",
]


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_of_an_address_is_told(text):
    assert SECRET not in told(text)
    assert "://" in told(text)


@pytest.mark.parametrize(
    "text",
    ["hf://owner/name@v1.0", "file://./a@b", "me@example.org", "https://h/a@2?size=3", "a: b@c"],
)
def test_addresses_without_a_secret_are_told_as_they_are(text):
    assert told(text) == text


def test_names_and_texts_without_end_are_cut():
    name = "x" * 100_000

    assert len(told(name)) < 200
    assert len(told("word " * 10_000)) == TOLD_MOST
    assert told(f"The graph takes {name} here.").endswith("xxx here.")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("text", [*SECRETS, "long " + "y" * 100_000])
def test_every_line_of_a_log_is_told_so_whoever_wrote_it(form, text):
    stream = io.StringIO()
    logs.configure(form, "info", stream)
    try:
        structlog.get_logger("ours").warning(text, url=text)
        try:
            raise ValueError(text)  # noqa: TRY301 - somebody else's, with an address in it
        except ValueError:
            structlog.get_logger("ours").exception("failed")
        logging.getLogger("theirs").warning("%s", text)
    finally:
        logging.getLogger().handlers.clear()
        structlog.reset_defaults()

    assert SECRET not in stream.getvalue()
    assert max(len(line) for line in stream.getvalue().splitlines()) < 3 * TOLD_MOST


@pytest.mark.parametrize("text", SECRETS)
def test_a_refusal_tells_no_secret_to_whoever_reads_the_pod(text):
    line = failure_line(InvalidConfig(text, remedy=text, file=text))

    assert SECRET not in line.decode()
    assert json.loads(line)["reason"] == "InvalidSpec"
