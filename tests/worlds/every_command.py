"""Every command of ours, for tests that hold for all of them."""

import re
import shlex
from collections.abc import Iterator, Mapping

import click

from lumen_cli.main import cli


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    """Every command that does something, as the words that are typed."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield (*before, name)


def problem_with(line: str) -> str:
    """Say what of a command line does not exist; "" when all does.

    A command alone is only named. With words after it, it is read as click does: options have
    their values, one of the choices where there are such, and no word is too many.
    What stands in capitals, or in <>, may be any word.
    """
    command, words = _command(_words(line))
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        return f"no command {words[0]}"
    if not words:
        return ""
    if "..." in words:
        known = {option for one in command.params for option in one.opts}
        return ", ".join({word for word in words if word.startswith("--")} - known)
    try:
        read, rest, _ = command.make_parser(click.Context(command)).parse_args([*words])
    except click.UsageError as error:
        return error.format_message()
    given = {name: _texts(value) for name, value in read.items()}
    if rest and not command.allow_extra_args:
        return f"a word too many: {rest}"
    return "" if "--help" in words else _missing(command, given) or _odd(command, given)


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that words begin with, and the words after it."""
    command: click.Command = cli
    while words and isinstance(command, click.Group):
        below = command.get_command(click.Context(command), words[0])
        if below is None:
            break
        command, words = below, words[1:]
    return command, words


def _missing(command: click.Command, given: Mapping[str, tuple[str, ...]]) -> str:
    """Say which argument is missing, or that no model is named where a command is about one."""
    named = {name for name, texts in given.items() if texts}
    for one in command.params:
        if one.required and one.name not in named:
            return f"no {one.opts[-1]}"
    takes_a_model = {"name", "files"} <= {one.name for one in command.params}
    if takes_a_model and not named & {"name", "files", "folder", "write"}:
        return "no model is named"
    return ""


def _odd(command: click.Command, given: Mapping[str, tuple[str, ...]]) -> str:
    """Say which value is none of its option's choices."""
    for one in command.params:
        if isinstance(one.type, click.Choice):
            for value in given.get(one.name or "", ()):
                if value not in one.type.choices and not re.fullmatch(r"[A-Z_|]+|<.*>", value):
                    return f"{one.opts[0]} {value} is no choice of {one.type.choices}"
    return ""


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(one for one in values if isinstance(one, str))


def _words(line: str) -> list[str]:
    typed = re.split(r" -- |  | [|>&] |[;.]$", re.sub(r"\\\n *", "", line))[0]
    try:
        return shlex.split(typed)
    except ValueError:  # an apostrophe of prose
        return typed.split()
