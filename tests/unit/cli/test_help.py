"""What every command says of itself with --help."""

import sys
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from every_command import commands

from lumen_cli.main import COMMANDS, Entry, cli


@pytest.mark.parametrize("words", list(commands(cli)), ids=" ".join)
def test_every_command_helps_with_an_example_on_a_line_of_its_own(words):
    done = CliRunner().invoke(cli, [*words, "--help"])

    assert done.exit_code == 0
    typed = [line for line in done.output.splitlines() if line.startswith("    ")]
    assert any(f"lumen {' '.join(words)}" in line for line in typed)
    assert "\\b" not in done.output
    assert "\b" not in done.output


def test_ctrl_c_is_told_from_a_failure(monkeypatch):
    @click.command()
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "interrupted", SimpleNamespace(command=interrupted))
    monkeypatch.setitem(COMMANDS, "wait", Entry("interrupted", "Waits."))

    done = CliRunner().invoke(cli, ["wait"])

    assert (done.exit_code, done.stderr) == (130, "Stopped.\n")
