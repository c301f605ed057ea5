"""`lumen status`: what the services of a cluster are, and waiting until they are what was asked."""

import asyncio
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from lumen_cli.output import write_rows
from lumen_cli.speech import FAILED, USAGE, Format, fail, say
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


class Duration(click.ParamType[float]):
    """A time as kubectl takes it, such as 90s, 10m or 1h30m; as seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it; a number alone is seconds."""
        found = _DURATION.fullmatch(str(value))
        numbers = found.groups(default="0") if found else ()
        seconds = sum(int(number) * unit for number, unit in zip(numbers, _UNITS_S, strict=False))
        if not 0 < seconds <= LONGEST_S:
            self.fail(
                f"{value!r} is not a time up to a day: write it as 90s, 10m or 1h30m", param, ctx
            )
        return float(seconds)


class Namespace(click.ParamType[str]):
    """A namespace's name, as it stands in a path of the API server."""

    name = "namespace"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take it as it is, if it can be one."""
        if value and not re.fullmatch(NAMESPACE.regex, value):
            self.fail(f"{value!r} cannot be a namespace's name: {NAMESPACE.says}", param, ctx)
        return str(value)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which services are meant, and until when to wait; `timeout_s` is 0 for one look."""

    names: tuple[str, ...]
    namespace: str
    timeout_s: float


@click.command("status")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--namespace",
    "-n",
    type=Namespace(),
    default="",
    help="Default: that of the kubeconfig's context.",
)
@click.option("--wait", is_flag=True, help="Wait until they are Ready on their newest revision.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration(),
    default="10m",
    show_default=True,
    help="How long --wait waits.",
)
@click.option("--kubeconfig", envvar="KUBECONFIG", default="", help="Default: ~/.kube/config.")
@click.option("--context", default="", help="A context of the kubeconfig other than its current.")
@click.option(
    "--output",
    "-o",
    type=click.Choice([Format.TABLE.value, Format.JSON.value]),
    default=Format.TABLE.value,
    show_default=True,
    help="How results are printed on stdout.",
)
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
    asked = Asked(names, namespace, timeout_s if wait else 0.0)
    try:
        found, trouble = asyncio.run(_look(asked, kubeconfig, context))
    except NoServer as error:
        fail(f"{str(error)[:1].upper()}{str(error)[1:]}.")
    except Transient as error:
        fail(f"{error}. Check that the cluster of this kubeconfig runs and is reached from here.")
    except ApiError as error:
        fail(f"The cluster's API server does not say how the services are: {error}.")
    rows = [asdict(each) for each in found]
    write_rows(rows, COLUMNS, output)
    if wait:
        _end(found, trouble, timeout_s)


async def _look(asked: Asked, kubeconfig: str, context: str) -> tuple[Sequence[Standing], str]:
    """Return how the services are, once they are settled or the time is over.

    The text is what last kept the API server from answering, empty when it did.
    """
    try:
        from lumen_cluster.client import ClusterClient, find_destination
    except ModuleNotFoundError as error:
        fail(
            f"lumen status needs the Python package '{error.name}', which is not installed here. "
            "Install it: pip install 'lumen-serve[kubernetes]'.",
            USAGE,
        )
    there = await find_destination(kubeconfig, context, os.environ)
    services = Resource(SERVICES, asked.namespace or there.namespace or "default")
    async with ClusterClient(there.server, "lumen-status") as client:
        return await _followed(client, services, asked)


async def _followed(
    client: "ClusterClient", services: Resource, asked: Asked
) -> tuple[Sequence[Standing], str]:
    until = time.monotonic() + asked.timeout_s
    found, trouble = await _standings(client, services, asked), ""
    while not _is_over(found) and (left_s := until - time.monotonic()) > 0:
        await asyncio.sleep(min(LOOK_AGAIN_S, left_s))
        try:
            found, trouble = await _standings(client, services, asked), ""
        except Transient as error:
            trouble = str(error)  # it was there a moment ago: it may come back
    return found, trouble


async def _standings(
    client: "ClusterClient", services: Resource, asked: Asked
) -> Sequence[Standing]:
    """List the services that were asked for; end where one of them, or any, is not there."""
    every = [standing_of(raw) async for page in client.pages(services) for raw in page.items]
    missing = sorted({*asked.names} - {each.name for each in every})
    seen = ", ".join(each.name for each in every) or "none"
    if missing:
        fail(
            f"There is no LumenModelService {' and no '.join(missing)} in namespace "
            f"{services.namespace}, which has: {seen}. Name one of these, or another namespace "
            "with -n."
        )
    if not every and asked.timeout_s:
        fail(
            f"There is no LumenModelService in namespace {services.namespace} to wait for. Name "
            "another namespace with -n."
        )
    if not every:
        say(f"There is no LumenModelService in namespace {services.namespace}; -n names another.")
    return sorted(
        (each for each in every if not asked.names or each.name in asked.names),
        key=lambda each: each.name,
    )


def _is_over(found: Sequence[Standing]) -> bool:
    outlooks = {each.outlook for each in found}
    return Outlook.FAILED in outlooks or outlooks <= {Outlook.READY}


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
    if failed or going:
        raise SystemExit(FAILED)
