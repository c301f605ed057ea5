"""One operator leads: a coordination.k8s.io Lease, held before anything is watched or written.

Who holds it renews every 2 s and is lost when 6 s pass without success; another takes over when
10 s pass without a change that it saw. Time is measured on this machine's monotonic clock only, so
clocks of two nodes need not agree. Every call is bounded, or a frozen API server would let two
lead at once.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import structlog

from lumen_cluster.client import ApiRequest, Caller
from lumen_cluster.errors import ApiError, Conflict, LeaseLost, ObjectNotFound
from lumen_cluster.kinds import LEASES, collection_path, object_path

DURATION_S = 10.0
RENEW_WITHIN_S = 6.0
EVERY_S = 2.0
CALL_S = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseName:
    """Which Lease, and under which name this process holds it."""

    namespace: str
    name: str
    identity: str


class Election:
    """One process's part in the election."""

    def __init__(
        self, caller: Caller, lease: LeaseName, clock: Callable[[], float] = monotonic
    ) -> None:
        self._caller = caller
        self._lease = lease
        self._path = object_path(LEASES, lease.namespace, lease.name)
        self._clock = clock
        self._seen = ("", "")
        """Another holder's last sign of life, and when it was first seen here."""
        self._seen_since = 0.0
        self._held_since: float | None = None
        self._asked = False

    @property
    def asked(self) -> bool:
        """Whether the API server has answered at least once: this process can stand by."""
        return self._asked

    def leads(self) -> bool:
        """Whether this process may write now: nobody else can hold the Lease yet."""
        return self._held_since is not None and self._clock() - self._held_since < DURATION_S

    async def acquire(self) -> None:
        """Wait until this process holds the Lease; the API server may be away meanwhile."""
        while True:
            try:
                if await self._try():
                    log.info("leading", lease=self._lease.name, identity=self._lease.identity)
                    return
            except Conflict:
                log.debug("another operator was quicker")
            except ApiError as error:
                log.warning("the Lease cannot be asked for", why=str(error))
            await asyncio.sleep(EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311 - spreads calls

    async def hold(self) -> None:
        """Renew until cancelled.

        Raises:
            LeaseLost: another holds the Lease, or it could not be renewed in time.

        """
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                renewed = await self._try()
            except ApiError as error:
                log.warning("the Lease cannot be renewed", why=str(error))
                renewed = True
            if not renewed:
                raise LeaseLost("another operator holds the Lease")
            if self._held_since is None or self._clock() - self._held_since > RENEW_WITHIN_S:
                raise LeaseLost(f"the Lease could not be renewed for {RENEW_WITHIN_S:g} s")

    async def release(self) -> None:
        """Let the Lease go at once, so that the next one need not wait; best effort."""
        if self._held_since is None:
            return
        self._held_since = None
        try:
            lease = await self._get()
            if lease["spec"].get("holderIdentity") == self._lease.identity:
                await self._put({**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
        except ApiError as error:
            log.warning("the Lease could not be released", why=str(error))

    async def _try(self) -> bool:
        """Take or renew the Lease; return whether this process holds it."""
        before = self._clock()
        try:
            lease = await self._get()
        except ObjectNotFound:
            await self._create()
        else:
            self._asked = True
            spec = lease.get("spec") or {}
            if not self._may_take(spec):
                return False
            await self._put({**lease, "spec": self._spec(spec)})
        self._held_since = before
        return True

    def _may_take(self, spec: Mapping[str, Any]) -> bool:
        holder = spec.get("holderIdentity") or ""
        if holder in {"", self._lease.identity}:
            return True
        sign = (holder, spec.get("renewTime") or "")
        if self._held_since is not None:
            return False
        if sign != self._seen:
            self._seen, self._seen_since = sign, self._clock()
        return self._clock() - self._seen_since > DURATION_S

    async def _get(self) -> dict[str, Any]:
        return await self._caller.ask(ApiRequest("GET", self._path, deadline_s=CALL_S))

    async def _create(self) -> None:
        lease = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._lease.name, "namespace": self._lease.namespace},
            "spec": self._spec({}),
        }
        path = collection_path(LEASES, self._lease.namespace)
        await self._caller.call(ApiRequest("POST", path, body=lease, deadline_s=CALL_S))

    async def _put(self, lease: Mapping[str, Any]) -> None:
        """Replace the Lease as read; its resourceVersion guards against a write in between."""
        await self._caller.call(ApiRequest("PUT", self._path, body=lease, deadline_s=CALL_S))

    def _spec(self, before: Mapping[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        mine = before.get("holderIdentity") == self._lease.identity
        return {
            "holderIdentity": self._lease.identity,
            "leaseDurationSeconds": int(DURATION_S),
            "acquireTime": before.get("acquireTime", now) if mine else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (not mine),
        }


class Fenced:
    """Calls that write only while this process leads, whatever else hung in between."""

    def __init__(self, caller: Caller, leads: Callable[[], bool]) -> None:
        self._caller = caller
        self._leads = leads

    async def call(self, request: ApiRequest) -> bytes:
        """Call; raises LeaseLost for a write that another operator may be making too."""
        self._check(request)
        return await self._caller.call(request)

    async def ask(self, request: ApiRequest) -> dict[str, Any]:
        """Call and return the answer's JSON object; raises LeaseLost as `call` does."""
        self._check(request)
        return await self._caller.ask(request)

    def _check(self, request: ApiRequest) -> None:
        if request.method != "GET" and not self._leads():
            raise LeaseLost(f"{request}: this process does not lead any more")
