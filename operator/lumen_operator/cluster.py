"""What is written to the cluster, and the listings that the audit compares: nothing is decided.

Children are applied by server-side apply with one field manager, forced, so that every field that
is rendered stays as rendered and the others stay other people's. Every write names the object that
it means: by its uid, or as one that is not there yet.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from lumen_cluster.objects import Resource
from lumen_manifest.names import FIELD_MANAGER, SERVICE_LABEL
from lumen_operator.connection import APPLY_PATCH, JSON, JSON_PATCH, ApiRequest
from lumen_operator.errors import Conflict, NotFound, TooLarge
from lumen_operator.kinds import OBSERVED_KINDS, WATCHED_KINDS, ObjectKind, Ref, kind_of
from lumen_operator.observe.store import Name, Version, name_of, version_of

Raw = Mapping[str, Any]

LIST_S = 60.0
CHUNK = 500
"""Fewer where somebody's metadata is large: annotations alone may be 256 KiB."""

NO_VERSION = "1"
"""No object has this version. An apply with it makes a new one, and clashes with any that is
there: the API server compares versions of what exists only."""

METADATA_ONLY = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
KIND_OF_PLURAL = {kind.plural: kind for kind in WATCHED_KINDS}


class Caller(Protocol):
    """How calls reach the API server: a Connection."""

    async def call(self, request: ApiRequest) -> bytes:
        """Call and return the answer's body, unread."""

    async def ask(self, request: ApiRequest) -> dict[str, Any]:
        """Call and return the answer's JSON object."""


class Cluster:
    """The API server, by what we ask of it; every method raises ApiError when it fails."""

    def __init__(self, caller: Caller, watch_namespace: str = "") -> None:
        self._caller = caller
        self._namespace = watch_namespace

    async def apply(self, manifest: Raw, uid: str) -> Raw:
        """Make the object with the uid as rendered, a new one where that is empty; return it.

        Raises:
            Conflict: the object is gone, or, for a new one, there is one of its name.
            Refused: the object of that name has another uid (422), or it will not be had.

        """
        condition = {"uid": uid} if uid else {"resourceVersion": NO_VERSION}
        metadata = {**manifest["metadata"], **condition}
        path = object_path(kind_of(manifest), metadata.get("namespace", ""), metadata["name"])
        return await self._caller.ask(_apply(path, {**manifest, "metadata": metadata}))

    async def read(self, kind: ObjectKind, namespace: str, name: str) -> Raw | None:
        """Return one object as it is stored now, whatever its labels; None when there is none."""
        try:
            return await self._caller.ask(ApiRequest("GET", object_path(kind, namespace, name)))
        except NotFound:
            return None

    async def create(self, kind: ObjectKind, manifest: Raw) -> None:
        """Make an object unless one of its name exists; that one is left alone."""
        namespace = manifest["metadata"].get("namespace", "")
        request = ApiRequest(
            "POST",
            collection_path(kind, namespace),
            query={"fieldManager": FIELD_MANAGER},
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
            query={"fieldManager": FIELD_MANAGER},
            body=steps,
            content_type=JSON_PATCH,
        )
        try:
            return await self._caller.ask(request)
        except NotFound:
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
        path = object_path(KIND_OF_PLURAL[ref.plural], ref.namespace, ref.name)
        try:
            await self._caller.call(ApiRequest("DELETE", path, body=body))
        except (NotFound, Conflict):
            return

    async def list_metadata(self, kind: ObjectKind) -> dict[Name, Version]:
        """Return every object of a kind that the watch should know, in chunks, newest state.

        A listing that takes so long that the server forgets its place begins anew, once.
        """
        try:
            return await self._list_metadata(kind)
        except NotFound as error:
            if error.status != 410:
                raise
            return await self._list_metadata(kind)

    async def _list_metadata(self, kind: ObjectKind) -> dict[Name, Version]:
        found: dict[Name, Version] = {}
        resource = watched(kind, self._namespace)
        query = {"limit": str(CHUNK)}
        if resource.selector:
            query["labelSelector"] = resource.selector
        while True:
            request = ApiRequest(
                "GET", resource.path, query, accept=METADATA_ONLY, deadline_s=LIST_S
            )
            try:
                page = await self._caller.ask(request)
            except TooLarge:
                if query["limit"] == "1":
                    raise
                query = {**query, "limit": str(max(1, int(query["limit"]) // 10))}
                continue
            for item in page.get("items") or ():
                found[name_of(item)] = version_of(item)
            position = (page.get("metadata") or {}).get("continue")
            if not position:
                return found
            query = {**query, "limit": str(CHUNK), "continue": position}


def watched(kind: ObjectKind, namespace: str) -> Resource:
    """Return what is watched of a kind, in one namespace or, if that is empty, in all.

    Children are watched by their label, the rest whole.
    """
    where = namespace if kind.namespaced else ""
    selector = SERVICE_LABEL if kind in OBSERVED_KINDS else ""
    return Resource(kind.group, kind.version, kind.plural, where, selector)


def collection_path(kind: ObjectKind, namespace: str) -> str:
    """Return the path of a kind's objects, of one namespace or of all."""
    return Resource(kind.group, kind.version, kind.plural, namespace).path


def object_path(kind: ObjectKind, namespace: str, name: str) -> str:
    """Return the path of one object."""
    return f"{collection_path(kind, namespace)}/{name}"


def _apply(path: str, body: Raw) -> ApiRequest:
    return ApiRequest(
        "PATCH",
        path,
        query={"fieldManager": FIELD_MANAGER, "force": "true"},
        body=body,
        content_type=APPLY_PATCH,
    )
