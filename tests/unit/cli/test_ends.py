"""How commands end when something is wrong: one sentence, an exit code, JSON for who asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from every_command import commands

from lumen_cli.main import cli

ALL = list(commands(cli))
NOBODY = ("--server", "127.0.0.1:1", "--timeout", "1")
REFUSED = {
    ("up",): ("-f", "nowhere.yaml"),
    ("serve",): ("--config", "nowhere.yaml"),
    ("classify",): ("nowhere.jpg", *NOBODY),
    ("embed",): ("a cat", *NOBODY),
    ("bench",): ("127.0.0.1:1", "--timeout", "1"),
    ("tune",): (),
    ("status",): ("--kubeconfig", "nowhere.yaml"),
    ("version",): ("--nosuch",),
    ("export",): ("./nowhere", "--out", "made"),
    ("resources", "export"): ("./nowhere", "--out", "made"),
    ("resources", "download"): (),
    ("resources", "verify"): ("--folder", "."),
    ("resources", "check"): ("absent", "--cache-dir", "cache"),
    ("resources", "validate"): ("nowhere.yaml",),
    ("resources", "validate-model-info"): (".",),
    ("resources", "labels"): ("absent", "--cache-dir", "cache"),
    ("resources", "list"): ("--nosuch",),
}
WITHOUT_RESULTS = {("router",)}


def lumen(*words, **streams):
    return subprocess.run(
        [sys.executable, "-m", "lumen_cli", *words],
        text=True,
        timeout=120,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
    )


def test_every_command_with_results_is_tried():
    assert set(REFUSED) == set(ALL) - WITHOUT_RESULTS


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_who_asked_for_json_gets_json_of_a_failure(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(cli, [*words, *REFUSED[words], "--output", "json"])

    assert done.exit_code in {1, 2}, done.output
    told = json.loads(done.stdout)
    if isinstance(told, list):  # one row for each model, each with its own error
        assert all(row["message"] and row["remedy"] for row in told)
    else:
        assert told["error"]["exitCode"] == done.exit_code
        assert told["error"]["message"]
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_a_full_disk_behind_stdout_is_one_sentence(words):
    with Path("/dev/full").open("w") as full:
        ran = lumen(*words, "--help", stdout=full)

    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        "stdout takes no more: No space left on device. Send what is printed to another place."
    ]


@pytest.mark.parametrize("words", [("--help",), ("version",), ("version", "-o", "json")])
def test_nothing_is_said_of_a_reader_that_left(words):
    reader, writer = os.pipe()
    os.close(reader)
    ran = lumen(*words, stdout=writer)
    os.close(writer)

    assert (ran.returncode, ran.stderr) == (1, "")


@pytest.mark.parametrize(
    ("redirection", "words", "code"),
    [
        (">&-", "version", 1),
        ("2>&-", "version", 0),
        ("2>&-", "nosuch", 2),
        ("2>/dev/full", "nosuch", 2),
        ("2>/dev/full", "classify nowhere.jpg", 2),
        ("<&- >&- 2>&-", "version", 1),
    ],
)
def test_a_stream_that_is_closed_hides_no_exit_code(redirection, words, code):
    ran = subprocess.run(
        ["sh", "-c", f'"$0" -m lumen_cli {words} {redirection}', sys.executable],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran.returncode == code
    assert "Traceback" not in ran.stderr


TO_A_FILE = [("embed", "a", "--out"), ("bench", "--plot"), ("tune", "--plot")]


@pytest.mark.parametrize("words", TO_A_FILE, ids=lambda words: words[0])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(words, tmp_path):
    (tmp_path / "folder.png").mkdir()
    places = {
        tmp_path / "nowhere" / "file.png": "is not there",
        tmp_path / "folder.png": "is a folder",
        Path("/dev/full"): "name another",
    }
    for place, said in places.items():
        done = CliRunner().invoke(cli, [*words, str(place)])

        assert done.exit_code == 2
        assert said in done.stderr
