"""What starts Lumen on this machine: `lumen up`, `lumen serve` and `lumen router`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lumen_cli.speech import USAGE, fail, fail_by, output_choice

PORT = click.IntRange(0, 65535)
FOLDER = click.Path(file_okay=False, path_type=Path)
LEVELS = ("debug", "info", "warning", "error")

events_option = output_choice("text", "json", said="json: one event per line on stdout.")


def bind_option(default: str, said: str) -> Callable[..., Any]:
    """Return `--bind`; `said` is its help."""
    return click.option("--bind", default=default, show_default=True, metavar="ADDRESS", help=said)


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
    type=PORT,
    default=50051,
    show_default=True,
    help="Where the router listens; 0 takes a free port.",
)
@bind_option("127.0.0.1", "The router's address; 0.0.0.0 lets other machines in.")
@click.option(
    "--state-dir",
    type=FOLDER,
    help="Settings, routes and locks of the run.  [default: ~/.local/state/lumen]",
)
@click.option(
    "--cache-dir",
    type=FOLDER,
    help="Verified model files, kept between runs.  [default: ~/.cache/lumen]",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    help="What the processes log.  [default: the manifest's, warnings for info]",
)
@click.option(
    "--mdns",
    is_flag=True,
    help="Announce the router on the local network once everything is ready; CLIP_MDNS_NAME, "
    "CLIP_MDNS_TYPE and ADVERTISE_IP say how.",
)
@events_option
@click.argument("beside", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ...]")
def up(
    files: tuple[str, ...],
    port: int,
    bind: str,
    state_dir: Path | None,
    cache_dir: Path | None,
    log_level: str | None,
    mdns: bool,
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
    from lumen_local.show.choice import Output, choose_display
    from lumen_local.start import up
    from lumen_local.state_dir import default_cache_dir, default_state_dir
    from lumen_manifest.legacy.single_server import mdns_from_environment
    from lumen_manifest.reading.parse import ManifestError
    from lumen_manifest.server_config import MdnsSpec
    from lumen_process import logs

    # With a state directory of its own a run keeps its cache there, unless told otherwise.
    cache = cache_dir or (state_dir / "cache" if state_dir else default_cache_dir(os.environ))
    settings = LaunchSettings(
        port=port,
        bind=bind,
        state_dir=(state_dir or default_state_dir(os.environ)).absolute(),
        cache_dir=cache.absolute(),
        log_level=log_level,
        command=beside,
        mdns=(mdns_from_environment(os.environ) or MdnsSpec()) if mdns else None,
    )
    if mdns:
        logs.configure("console", "warning")  # of what announces; it goes to stderr
    try:
        code = up(files, settings, choose_display(Output(output)))
    except (ManifestError, LocalError) as error:
        fail_by(error, USAGE)
    sys.exit(code)


@click.command(short_help="Run one model server from an older configuration.")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A single-server YAML file. Without it the older variables count (CLIP_BACKEND, ...).",
)
@click.option("--port", type=PORT, help="Where it listens.  [default: the file's]")
@bind_option("0.0.0.0", "Its address; 127.0.0.1 keeps other machines out.")
@click.option(
    "--state-dir",
    type=FOLDER,
    help="Settings and locks.  [default: ~/.local/state/lumen/serve-PORT]",
)
@click.option(
    "--cache-dir",
    type=FOLDER,
    help="Verified model files.  [default: the file's, else ~/.lumen/models if it is there, else "
    "~/.cache/lumen]",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="What the server logs.  [default: warning]",
)
@events_option
def serve(
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
    from lumen_local.show.choice import Output, choose_display
    from lumen_local.start import serve
    from lumen_local.state_dir import default_state_dir, older_cache_dir
    from lumen_manifest.legacy.single_server import read_older
    from lumen_manifest.reading.parse import ManifestError
    from lumen_manifest.server_config import ConfigError
    from lumen_process import logs

    logs.configure("console", "warning")  # of what announces a router; it goes to stderr
    try:
        server = read_older(config, os.environ)
        chosen = server.port if port is None else port
        state = state_dir or default_state_dir(os.environ) / f"serve-{chosen}"
        cache = cache_dir or server.cache_dir or older_cache_dir(os.environ)
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


@click.command()
@click.option(
    "--routes",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The routes file; it is watched, and may come later.",
)
@click.option(
    "--port",
    type=PORT,
    default=50051,
    show_default=True,
    help="The gRPC port; 0 takes any free one.",
)
@click.option("--health-port", type=PORT, default=0, help="The port of health alone.")
@click.option("--metrics-port", type=PORT, default=0, help="The port of /metrics and /status.")
@click.option("--bind", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="The least severe line that is logged.",
)
def router(
    routes: Path, port: int, health_port: int, metrics_port: int, bind: str, log_level: str
) -> None:
    """Route calls to the model servers that a routes file names.

    `lumen up` starts a router of its own; this one is for servers started otherwise.

    \b
    Example:
      lumen router --routes routes.json --port 50051
    """
    from lumen_process import logs
    from lumen_router.main import run
    from lumen_router.settings import RouterSettings
    from lumen_wire.server.grpc_server import PortUnavailable

    logs.configure("console", log_level)
    settings = RouterSettings.from_environment(
        {
            "LUMEN_ROUTES_FILE": str(routes),
            "LUMEN_BIND": bind,
            "LUMEN_GRPC_PORT": str(port),
            "LUMEN_HEALTH_PORT": str(health_port),
            "LUMEN_METRICS_PORT": str(metrics_port),
            "LUMEN_DRAIN_DELAY_S": "0",
        }
    )
    try:
        run(settings)
    except (PortUnavailable, OSError) as error:
        fail(str(error))
