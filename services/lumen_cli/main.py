"""The `lumen` command: a lazy group, so that `lumen --help` imports nothing heavy.

Each command lives in a module of its own that exports `command`.
"""

import importlib
import sys

import click

COMMANDS = {
    "up": "lumen_cli.up",
    "serve": "lumen_cli.serve",
    "router": "lumen_cli.router",
    "classify": "lumen_cli.classify",
    "embed": "lumen_cli.embed",
    "resources": "lumen_cli.resources",
    "bench": "lumen_cli.bench",
    "version": "lumen_cli.version",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a newcomer needs them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None when there is no such name."""
        del ctx
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    r"""Serve CLIP and BioCLIP models, on this machine or a cluster.

    \b
    Start here:
      lumen up -f examples/demo.yaml
      lumen classify examples/pictures/monarch.png
    """


def main() -> None:
    """Run `lumen`."""
    cli(prog_name="lumen")


def resources() -> None:
    """Run `lumen-resources`, the short name of `lumen resources`."""
    cli(["resources", *sys.argv[1:]], prog_name="lumen")
