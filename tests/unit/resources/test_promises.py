"""What a source promises of a file, by SHA-256 or as git names it, and what the file is."""

import hashlib

import pytest

from lumen_resources.sources.promises import DigestRule, FilePromise, Measure, measured

# What `git hash-object` says of these.
GIT = {b"": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
       b"hello\n": "ce013625030ba8dba906f756967f9e9ca394464a"}  # fmt: skip


def promises(content: bytes) -> list[FilePromise]:
    sha256 = hashlib.sha256(content).hexdigest()
    return [
        FilePromise(len(content), sha256),
        FilePromise(len(content), GIT[content], DigestRule.GIT_BLOB),
    ]


@pytest.mark.parametrize("content", GIT)
def test_a_file_is_known_by_either_rule_and_kept_by_sha256(tmp_path, content):
    place = tmp_path / "file"
    place.write_bytes(content)

    for promise in promises(content):
        digest = measured(place, promise)
        assert digest is not None
        assert digest.sha256 == hashlib.sha256(content).hexdigest()
        assert digest.size == len(content)


@pytest.mark.parametrize("promise", promises(b"hello\n"))
@pytest.mark.parametrize("content", [b"hellO\n", b"hello", b"hello\n\n", b""])
def test_another_file_is_not_the_promised_one(tmp_path, promise, content):
    place = tmp_path / "file"
    place.write_bytes(content)

    assert measured(place, promise) is None
    assert measured(tmp_path / "absent", promise) is None


def test_blocks_may_come_in_any_pieces():
    whole, rule = FilePromise(6, GIT[b"hello\n"], DigestRule.GIT_BLOB), b"hello\n"
    measure = Measure(whole)
    for at in range(len(rule)):
        assert not measure.kept
        measure.update(rule[at : at + 1])

    assert measure.kept
    assert measure.size == len(rule)
