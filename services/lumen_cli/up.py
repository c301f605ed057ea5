"""`lumen up`: run manifests on this machine."""

import os
import sys
from pathlib import Path

import click

from lumen_cli.output import USAGE, fail_by


@click.command(short_help="Run manifests on this machine, a router in front.")
@click.option(
    "-f",
    "--file",
    "files",
    required=True,
    multiple=True,
    metavar="FILE",
    help="A manifest; - is stdin. May be given several times.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=50051,
    show_default=True,
    help="Where the router listens; 0 takes a free port.",
)
@click.option(
    "--bind",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The router's address; 0.0.0.0 lets other machines in.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Settings, routes and locks of the run.  [default: ~/.local/state/lumen]",
)
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Verified model files, kept between runs.  [default: ~/.cache/lumen]",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What the processes log.  [default: the manifest's, warnings for info]",
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one event per line on stdout.",
)
@click.argument("beside", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ...]")
def command(
    files: tuple[str, ...],
    port: int,
    bind: str,
    state_dir: Path | None,
    cache_dir: Path | None,
    log_level: str | None,
    output: str,
    beside: tuple[str, ...],
) -> None:
    """Run the model services of some manifests on this machine, and a router in front.

    The same manifests run on Kubernetes. Ctrl-C drains and stops; a second one ends at once.
    A COMMAND is started once everything is ready, with LUMEN_SERVER set; its end ends the run.

    \b
    Examples:
      lumen up -f examples/demo.yaml
      lumen up -f clip.yaml -f bioclip.yaml --port 0 --output json
      lumen up -f examples/demo.yaml -- lumen classify examples/pictures

    Exit codes: 0 stopped by a signal and drained, 1 nothing can serve, 2 refused before the start;
    with a COMMAND its own, 130 when a signal came first.
    """
    from lumen_local.errors import LocalError
    from lumen_local.run import LaunchSettings
    from lumen_local.show.display import Output, choose_display
    from lumen_local.state_dir import default_cache_dir, default_state_dir
    from lumen_local.up import up
    from lumen_manifest.reading.parse import ManifestError

    # With a state directory of its own a run keeps its cache there, unless told otherwise.
    cache = cache_dir or (state_dir / "cache" if state_dir else default_cache_dir(os.environ))
    settings = LaunchSettings(
        port=port,
        bind=bind,
        state_dir=(state_dir or default_state_dir(os.environ)).absolute(),
        cache_dir=cache.absolute(),
        log_level=log_level,
        command=beside,
    )
    try:
        code = up(files, settings, choose_display(Output(output)))
    except (ManifestError, LocalError) as error:
        fail_by(error, USAGE)
    sys.exit(code)
