"""`lumen status`: what the services of a cluster are, and waiting until they are what was asked."""

import asyncio
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lumen_cli.output import write_rows
from lumen_cli.speech import FAILED, USAGE, Format, fail, output_choice, say
from lumen_cli.status.judgement import Outlook, Standing, standing_of
from lumen_cluster.errors import ApiError, NoServer, Transient
from lumen_cluster.kinds import ObjectKind, Resource
from lumen_manifest.names import GROUP, VERSION
from lumen_manifest.spec.field_types import NAMESPACE

if TYPE_CHECKING:
    from lumen_cluster.client import ClusterClient

SERVICES = ObjectKind(GROUP, VERSION, "LumenModelService", "lumenmodelservices")
COLUMNS = ("name", "ready", "reason", "message")
LOOK_AGAIN_S = 2.0
LONGEST_S = 24 * 3600
_DURATION = re.compile(r"(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s?)?", re.ASCII)
_UNITS_S = (3600, 60, 1)


def duration_s(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """Read a time as kubectl takes it: 90s, 10m, 1h30m; a number alone is seconds."""
    del context, parameter
    found = _DURATION.fullmatch(value)
    numbers = found.groups(default="0") if found else ()
    seconds = sum(int(number) * unit for number, unit in zip(numbers, _UNITS_S, strict=False))
    if not 0 < seconds <= LONGEST_S:
        raise click.BadParameter(f"{value!r} is not a time up to a day, as 90s, 10m or 1h30m are")
    return float(seconds)


def _namespace(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Take what can be a namespace's name: it becomes a part of a path."""
    del context, parameter
    if value and not re.fullmatch(NAMESPACE.regex, value):
        raise click.BadParameter(f"{value!r} cannot be a namespace's name: {NAMESPACE.says}")
    return value


@click.command("status")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-n", "--namespace", default="", callback=_namespace, help="Default: the context's.")
@click.option("--wait", is_flag=True, help="Wait until they are Ready on their newest revision.")
@click.option(
    "--timeout",
    "timeout_s",
    callback=duration_s,
    default="10m",
    show_default=True,
    help="How long --wait waits.",
)
@click.option("--kubeconfig", envvar="KUBECONFIG", default="", help="Default: ~/.kube/config.")
@click.option("--context", default="", help="A context of the kubeconfig other than its current.")
@output_choice(Format.TABLE.value, Format.JSON.value)
def command(
    names: tuple[str, ...],
    namespace: str,
    wait: bool,
    timeout_s: float,
    kubeconfig: str,
    context: str,
    output: str,
) -> None:
    """Show the LumenModelServices of a cluster: all, or those NAMED.

    With --wait, the exit code is 0 once every one answers as its manifest asks; it is 1 at once
    when a manifest was rejected, and when the time is over.

    \b
    Examples:
      lumen status
      lumen status -n photos --output json
      lumen status clip -n photos --wait --timeout 30m
    """
    place = (namespace, kubeconfig, context)
    try:
        found, trouble = asyncio.run(_look(names, place, timeout_s if wait else 0.0))
    except NoServer as error:
        fail(f"{str(error)[:1].upper()}{str(error)[1:]}.")
    except Transient as error:
        fail(f"{error}. Check that the cluster of this kubeconfig runs and is reached from here.")
    except ApiError as error:
        fail(f"The cluster's API server does not say how the services are: {error}.")
    write_rows([asdict(each) for each in found], COLUMNS, output)
    if wait:
        _end(found, trouble, timeout_s)


async def _look(
    names: tuple[str, ...], place: tuple[str, str, str], timeout_s: float
) -> tuple[Sequence[Standing], str]:
    """Return how the services are, once they are settled or the time is over.

    `place` is namespace, kubeconfig and context. The text is what last kept the API server from
    answering, empty when it did.
    """
    try:
        from lumen_cluster.client import ClusterClient, find_destination
    except ModuleNotFoundError as error:
        fail(
            f"lumen status needs the Python package '{error.name}', which is not installed here. "
            "Install it: pip install 'lumen-serve[kubernetes]'.",
            USAGE,
        )
    namespace, kubeconfig, context = place
    there = await find_destination(kubeconfig, context, os.environ)
    services = Resource(SERVICES, namespace or there.namespace or "default")
    until = time.monotonic() + timeout_s
    async with ClusterClient(there.server, "lumen-status") as client:
        found, trouble = await _standings(client, services, names), ""
        while not _is_over(found) and (left_s := until - time.monotonic()) > 0:
            await asyncio.sleep(min(LOOK_AGAIN_S, left_s))
            try:
                found, trouble = await _standings(client, services, names), ""
            except Transient as error:
                trouble = str(error)  # it was there a moment ago: it may come back
    if not found:
        say(f"There is no LumenModelService in namespace {services.namespace}; -n names another.")
    return found, trouble


async def _standings(
    client: "ClusterClient", services: Resource, names: tuple[str, ...]
) -> Sequence[Standing]:
    """List the services that were asked for, by name; end where one of them is not there."""
    every = [standing_of(raw) async for page in client.pages(services) for raw in page.items]
    every.sort(key=lambda each: each.name)
    missing = sorted({*names} - {each.name for each in every})
    if missing:
        seen = ", ".join(each.name for each in every) or "none"
        fail(
            f"There is no LumenModelService {' and no '.join(missing)} in namespace "
            f"{services.namespace}, which has: {seen}. Name one of these, or -n another namespace."
        )
    return [each for each in every if not names or each.name in names]


def _is_over(found: Sequence[Standing]) -> bool:
    outlooks = {each.outlook for each in found}
    return Outlook.FAILED in outlooks or Outlook.GOING_ON not in outlooks


def _end(found: Sequence[Standing], trouble: str, timeout_s: float) -> None:
    """Say on stderr why the wait was for nothing, and end so; return when all are ready."""
    failed = [each for each in found if each.outlook is Outlook.FAILED]
    going = [each for each in found if each.outlook is Outlook.GOING_ON]
    for each in failed:
        say(f"{each.name} will not become ready ({each.reason}): {each.message}")
    if not failed and going:
        say(f"Not settled in {timeout_s:g} s. Last known:")
        say(*(f"{each.name} is {each.ready or '0'} ready: {each.message}" for each in going))
    if trouble:
        say(f"The API server did not answer at last: {trouble}")
    if failed or going or not found:
        raise SystemExit(FAILED)
