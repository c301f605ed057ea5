"""The operator as a process on a real control plane: what its cluster tests build and look at.

A lab is a namespace of its own with a pool of its own. Its operator watches this namespace only, as
the chart's ServiceAccount with the chart's rights, and reaches the API server through a proxy.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from api_proxy import ApiProxy, api_proxy
from chart.rendering import CHART, run
from cluster_objects import a_pool, a_service
from controlplane.cluster import Cluster, unique_name
from controlplane.nodes import TERMINATION_MESSAGE
from controlplane.programs import Program, wait_until
from go_tools import program
from ports import reserved_ports

from lumen_cluster.kinds import LEASES, ObjectKind, collection_path
from lumen_manifest.names import SERVICE_LABEL
from lumen_operator.observe.kinds import CHILD_KINDS, WATCHED_KINDS

ACCOUNT = "lumen-operator"
PROCESS = Path(__file__).with_name("operator_process.py")
READY_WITHIN_S = 90.0
CARD = "nvidia.com/gpu"
LABEL = "lumen.test/lab"
KINDS = {kind.plural: kind for kind in (*WATCHED_KINDS, LEASES)}

VERIFIED = {
    "reason": "Verified",
    "revision": "c0ffee",
    "digest": f"sha256:{'0' * 64}",
    "embeddingSpace": f"sha256:{'1' * 64}",
    "bytes": 1024,
    "files": 2,
}
"""What the init container of a pod that found its files says at its end."""

Raw = dict[str, Any]


def path_of(plural: str, namespace: str = "", name: str = "") -> str:
    """Return the API path of objects that the operator knows, or of core/v1."""
    kind = KINDS.get(plural) or ObjectKind("", "v1", "", plural)
    path = collection_path(kind, namespace if kind.namespaced else "")
    return f"{path}/{name}" if name else path


def grant(plane: Cluster, namespace: str, home: Path, *, everywhere: bool = False) -> None:
    """Give a namespace the chart's ServiceAccount and rights of the operator."""
    watched = "" if everywhere else namespace
    text = run(
        program("helm3"),
        "template",
        "lumen",
        CHART,
        f"--namespace={namespace}",
        f"--set=operator.watchNamespace={watched}",
        "--show-only=templates/operator-rbac.yaml",
        "--show-only=templates/operator-serviceaccount.yaml",
        HOME=str(home),
    )
    plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)


@dataclass
class Operator:
    """One operator process; `start` and `kill` may be repeated."""

    process: Program
    health_port: int
    metrics_port: int
    log: Path

    def start(self) -> None:
        """Start it; returns at once."""
        self.process.start()

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()

    def stop(self) -> None:
        """Ask it to end and wait."""
        self.process.stop()

    def health(self, path: str = "/healthz") -> tuple[int, str]:
        """Ask for health; status 0 while nobody answers."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.health_port}{path}", timeout=5.0)
        except httpx.HTTPError:
            return 0, ""
        return answer.status_code, answer.text

    def figures(self) -> dict[str, float]:
        """Return every figure of /metrics; nothing while nobody answers."""
        try:
            page = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5.0).text
        except httpx.HTTPError:
            return {}
        rows = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    def total(self, name: str) -> float:
        """Return the sum of one of its counters over all labels."""
        return total(self.figures(), name)

    def leads(self) -> bool:
        """Return whether it leads."""
        return self.figures().get("lumen_operator_leader") == 1

    def reconciles(self) -> float:
        """Return how many reconciles have succeeded."""
        return self.figures().get("lumen_operator_reconciles_total", 0.0)

    def wait_until_leading(self, within_s: float = READY_WITHIN_S) -> None:
        """Return once it leads; raises with its log when it ends before."""
        self.process.wait_until_ready(self.leads, within_s)


def total(figures: dict[str, float], name: str) -> float:
    """Return the sum of one of an operator's counters over all labels."""
    whole = f"lumen_operator_{name}_total"
    return sum(value for key, value in figures.items() if key.partition("{")[0] == whole)


def an_operator(
    folder: Path,
    ports: Sequence[int],
    options: Sequence[str | Path] = (),
    identity: str = "operator",
    python: Sequence[str | Path] = (),
    **environment: str,
) -> Operator:
    """Make one that is not started yet; `options` are of operator_process.py, `python` Python's."""
    health, metrics = ports
    settings = {
        "LUMEN_POD_NAME": identity,
        "LUMEN_BIND": "127.0.0.1",
        "LUMEN_HEALTH_PORT": str(health),
        "LUMEN_METRICS_PORT": str(metrics),
        **environment,
    }
    words = [f"{name}={value}" for name, value in settings.items()]
    log = folder / f"{identity}.log"
    command = [*map(str, (sys.executable, *python, PROCESS, *options, folder / "pods.sock"))]
    return Operator(Program(["/usr/bin/env", *words, *command], log), health, metrics, log)


@dataclass
class Lab:
    """A namespace with an operator that watches it, and what a user does there."""

    plane: Cluster
    namespace: str
    folder: Path
    proxy: ApiProxy
    stack: ExitStack
    pool: str
    environment: dict[str, str] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)

    def operator(
        self,
        identity: str = "operator",
        options: Sequence[str | Path] = (),
        **environment: str,
    ) -> Operator:
        """Make an operator that is not started yet; `options` are of operator_process.py."""
        settings = {
            "KUBECONFIG": str(self._kubeconfig()),
            "LUMEN_OPERATOR_NAMESPACE": self.namespace,
            "LUMEN_WATCH_NAMESPACE": self.namespace,
            "LUMEN_DEFAULT_POOLS": "[]",
            "LUMEN_LOG_FORMAT": "console",
            **self.environment,
            **environment,
        }
        ports = self.stack.enter_context(reserved_ports(2))
        found = an_operator(self.folder, ports, options, identity, **settings)
        self.stack.callback(found.stop)
        self.operators.append(found)
        return found

    def running(self, identity: str = "operator", *options: str | Path, **env: str) -> Operator:
        """Make an operator and wait until it leads."""
        found = self.operator(identity, options, **env)
        found.start()
        found.wait_until_leading()
        return found

    def standing_by(
        self, identity: str, options: Sequence[str | Path] = (), **env: str
    ) -> Operator:
        """Make an operator beside one that leads, and wait until it stands by."""
        found = self.operator(identity, options, **env)
        found.start()
        self.wait_until(lambda: found.health("/readyz")[0] == 200, f"the {identity} one stands by")
        return found

    def cards(self, name: str, nodes: int = 1) -> str:
        """Make a pool of cards, with nodes of its own that have one card each; return its name."""
        pool = f"{self.namespace}-{name}"
        device = {"resource": CARD, "count": 1}
        tolerations = [{"key": LABEL, "operator": "Exists"}]
        self.make_pool(
            pool,
            accelerator="cuda",
            nodeSelector={LABEL: pool},
            tolerations=tolerations,
            device=device,
        )
        taint = {"key": LABEL, "value": pool, "effect": "NoSchedule"}
        for _ in range(nodes):
            node = unique_name("card")
            self.plane.add_node(node, {LABEL: pool}, {CARD: 1}, (taint,))
            self.stack.callback(self.plane.remove_node, node)
        return pool

    def make_pool(self, name: str, **spec: Any) -> None:
        """Make a pool that goes with the lab."""
        self.plane.create(path_of("lumennodepools"), a_pool(name, **spec))
        self.stack.callback(self.plane.delete, path_of("lumennodepools", name=name))

    def path(self, plural: str, name: str = "") -> str:
        """Return the API path of objects in the namespace."""
        return path_of(plural, self.namespace, name)

    def serve(self, name: str = "clip", **spec: Any) -> None:
        """Apply a LumenModelService as a user would."""
        self.apply(self.a_service(name, **spec))

    def a_service(self, name: str = "clip", **spec: Any) -> Raw:
        """Describe a service whose files are found; keywords replace fields of its spec."""
        found = {TERMINATION_MESSAGE: json.dumps(VERIFIED)}
        said = {"replicas": 1, "podTemplate": {"annotations": found}}
        whole = {"pool": self.pool, **said, **spec}
        return a_service(name, namespace=self.namespace, **whole)

    def apply(self, *documents: Raw) -> None:
        """Run kubectl apply."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        self.plane.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=text)

    def service(self, name: str = "clip") -> Raw:
        """Return a LumenModelService as stored."""
        return self.plane.get(self.path("lumenmodelservices", name)) or {}

    def condition(self, type_: str, name: str = "clip") -> tuple[str, str]:
        """Return a condition's status and reason, empty before there is one."""
        found = self._condition(type_, name)
        return found.get("status", ""), found.get("reason", "")

    def message(self, type_: str, name: str = "clip") -> str:
        """Return a condition's message, empty before there is one."""
        return self._condition(type_, name).get("message", "")

    def _condition(self, type_: str, name: str) -> Raw:
        conditions = self.service(name).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == type_), {})

    def is_ready(self, name: str = "clip", generation: int = 0) -> bool:
        """Return whether the status says Ready of the newest generation."""
        found = self.service(name)
        seen = found.get("status", {}).get("observedGeneration", 0)
        wanted = max(generation, found.get("metadata", {}).get("generation", 1))
        return seen == wanted and self.condition("Ready", name) == ("True", "Ready")

    def wait_ready(self, *names: str) -> None:
        """Return once services are Ready."""
        for name in names or ("clip",):
            self.wait_until(lambda name=name: self.is_ready(name), f"{name} is Ready")

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Return once something holds, while an operator runs."""

        def holds_while_running() -> bool:
            found = holds()
            assert found or any(each.process.running for each in self.operators), "none runs"
            return found

        wait_until(holds_while_running, READY_WITHIN_S, what)

    def wait_looked_at(self, operator: Operator) -> None:
        """Return once the operator has looked at every service and pool, whatever it did."""
        keys = sum(
            len(self.plane.get(path)["items"])
            for path in (self.path("lumenmodelservices"), path_of("lumennodepools"))
        )
        wanted = operator.reconciles() + 2 * keys
        self.wait_until(lambda: operator.reconciles() >= wanted, "the operator looks again")

    def wait_quiet(self, operator: Operator) -> None:
        """Return once the operator has looked at everything and had nothing to write."""

        def quiet() -> bool:
            before = len(self.proxy.writes)
            self.wait_looked_at(operator)
            return self.written_since(before) == []

        self.wait_until(quiet, "nothing is left to write")

    def written_since(self, count: int) -> list[str]:
        """Return what was written after so many writes, but for pools of other tests."""
        calls = self.proxy.writes[count:]
        return [call.object for call in calls if self.namespace in call.path]

    def children(self, name: str = "clip") -> dict[str, Raw]:
        """Return the children that the operator writes for a service, by kind and name."""
        found: dict[str, Raw] = {}
        selector = {"labelSelector": f"{SERVICE_LABEL}={name}"}
        for kind in CHILD_KINDS:
            listed = self.plane.http.get(self.path(kind.plural), params=selector).json()
            for item in listed["items"]:
                found[f"{kind.plural}/{item['metadata']['name']}"] = item
        return found

    def _kubeconfig(self) -> Path:
        """Write the ServiceAccount's kubeconfig with the proxy in the API server's place."""
        document = json.loads(self.plane.kubeconfig_for(self.namespace, ACCOUNT).read_text())
        document["clusters"][0]["cluster"] = {"server": self.proxy.url}
        path = self.folder / f"operator-{os.urandom(4).hex()}.kubeconfig"
        path.write_text(json.dumps(document))
        return path


@contextmanager
def operator_lab(plane: Cluster, folder: Path) -> Iterator[Lab]:
    """Prepare a namespace for an operator: rights, a pool of its own, and the proxy."""
    namespace = unique_name("lab")
    with ExitStack() as stack:
        proxy = stack.enter_context(api_proxy(plane.url, plane.ca))
        plane.create_namespace(namespace)
        stack.callback(plane.delete, f"/api/v1/namespaces/{namespace}")
        lab = Lab(plane, namespace, folder, proxy, stack, namespace)
        lab.make_pool(namespace)
        grant(plane, namespace, folder)
        name = f"lumen-operator.{namespace}"
        stack.callback(plane.kubectl, "delete", "clusterrole,clusterrolebinding", name)
        yield lab
