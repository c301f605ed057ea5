"""A reconciler over an API server in small: what is asked of it, and what it keeps."""

from lumen_cluster.client import APPLY_PATCH
from lumen_cluster.errors import Conflict, ObjectNotFound, Refused
from lumen_cluster.kinds import object_path
from lumen_cluster.store import name_of
from lumen_cluster.writer import ClusterWriter
from lumen_manifest.names import FIELD_MANAGER
from lumen_operator.metrics import OperatorMetrics
from lumen_operator.observe.kinds import POOLS, SERVICES, WRITTEN_KINDS, Key
from lumen_operator.observe.store import ObjectCache
from lumen_operator.polling.pod_events import PodEvents
from lumen_operator.polling.status_poller import PodReports, by_their_addresses
from lumen_operator.reconcile import Reconciler
from lumen_operator.settings import OperatorSettings

CLIP = Key("service", "team", "clip")
SPEC = {"family": "clip", "model": {"name": "MobileCLIP2-S2", "runtime": "onnx"}, "pool": "cpu"}


def status_written(request):
    """Return what a patch of a status says of its object."""
    test, add = request.body
    *_, plural, name, _ = request.path.split("/")
    namespace = {"namespace": "team"} if plural == "lumenmodelservices" else {}
    return {"metadata": {"name": name, "uid": test["value"], **namespace}, "status": add["value"]}


class ApiServer:
    """Stores what is applied, counts versions, and refuses what the test says."""

    def __init__(self):
        self.made = []
        self.version = 100
        self.refuse = {}
        self.refuse_writes = {}
        self.stored = {}

    async def ask(self, request):
        self.made.append(request)
        refused = self.refuse if request.method == "GET" else self.refuse | self.refuse_writes
        for part, error in refused.items():
            if part in request.path:
                raise error
        path = request.path.removesuffix("/status")
        before = self.stored.get(path, {})
        if request.method == "GET":
            if not before:
                raise ObjectNotFound(f"GET {path}: 404", status=404)
            return before
        if request.content_type == APPLY_PATCH:
            _check(before, request.body["metadata"])
        self.version += 1
        body = status_written(request) if request.path.endswith("/status") else request.body
        metadata = before.get("metadata", {}) | body["metadata"]
        metadata.setdefault("uid", f"u-{metadata.get('name')}")
        metadata["resourceVersion"] = str(self.version)
        self.stored[path] = before | body | {"metadata": metadata}
        return self.stored[path]

    async def call(self, request):
        await self.ask(request)
        return b"{}"

    def paths(self):
        return [request.path.rsplit("/", 2)[1:] for request in self.made]


def _check(before, wanted):
    """Hold an apply to its conditions as the API server does; a new object has no version."""
    there = before.get("metadata")
    if there is None and "uid" in wanted:
        raise Conflict("409 uid mismatch, and no existing object was found", status=409)
    if (
        there is not None
        and wanted.get("resourceVersion", there["resourceVersion"]) != (there["resourceVersion"])
    ):
        raise Conflict("409 the object has been modified", status=409)
    if there is not None and wanted.get("uid", there["uid"]) != there["uid"]:
        raise Refused("422 metadata.uid: field is immutable", status=422)


class World:
    def __init__(self, **environment):
        self.server = ApiServer()
        self.cache = ObjectCache()
        self.metrics = OperatorMetrics()
        self.reconciler = Reconciler(
            OperatorSettings.from_environment({"LUMEN_POD_NAME": "operator", **environment}),
            self.cache,
            ClusterWriter(self.server, FIELD_MANAGER, WRITTEN_KINDS),
            PodReports(lambda key: None, by_their_addresses),
            PodEvents(self.server),
            self.metrics,
        )

    async def reconcile(self, key=CLIP):
        return await self.reconciler.service_or_pool(key)

    def has_service(self, **spec):
        # Parsing is remembered by uid and generation, over all worlds.
        generation = 2 if spec else 1
        metadata = {"name": "clip", "namespace": "team", "uid": "u1", "generation": generation}
        raw = {"metadata": {**metadata, "resourceVersion": "5"}, "spec": {**SPEC, **spec}}
        self.knows(SERVICES, raw | kind_fields("LumenModelService"))

    def has_pool(self):
        metadata = {"name": "cpu", "uid": "u2", "generation": 1, "resourceVersion": "6"}
        raw = {"metadata": metadata, "spec": {"accelerator": "cpu"}}
        self.knows(POOLS, raw | kind_fields("LumenNodePool"))

    def knows(self, kind, raw):
        """Have an object in the cluster and in the cache."""
        self.server.stored[object_path(kind, *name_of(raw))] = raw
        self.cache.put(kind, raw)

    def kinds_written(self):
        """Return the kinds in order; that of a status as "status"."""
        return [
            "status" if r.path.endswith("/status") else (r.body or {}).get("kind")
            for r in self.server.made
            if r.method != "GET"
        ]

    def notes(self):
        """Return the events that were posted."""
        return [r.body for r in self.server.made if r.path.endswith("/events")]

    def figure(self, name):
        _, page = self.metrics.page()
        lines = [line for line in page.decode().splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def kind_fields(kind):
    return {"apiVersion": "lumen.dev/v1alpha1", "kind": kind}
