"""The options that every command which talks to a server shares, and what its failures print."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from lumen_cli.speech import USAGE, fail
from lumen_client.connection import parse_address
from lumen_client.errors import ClientError, NotReachable
from lumen_manifest.reading.regular_files import read_named

DEFAULT_SERVER = "127.0.0.1:50051"
TOKEN_BYTES_MAX = 64 * 1024


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--server`, `--token-file` and `--timeout` to a command."""
    for option in (
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(0.1, 3600),
            default=30.0,
            show_default=True,
            help="Seconds that one call may take, retries included.",
        ),
        click.option(
            "--token-file",
            type=click.Path(exists=True, dir_okay=False),
            envvar="LUMEN_TOKEN_FILE",
            help="A file with the bearer token.",
        ),
        click.option(
            "--server",
            default=DEFAULT_SERVER,
            show_default=True,
            envvar="LUMEN_SERVER",
            callback=_checked,
            help="A router or a model server: host:port, or grpcs://host:port for TLS.",
        ),
    ):
        command = option(command)
    return command


def read_token(token_file: str | None) -> str | None:
    """Return the token in the file, or None when none was named."""
    if token_file is None:
        return None
    try:
        token = read_named(Path(token_file), TOKEN_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not text"
        fail(f"{token_file} cannot be read: {said}. --token-file names a file with one token.")
    if not token or not (token.isascii() and token.isprintable()):
        fail(f"{token_file} does not hold a token. --token-file names a file with one, as issued.")
    return token


@contextmanager
def failures_explained() -> Iterator[None]:
    """Turn what a call raises into one sentence and exit code 1."""
    try:
        yield
    except NotReachable as error:
        fail(error.message)  # the code would say the same in capitals
    except ClientError as error:
        fail(str(error))


def _checked(context: click.Context, parameter: click.Parameter, value: str) -> str:
    del context, parameter
    server = value if "://" in value else f"grpc://{value}"
    try:
        parse_address(server)
    except ValueError as error:
        fail(f"--server: {error}", USAGE)
    return server
