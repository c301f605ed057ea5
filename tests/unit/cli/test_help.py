"""What every command says of itself with --help."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from lumen_cli.main import cli


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    """Every command that does something, as the words that are typed."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield (*before, name)


@pytest.mark.parametrize("words", list(commands(cli)), ids=" ".join)
def test_every_command_helps_with_an_example_on_a_line_of_its_own(words):
    done = CliRunner().invoke(cli, [*words, "--help"])

    assert done.exit_code == 0
    typed = [line for line in done.output.splitlines() if line.startswith("    ")]
    assert any(f"lumen {' '.join(words)}" in line for line in typed)
    assert "\\b" not in done.output
    assert "\b" not in done.output
