"""What runs in the cluster beside Lumen: weights on a volume and on a web server, and callers."""

import json
from typing import Any

NAMESPACE = "lumen-e2e"
ROUTER = f"lumen-router.{NAMESPACE}.svc:50051"
CLAIM = "weights"
WEB = "http://weights:8000"
_USER = 65532


def weights(image: str) -> list[dict[str, Any]]:
    """Return a claim that a Job fills with the models, and a web server that has them too."""
    mounted = {"name": "weights", "mountPath": "/weights"}
    volume = {"name": "weights", "persistentVolumeClaim": {"claimName": CLAIM}}
    copy = _pod("copy", image, ["python3", "/in-cluster/weights.py", "/weights"])
    copy["containers"][0]["volumeMounts"] = [mounted]
    copy |= {"volumes": [volume], "restartPolicy": "Never"}
    serve = _pod("web", image, ["python3", "-m", "http.server", "8000", "--directory", "/models"])
    serve["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/", "port": 8000}}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "100Mi"}},
            },
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "weights"},
            "spec": {"backoffLimit": 0, "template": {"spec": copy}},
        },
        _deployment("weights", serve, replicas=1),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "weights"},
            "spec": {"selector": {"app": "weights"}, "ports": [{"port": 8000}]},
        },
    ]


def callers(image: str, server: str, pods: int, rate: float) -> dict[str, Any]:
    """Return pods that call the server, `rate` calls a second each."""
    command = ["python3", "/in-cluster/caller.py", server, str(rate)]
    return _deployment("caller", _pod("caller", image, command), replicas=pods)


def one_command(name: str, image: str, command: list[str]) -> dict[str, Any]:
    """Return a pod that runs a command once."""
    spec = _pod("command", image, command) | {"restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def on_cluster(document: dict[str, Any], uri: str) -> dict[str, Any]:
    """Return a manifest of the demo with the source that its files have in the cluster."""
    changed = json.loads(json.dumps(document))
    changed["spec"]["model"]["source"] = {"uri": uri}
    return dict(changed)


def _deployment(name: str, pod: dict[str, Any], *, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def _pod(name: str, image: str, command: list[str]) -> dict[str, Any]:
    """Return a pod that restricted Pod Security admits."""
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [{"name": "HOME", "value": "/tmp"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
