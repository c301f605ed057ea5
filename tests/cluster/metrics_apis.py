"""The metrics APIs that autoscalers read, served by the test itself through API aggregation.

`metrics.k8s.io` (what metrics-server serves) and `custom.metrics.k8s.io` (what prometheus-adapter
serves) answer with the figures that the test sets, the same for every pod. The API server reaches
them as an ExternalName Service on loopback, and checks their certificate.
"""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import trustme
from controlplane.cluster import Cluster
from controlplane.programs import wait_until

CUSTOM = "custom.metrics.k8s.io/v1beta2"
RESOURCE = "metrics.k8s.io/v1beta1"
SERVICE = "metrics"
AVAILABLE_WITHIN_S = 90.0
CONTAINER = "server"

Raw = dict[str, Any]


@dataclass
class Figures:
    """What every pod shows: custom metrics by name, and the server's CPU time; as quantities."""

    cluster: Cluster
    custom: dict[str, str] = field(default_factory=dict)
    cpu: str = "0"

    def answer(self, path: str) -> Raw | None:
        """Answer a GET; None where there is nothing."""
        parts = urlsplit(path)
        words = [unquote(each) for each in parts.path.strip("/").split("/")]
        selector = parse_qs(parts.query).get("labelSelector", [""])[0]
        match words:
            case ["apis", group, version] if f"{group}/{version}" in {CUSTOM, RESOURCE}:
                return self._resources(f"{group}/{version}")
            case ["apis", "custom.metrics.k8s.io", _, "namespaces", namespace, "pods", "*", name]:
                return self._custom(namespace, selector, name)
            case ["apis", "metrics.k8s.io", _, "namespaces", namespace, "pods"]:
                return self._resource(namespace, selector)
        return None

    def _resources(self, version: str) -> Raw:
        if version == RESOURCE:
            found = [("pods", "PodMetrics", ["get", "list"])]
        else:
            found = [(f"pods/{name}", "MetricValueList", ["get"]) for name in self.custom]
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version,
            "resources": [
                {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
                for name, kind, verbs in found
            ],
        }

    def _custom(self, namespace: str, selector: str, name: str) -> Raw | None:
        if name not in self.custom:
            return None
        items = [
            {
                "describedObject": {
                    "kind": "Pod",
                    "apiVersion": "/v1",
                    "namespace": namespace,
                    "name": pod["metadata"]["name"],
                },
                "metric": {"name": name},
                "timestamp": _now(),
                "value": self.custom[name],
            }
            for pod in self.cluster.pods(namespace, selector)
        ]
        return {"kind": "MetricValueList", "apiVersion": CUSTOM, "metadata": {}, "items": items}

    def _resource(self, namespace: str, selector: str) -> Raw:
        items = [
            {
                "metadata": {"name": pod["metadata"]["name"], "namespace": namespace},
                "timestamp": _now(),
                "window": "1s",
                "containers": [{"name": CONTAINER, "usage": {"cpu": self.cpu, "memory": "1Mi"}}],
            }
            for pod in self.cluster.pods(namespace, selector)
        ]
        return {"kind": "PodMetricsList", "apiVersion": RESOURCE, "metadata": {}, "items": items}


@contextmanager
def metrics_apis(cluster: Cluster, namespace: str) -> Iterator[Figures]:
    """Serve both APIs, registered and available, until the end."""
    figures = Figures(cluster)
    authority = trustme.CA()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(figures))
    server.daemon_threads = True
    server.socket = _context(authority, namespace).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, name="metrics-apis", daemon=True)
    thread.start()
    bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
    try:
        with _registered(cluster, namespace, server.server_port, bundle):
            yield figures
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _registered(cluster: Cluster, namespace: str, port: int, bundle: str) -> Iterator[None]:
    cluster.create(
        f"/api/v1/namespaces/{namespace}/services",
        {
            "metadata": {"name": SERVICE},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        },
    )
    names = []
    for each in (CUSTOM, RESOURCE):
        group, version = each.split("/")
        names.append(f"{version}.{group}")
        spec = {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": bundle,
            "service": {"namespace": namespace, "name": SERVICE, "port": port},
        }
        cluster.create(API_SERVICES, {"metadata": {"name": names[-1]}, "spec": spec})
    try:
        for name in names:
            wait_until(lambda name=name: _available(cluster, name), AVAILABLE_WITHIN_S, name)
        yield
    finally:
        for name in names:
            cluster.delete(f"{API_SERVICES}/{name}")


API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


def _available(cluster: Cluster, name: str) -> bool:
    status = (cluster.get(f"{API_SERVICES}/{name}") or {}).get("status", {})
    conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
    return conditions.get("Available") == "True"


def _context(authority: trustme.CA, namespace: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(f"{SERVICE}.{namespace}.svc").configure_cert(context)
    return context


def _handler(figures: Figures) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = figures.answer(self.path)
            body = json.dumps(found or {"kind": "Status", "apiVersion": "v1", "code": 404}).encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: the autoscaler asks every two seconds."""

    return Handler


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
