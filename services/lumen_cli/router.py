"""`lumen router`: the router alone, by hand, on a routes file that somebody else keeps."""

from pathlib import Path

import click

from lumen_cli.output import fail


@click.command()
@click.option(
    "--routes",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The routes file; it is watched, and may come later.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=50051,
    show_default=True,
    help="The gRPC port; 0 takes any free one.",
)
@click.option(
    "--health-port", type=click.IntRange(0, 65535), default=0, help="The port of health alone."
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="The port of /metrics and /status.",
)
@click.option("--bind", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least severe line that is logged.",
)
def command(
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
