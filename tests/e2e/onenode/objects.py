"""What a usual cluster brings along: DNS, and volumes for claims that name no storage class."""

from pathlib import Path
from typing import Any

from onenode.layout import DNS_IMAGE, DNS_IP, DNS_PORT, NODE, VOLUMES

_SYSTEM = "kube-system"
_NAME = "coredns"
_RBAC = "rbac.authorization.k8s.io"
_LABELS = {"k8s-app": "kube-dns"}
_READ = ["list", "watch"]
_COREFILE = f"""\
.:{DNS_PORT} {{
  errors
  ready :8181
  cache 5
  kubernetes cluster.local in-addr.arpa {{
    ttl 5
  }}
}}
"""


def objects(volumes: Path) -> list[dict[str, Any]]:
    """Return all of them, in the order in which they are applied; volumes are in `volumes`."""
    return [*_dns_access(), *_dns(), _storage_class(), *_volumes(volumes)]


def _dns_access() -> list[dict[str, Any]]:
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": _READ},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
    ]
    account = {"kind": "ServiceAccount", "name": _NAME, "namespace": _SYSTEM}
    role = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": _NAME}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _named()},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": _NAME},
            "rules": rules,
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _NAME},
            "roleRef": role,
            "subjects": [account],
        },
    ]


def _dns() -> list[dict[str, Any]]:
    container = {
        "name": _NAME,
        "image": DNS_IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "configuration", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": _NAME,
        "dnsPolicy": "Default",
        "containers": [container],
        "volumes": [{"name": "configuration", "configMap": {"name": _NAME}}],
    }
    ports = [
        {"name": protocol.lower(), "protocol": protocol, "port": 53, "targetPort": DNS_PORT}
        for protocol in ("UDP", "TCP")
    ]
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _named(),
            "data": {"Corefile": _COREFILE},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _named(),
            "spec": {
                "selector": {"matchLabels": _LABELS},
                "template": {"metadata": {"labels": _LABELS}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": _SYSTEM},
            "spec": {"clusterIP": DNS_IP, "selector": _LABELS, "ports": ports},
        },
    ]


def _storage_class() -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "folders",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _volumes(folder: Path) -> list[dict[str, Any]]:
    here = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"folder-{number}"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"],
                "storageClassName": "folders",
                "local": {"path": str(folder / str(number))},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}},
            },
        }
        for number in range(VOLUMES)
    ]


def _named() -> dict[str, str]:
    return {"name": _NAME, "namespace": _SYSTEM}
