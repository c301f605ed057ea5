"""What is written to the cluster: nothing is decided.

Children are applied by server-side apply with one field manager, forced, so that every field that
is rendered stays as rendered and the others stay other people's. Every write names the object that
it means: by its uid, or as one that is not there yet.
"""

from collections.abc import Iterable
from typing import Any

from lumen_cluster.client import APPLY_PATCH, JSON_PATCH, ApiRequest, Caller
from lumen_cluster.errors import Conflict, ObjectNotFound
from lumen_cluster.kinds import (
    ObjectKind,
    Raw,
    Ref,
    by_plural,
    collection_path,
    kind_of,
    object_path,
)

NO_VERSION = "1"
"""No object has this version. An apply with it makes a new one, and clashes with any that is
there: the API server compares versions of what exists only."""


class ClusterWriter:
    """Writes objects of some kinds as one field manager; every method raises ApiError."""

    def __init__(self, caller: Caller, field_manager: str, kinds: Iterable[ObjectKind]) -> None:
        self._caller = caller
        self._manager = field_manager
        self._kinds = tuple(kinds)

    async def apply(self, manifest: Raw, uid: str) -> Raw:
        """Make the object with the uid as rendered, a new one where that is empty; return it.

        Raises:
            Conflict: the object is gone, or, for a new one, there is one of its name.
            Refused: the object of that name has another uid (422), or it will not be had.

        """
        condition = {"uid": uid} if uid else {"resourceVersion": NO_VERSION}
        metadata = {**manifest["metadata"], **condition}
        path = object_path(
            kind_of(manifest, self._kinds), metadata.get("namespace", ""), metadata["name"]
        )
        request = ApiRequest(
            "PATCH",
            path,
            query={"fieldManager": self._manager, "force": "true"},
            body={**manifest, "metadata": metadata},
            content_type=APPLY_PATCH,
        )
        return await self._caller.ask(request)

    async def read(self, kind: ObjectKind, namespace: str, name: str) -> Raw | None:
        """Return one object as it is stored now, whatever its labels; None when there is none."""
        try:
            return await self._caller.ask(ApiRequest("GET", object_path(kind, namespace, name)))
        except ObjectNotFound:
            return None

    async def create(self, kind: ObjectKind, manifest: Raw) -> None:
        """Make an object unless one of its name exists; that one is left alone."""
        namespace = manifest["metadata"].get("namespace", "")
        request = ApiRequest(
            "POST",
            collection_path(kind, namespace),
            query={"fieldManager": self._manager},
            body=manifest,
        )
        try:
            await self._caller.call(request)
        except Conflict:
            return

    async def write_status(self, kind: ObjectKind, raw: Raw, status: Raw) -> Raw | None:
        """Replace the whole status of an object and return it as stored; None when it is gone.

        It is not applied: a field that somebody else once wrote would stay, and would have to be
        written about for ever. The API server ignores a uid that is sent with a status, so that a
        successor of the name is told from the object meant by a test; Refused says that it is one.
        """
        metadata = raw["metadata"]
        path = object_path(kind, metadata.get("namespace", ""), metadata["name"])
        steps = [
            {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
            {"op": "add", "path": "/status", "value": status},
        ]
        request = ApiRequest(
            "PATCH",
            f"{path}/status",
            query={"fieldManager": self._manager},
            body=steps,
            content_type=JSON_PATCH,
        )
        try:
            return await self._caller.ask(request)
        except ObjectNotFound:
            return None

    async def delete(self, ref: Ref) -> None:
        """Delete one object; one that is gone, or that is not the one meant, is left alone."""
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if ref.uid:
            body["preconditions"] = {"uid": ref.uid}
        path = object_path(by_plural(ref.plural, self._kinds), ref.namespace, ref.name)
        try:
            await self._caller.call(ApiRequest("DELETE", path, body=body))
        except (ObjectNotFound, Conflict):
            return
