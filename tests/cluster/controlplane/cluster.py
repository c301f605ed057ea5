"""What tests and benches do with a running control plane, whoever started it.

`kubectl` is for what a user would type; `get`, `create`, `patch` and `delete` are one HTTP request
each, for what a test repeats.
"""

import ssl
import subprocess
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from controlplane import nodes
from controlplane.binaries import Binaries
from controlplane.certificates import write_kubeconfig
from controlplane.programs import wait_until

_KUBECTL_WITHIN_S = 60.0
_REQUEST_WITHIN_S = 30.0
_TOKEN_LASTS = "24h"


def unique_name(prefix: str) -> str:
    """Return a name that no other test has, for what is not in a namespace."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


class KubectlFailed(RuntimeError):
    """kubectl ended with an error; the message is what it wrote."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a control plane as its administrator."""

    folder: Path
    url: str
    ca: Path
    admin_kubeconfig: Path
    binaries: Binaries


class Cluster:
    """A running control plane, seen by its administrator."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.url = access.url
        self.ca = access.ca
        self.admin_kubeconfig = access.admin_kubeconfig
        self.binaries = access.binaries

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the administrator and return what it printed.

        Raises:
            KubectlFailed: it ended with an error; the message is its standard error.

        """
        home = {"HOME": str(self.access.folder), "KUBECONFIG": str(self.admin_kubeconfig)}
        done = subprocess.run(
            [self.binaries.kubectl, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=home,
            check=False,
            timeout=_KUBECTL_WITHIN_S,
        )
        if done.returncode != 0:
            raise KubectlFailed(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """Return a kubeconfig with a token of this ServiceAccount, which must exist."""
        token = self.kubectl(
            "create", "token", service_account, f"-n={namespace}", f"--duration={_TOKEN_LASTS}"
        )
        path = self.access.folder / f"{namespace}.{service_account}.{uuid.uuid4().hex}.kubeconfig"
        return write_kubeconfig(path, self.url, self.ca, {"token": token.strip()}, namespace)

    def answers(self) -> bool:
        """Return whether the API server says that it is ready."""
        try:
            return self.http.get("/readyz", timeout=2.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the object or list at an API path, None when there is none."""
        answer = self.http.get(path)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        return _document(answer)

    def create(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """Post an object to its collection's path."""
        return _document(self.http.post(path, json=document))

    def patch(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """Merge a document into the object at a path."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return _document(self.http.patch(path, json=document, headers=headers))

    def delete(self, path: str) -> None:
        """Delete an object; one that is gone already is fine."""
        answer = self.http.delete(path)
        if answer.status_code != httpx.codes.NOT_FOUND:
            _document(answer)

    def create_namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        """Make a namespace in which pods can be created."""
        self.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels or {}}})
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        wait_until(lambda: self.get(account) is not None, 30.0, f"{name} has its ServiceAccount")

    def pods(self, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Return the pods of a namespace, by label where a selector is given."""
        found = self.http.get(
            f"/api/v1/namespaces/{namespace}/pods", params={"labelSelector": selector}
        )
        return list(_document(found)["items"])

    def add_node(
        self,
        name: str,
        labels: dict[str, str] | None = None,
        devices: dict[str, int] | None = None,
        taints: tuple[dict[str, str], ...] = (),
    ) -> None:
        """Add a node and wait until the scheduler may use it.

        Its devices are resources such as `{"nvidia.com/gpu": 1}`; taints are those of core/v1.
        """
        self.create("/api/v1/nodes", nodes.node(name, labels or {}, devices or {}, taints))
        path = f"/api/v1/nodes/{name}"
        wait_until(lambda: nodes.is_usable(self.get(path)), 30.0, f"node {name} is usable")

    def remove_node(self, name: str) -> None:
        """Remove a node; its pods are then removed by the controller manager."""
        self.delete(f"/api/v1/nodes/{name}")

    def set_behaviour(self, namespace: str, pod: str, behaviour: nodes.Behaviour) -> None:
        """Let one pod behave otherwise from now on."""
        annotations = {nodes.BEHAVIOUR: behaviour}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
        self.patch(path, {"metadata": {"annotations": annotations}})

    @cached_property
    def http(self) -> httpx.Client:
        """A client that is the administrator; paths are those of the API."""
        context = ssl.create_default_context(cafile=str(self.ca))
        keys = self.ca.parent
        context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
        return httpx.Client(base_url=self.url, verify=context, timeout=_REQUEST_WITHIN_S)


def _document(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
    return dict(answer.json())
