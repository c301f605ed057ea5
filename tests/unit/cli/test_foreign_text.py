"""Labels, file names and servers' sentences are other people's: commands show them as text."""

import csv
import io
import json
import os

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from lumen_cli import output
from lumen_cli.bench import _read_picture
from lumen_cli.classify import _read_expected
from lumen_cli.main import LazyGroup, cli
from lumen_cli.output import progress_bar, write_rows
from lumen_cli.speech import say, write_json

HOSTILE = [
    "[/b]dog",
    "robin [best].png",
    "[link=https://example.org]cat[/link]",
    ":smile: {curly} %s",
    "\x1b[2Jgone",
    "\x1b]0;title\x07",
    "\x9b31mred",
    "a\rb\nc\td",
    "\u202egnp.exe",
    "caf\udce9.png",
    "\x00",
]
OBEYED = [chr(c) for c in (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F))]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_of_a_table_is_shown_as_text(capsys, text):
    write_rows([{"label": text, "share": None}], ("label", "share"), "table")

    head, line = capsys.readouterr().out.splitlines()
    assert "label" in head
    assert not [c for c in OBEYED if c in line]
    if text.isprintable():
        assert text in line


@pytest.mark.parametrize("text", HOSTILE)
def test_json_says_exactly_what_was_there_and_holds_nothing_that_a_terminal_obeys(capsys, text):
    write_json([{"label": text}])

    written = capsys.readouterr().out
    assert json.loads(written) == [{"label": text}]
    assert not [c for c in OBEYED if c in written.removesuffix("\n")]


def test_csv_keeps_lines_and_tabs_in_quotes_and_writes_out_the_rest(capsys):
    write_rows([{"label": "a\tb\nc \x1b[2J", "n": 1}], ("label", "n"), "csv")

    head, row = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    assert head == ["label", "n"]
    assert row == ["a\tb\nc \\x1b[2J", "1"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_sentence_is_one_line_whatever_it_quotes(capsys, text):
    say(f"{text}: there is no such file")

    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert not [c for c in OBEYED if c in written.removesuffix("\n")]


@pytest.mark.parametrize("text", [t for t in HOSTILE if t.isprintable()])
def test_a_progress_bar_is_named_by_text(monkeypatch, text):
    shown = io.StringIO()
    monkeypatch.setattr(
        output, "Console", lambda **_: Console(file=shown, force_terminal=True, width=200)
    )

    with progress_bar(text, 2) as done:
        done()

    assert text in shown.getvalue()


def test_what_click_says_of_a_file_name_is_text():
    done = CliRunner().invoke(cli, ["resources", "validate", "\x1b]0;owned\x07.yaml"])

    assert done.exit_code == 2
    assert "\x1b" not in done.output
    assert r"\x1b]0;owned\x07.yaml" in done.output


def test_what_click_says_of_a_command_is_text():
    assert isinstance(cli, LazyGroup)

    with pytest.raises(click.UsageError, match=r"\\x1b\[2J"):
        cli.main(["\x1b[2J"], standalone_mode=False)


@pytest.mark.parametrize("content", [b"[1]", b'{"a.png": 5}', b"\xff", b"{"])
def test_expectations_that_are_none_are_refused_with_a_sentence(tmp_path, capsys, content):
    path = tmp_path / "expected.json"
    path.write_bytes(content)

    with pytest.raises(SystemExit):
        _read_expected(path)
    assert "expected.json" in capsys.readouterr().err


def test_a_pipe_for_expectations_or_a_picture_is_refused_and_not_waited_for(tmp_path, capsys):
    path = tmp_path / "pipe"
    os.mkfifo(path)

    for read in (_read_expected, _read_picture):
        with pytest.raises(SystemExit):
            read(path)
        assert "a named pipe" in capsys.readouterr().err
