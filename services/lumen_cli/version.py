"""`lumen version`: what is installed here."""

import importlib.metadata
import platform

import click

from lumen_cli.output import output_option, write_rows
from lumen_cli.speech import Format, write_json

# What decides how a model computes and how the wire behaves; the rest is in `pip list`.
PACKAGES = ("grpcio", "protobuf", "onnxruntime", "numpy", "pillow", "simplejpeg", "tokenizers")


@click.command("version")
@output_option
def command(output: str) -> None:
    """Print the versions of Lumen and of what it computes with.

    \b
    Example:
      lumen version --output json
    """
    versions = {"lumen": _version("lumen-serve") or "", "python": platform.python_version()}
    versions |= {name: version for name in PACKAGES if (version := _version(name))}
    if output == Format.JSON:
        write_json(versions)
        return
    rows = [{"name": name, "version": version} for name, version in versions.items()]
    write_rows(rows, ("name", "version"), output)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
