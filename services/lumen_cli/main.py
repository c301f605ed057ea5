"""The `lumen` command: a lazy group, so that `lumen --help` imports nothing heavy.

A module exports its command as `command`, unless its entry says another name.
"""

import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import click

from lumen_cli.speech import FAILED, say, tell_programs
from lumen_cli.standard_streams import OutputLost, failures_said, open_streams
from lumen_process.printable import printable

# gRPC's own notes about connections that come and go; its errors stay. Read when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives and what `lumen --help` says of it."""

    module: str
    help: str
    name: str = "command"


COMMANDS = {
    "up": Entry("lumen_cli.launch", "Run the services of a manifest on this machine.", "up"),
    "serve": Entry("lumen_cli.launch", "Run one model server from a single-server file.", "serve"),
    "router": Entry("lumen_cli.launch", "Run a router over a file of routes.", "router"),
    "classify": Entry("lumen_cli.classify", "Say what pictures show: the scene, the species."),
    "embed": Entry("lumen_cli.embed", "Print the vectors of texts and pictures."),
    "resources": Entry("lumen_cli.resources", "Fetch, verify and inspect models' files."),
    "export": Entry("lumen_cli.resources.export", "Make ONNX and RKNN files of a model on torch."),
    "status": Entry("lumen_cli.status", "Show the services of a cluster, or wait for them."),
    "bench": Entry("lumen_cli.bench", "Send load to a server and print its figures."),
    "tune": Entry("lumen_cli.tune", "Find the fastest way to compute a model on this machine."),
    "version": Entry("lumen_cli.version", "Print the versions of what is installed."),
}


@contextmanager
def _refusing_well(arguments: Sequence[str]) -> Iterator[None]:
    """Keep click's own sentences from printing what a terminal would obey; programs hear them too.

    Whoever mistyped an option may have asked for JSON: that is read from the words themselves.
    """
    try:
        yield
    except click.ClickException as error:
        said = printable(error.format_message(), keep="\n")
        vars(error)["message"] = printable(error.message, keep="\n")  # click calls it final
        tell_programs(_output_of(arguments), said, error.exit_code)
        raise


def _output_of(arguments: Sequence[str]) -> str:
    """Return what `--output` says among words that may not be a command; "" for nothing."""
    ours = list(takewhile(lambda word: word != "--", arguments))
    for word, after in zip(ours, [*ours[1:], ""], strict=True):
        if word in {"-o", "--output"}:
            return after
        if word.startswith(("--output=", "-o")):
            return word.partition("=")[2] or word.removeprefix("-o")
    return ""


_WORDS = "lumen_cli.words"


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a newcomer needs them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None when there is no such name."""
        del ctx
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), entry.name)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the command line; a sentence about it may quote any file's name."""
        words = tuple(args)  # click takes them away as it reads
        with _refusing_well(words):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[_WORDS] = words
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for; Ctrl-C is told from a failure, as shells do."""
        try:
            with ctx, _refusing_well(ctx.meta[_WORDS]):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
            say("Stopped.")
            tell_programs(_output_of(ctx.meta[_WORDS]), "Stopped.", code)
            raise SystemExit(code) from None
        except OSError as error:
            # Of a file that a command was to write; what it reads is answered where it is read.
            if isinstance(error, OutputLost) or error.filename is None:
                raise
            said = f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}."
            say(said)
            tell_programs(_output_of(ctx.meta[_WORDS]), said, FAILED)
            raise SystemExit(FAILED) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its line, without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Serve CLIP and BioCLIP models, on this machine or a cluster.

    \b
    Start here:
      lumen up -f examples/demo.yaml
      lumen classify examples/pictures/monarch.png
    """


def main() -> None:
    """Run `lumen`."""
    _run(sys.argv[1:])


def resources() -> None:
    """Run `lumen-resources`, the short name of `lumen resources`."""
    _run(["resources", *sys.argv[1:]])


def _run(arguments: list[str]) -> None:
    # gRPC logs what it cannot parse, with a traceback; the same is raised, and said in a sentence.
    logging.getLogger("grpc").addHandler(logging.NullHandler())
    open_streams()
    with failures_said():
        cli(arguments, prog_name="lumen")
