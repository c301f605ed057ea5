"""`lumen resources`: fetch, verify and look at the files of models."""

import importlib

import click

COMMANDS = {
    "download": "lumen_cli.resources.download",
    "verify": "lumen_cli.resources.verify",
    "check": "lumen_cli.resources.check",
    "validate": "lumen_cli.resources.validate",
    "validate-model-info": "lumen_cli.resources.validate_model_info",
    "labels": "lumen_cli.resources.labels",
    "list": "lumen_cli.resources.list_models",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        found: click.Command = importlib.import_module(module).command
        return found


@click.command(
    "resources", cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}
)
def command() -> None:
    """Fetch, verify and look at the files of models.

    \b
    Examples:
      lumen resources download demo-clip --uri https://models.example.org/demo-clip
      lumen resources download -f clip-service.yaml
      lumen resources verify --write ./my-model
      lumen resources list
    """
