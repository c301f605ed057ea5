"""A folder as people have them goes through the commands at once: each file answered or named."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import odd_folder
import pytest
import tiny_models
from local_runs import ENVIRONMENT, Lumen, tiny_service


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lumen_cli", *map(os.fspath, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        env=ENVIRONMENT,
        check=False,
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory, tiny_cache) -> Iterator[str]:
    """A router in front of both tiny models."""
    folder = tmp_path_factory.mktemp("door")
    manifest = folder / "lumen.yaml"
    manifest.write_text("---".join(tiny_service(each, tiny_cache) for each in ("clip", "bioclip")))
    up = ("up", "-f", str(manifest), "--port", "0", "--state-dir", str(folder / "state"))
    with Lumen(*up, cwd=folder) as run:
        yield run.until_up()


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> odd_folder.OddFolder:
    return odd_folder.lay(tmp_path_factory.mktemp("odd") / "pictures")


def by_name(rows: list[Mapping[str, object]], key: str, odd: odd_folder.OddFolder):
    """Rows by the name below the folder, each of which stands once."""
    found = {os.path.relpath(str(row[key]), odd.path): row for row in rows}
    assert len(found) == len(rows)
    return found


def check_the_end(ran: subprocess.CompletedProcess[str], odd: odd_folder.OddFolder) -> None:
    """What is said on stderr: what failed, what was left out, and nothing that a terminal obeys."""
    assert ran.returncode == 1
    assert f"{len(odd.refused)} of {len(odd.refused) + len(odd.shows)}" in ran.stderr
    left_out = ", ".join(f"{kind}: {count}" for kind, count in odd.left_out.items())
    assert f"Left out of {odd.path}: {left_out}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", ran.stderr)


def test_classify_answers_or_names_every_file(address, odd):
    ran = command("classify", odd.path, "--server", address, "--output", "json")

    rows = by_name(json.loads(ran.stdout), "picture", odd)
    assert set(rows) == set(odd.shows) | set(odd.refused)
    assert {name for name, row in rows.items() if row["labels"]} == set(odd.shows)
    assert [name for name, said in odd.refused.items() if said not in rows[name]["error"]] == []
    check_the_end(ran, odd)


def test_embed_gives_the_references_vectors_and_names_the_rest(address, odd, tiny_cache, tmp_path):
    out = tmp_path / "vectors.npy"
    ran = command("embed", odd.path, "--server", address, "--service", "clip", "--out", out)

    lines = out.with_suffix(".items.jsonl").read_text().splitlines()
    items = by_name([json.loads(line) for line in lines], "item", odd)
    vectors = np.load(out)
    spec = tiny_models.TinyModel()
    wanted = tiny_models.image_vectors(
        tiny_cache / "models" / spec.name, list(odd.shows.values()), spec
    )
    cosines = {
        name: float(vectors[items[name]["row"]] @ vector)
        for name, vector in zip(odd.shows, wanted, strict=True)
    }
    print(f"least cosine {min(cosines.values()):.6f}")
    assert {name: cosine for name, cosine in cosines.items() if cosine < 0.999} == {}
    assert len(vectors) == len(odd.shows)
    assert [name for name, said in odd.refused.items() if said not in items[name]["error"]] == []
    check_the_end(ran, odd)


@pytest.mark.parametrize("output", ["table", "csv"])
def test_no_name_reaches_a_terminal_as_more_than_text(address, odd, output):
    ran = command("classify", odd.path, "--server", address, "--output", output)

    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", ran.stdout)
    if output == "csv":
        assert len(list(csv.DictReader(io.StringIO(ran.stdout)))) == len(odd.shows) + len(
            odd.refused
        )
    else:
        assert len(ran.stdout.splitlines()) == 1 + len(odd.shows) + len(odd.refused)
        assert r"line\nend \x1b[31mred.jpg" in ran.stdout
        assert r"caf\udce9.jpg" in ran.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty.jpg", "is empty"),
        ("pipe.jpg", "a named pipe"),
        ("socket.jpg", "cannot be read"),
        ("Thumbs.db", "what macOS keeps beside a file"),
        ("notes.txt", "what macOS keeps beside a file"),
        ("film.jpg", "is a video"),
    ],
)
def test_an_odd_file_that_is_named_is_an_error_that_names_it(address, odd, name, says):
    ran = command("classify", odd.path / name, "--server", address, "--output", "jsonl")

    assert ran.returncode == 1
    (row,) = map(json.loads, ran.stdout.splitlines())
    assert says in row["error"]
    assert name in row["error"]


@pytest.mark.parametrize("name", ["gone.jpg", "loop.jpg"])
def test_a_broken_link_that_is_named_is_said_before_anything_is_asked(odd, name):
    ran = command("classify", odd.path / name)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"{name} is a link that leads nowhere" in ran.stderr


def too_deep_a_folder(path: Path) -> None:
    """Nest folders until their path is longer than the system takes, which stops root as well."""
    descriptor = os.open(path, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("d" * 250, dir_fd=descriptor)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)


def test_a_folder_that_cannot_be_listed_is_said_and_the_others_are_answered(address, tmp_path):
    (tmp_path / "a.jpg").write_bytes(tiny_models.a_jpeg())
    (tmp_path / "z.jpg").write_bytes(tiny_models.a_jpeg())
    too_deep_a_folder(tmp_path)

    ran = command("classify", tmp_path, "--server", address, "--output", "jsonl")

    assert [json.loads(line)["error"] for line in ran.stdout.splitlines()] == ["", ""]
    assert "cannot be listed: File name too long" in ran.stderr
    assert ran.returncode == 1


def test_a_folder_of_leftovers_alone_is_a_usage_error_that_counts_them(tmp_path):
    (tmp_path / "._a.jpg").write_bytes(b"x")
    (tmp_path / "b.jpg").touch()

    ran = command("classify", tmp_path)

    assert ran.returncode == 2
    assert "holds no pictures; left out: hidden: 1, empty: 1" in ran.stderr
