"""`lumen serve`: one model server without manifests, as older configurations describe it."""

import os
import sys
from pathlib import Path

import click

from lumen_cli.output import USAGE, fail_by


@click.command(short_help="Run one model server from an older configuration.")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A single-server YAML file. Without it the older variables count (CLIP_BACKEND, ...).",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Where it listens.  [default: the file's]"
)
@click.option(
    "--bind",
    default="0.0.0.0",
    show_default=True,
    metavar="ADDRESS",
    help="Its address; 127.0.0.1 keeps other machines out.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Settings and locks.  [default: ~/.local/state/lumen/serve-PORT]",
)
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Verified model files.  [default: the file's, else ~/.cache/lumen]",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    help="What the server logs.  [default: warning]",
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one event per line on stdout.",
)
def command(
    config: Path | None,
    port: int | None,
    bind: str,
    state_dir: Path | None,
    cache_dir: Path | None,
    log_level: str | None,
    output: str,
) -> None:
    """Run one model server from a single-server YAML file or the older variables.

    It listens on the port itself. The unified form (two models, one port) gets a router.

    \b
    Examples:
      lumen serve --config clip_only.yaml
      lumen serve --config clip_only.yaml --port 50060 --log-level info
      CLIP_BACKEND=onnx lumen serve

    Exit codes: 0 stopped by a signal and drained, 1 nothing can serve, 2 refused before the start.
    """
    from lumen_local.errors import LocalError
    from lumen_local.run import LaunchSettings
    from lumen_local.serve import read_configuration, serve
    from lumen_local.show.display import Output, choose_display
    from lumen_local.state_dir import default_cache_dir, default_state_dir
    from lumen_manifest.reading.parse import ManifestError
    from lumen_manifest.server_config import ConfigError

    try:
        server = read_configuration(config, os.environ)
        chosen = server.port if port is None else port
        state = state_dir or default_state_dir(os.environ) / f"serve-{chosen}"
        cache = cache_dir or server.cache_dir or default_cache_dir(os.environ)
        settings = LaunchSettings(
            port=chosen,
            bind=bind,
            state_dir=state.absolute(),
            cache_dir=cache.absolute(),
            log_level=log_level,
        )
        source = config.absolute().parent if config else Path.cwd()
        code = serve(server, source, settings, choose_display(Output(output)))
    except (ManifestError, ConfigError, LocalError) as error:
        fail_by(error, USAGE)
    sys.exit(code)
