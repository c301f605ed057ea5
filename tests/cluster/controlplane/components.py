"""How each program of the control plane is called: pure command lines.

Our own speed is what tests and benches measure, so the programs' client limits are far above what
a cluster would use, and etcd does not wait for the disk.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml
from controlplane.binaries import Binaries
from controlplane.certificates import KeyPair
from controlplane.stages import stages

SERVICE_RANGE = "10.96.0.0/16"
# What kwok gives to pods: the range that is set aside for benchmarks, so no real host has one.
POD_RANGE = "198.18.0.0/15"
# Never dialled: the API server wants an address that is not loopback to advertise, and has none.
ADVERTISED = "192.0.2.1"
NODE_ADDRESS = "192.0.2.2"
CLIENT_QPS = 500
CLIENT_BURST = 1000


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports of one control plane."""

    etcd: int
    etcd_peer: int
    api_server: int
    controller_manager: int
    scheduler: int
    kwok: int


@dataclass(frozen=True, slots=True)
class Secrets:
    """The files that prove who is who."""

    authority: Path
    serving: KeyPair
    front_proxy: KeyPair
    service_accounts: Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that the command lines are made of."""

    folder: Path
    binaries: Binaries
    ports: Ports
    secrets: Secrets

    def kubeconfig(self, user: str) -> Path:
        """Return where the kubeconfig of a user of the control plane is."""
        return self.folder / f"{user}.kubeconfig"

    @property
    def url(self) -> str:
        """Where the API server answers."""
        return f"https://127.0.0.1:{self.ports.api_server}"

    @property
    def etcd_url(self) -> str:
        """Where etcd answers."""
        return f"http://127.0.0.1:{self.ports.etcd}"


def etcd(layout: Layout) -> list[str]:
    """Return the command line of etcd."""
    peer = f"http://127.0.0.1:{layout.ports.etcd_peer}"
    return [
        str(layout.binaries.etcd),
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={layout.etcd_url}",
        f"--advertise-client-urls={layout.etcd_url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(layout: Layout) -> list[str]:
    """Return the command line of the API server: RBAC, Pod Security and aggregation are on."""
    secrets = layout.secrets
    return [
        str(layout.binaries.kube_apiserver),
        f"--etcd-servers={layout.etcd_url}",
        "--bind-address=127.0.0.1",
        f"--secure-port={layout.ports.api_server}",
        f"--advertise-address={ADVERTISED}",
        "--endpoint-reconciler-type=none",
        f"--cert-dir={layout.folder}",
        f"--client-ca-file={secrets.authority}",
        f"--tls-cert-file={secrets.serving.certificate}",
        f"--tls-private-key-file={secrets.serving.key}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={secrets.service_accounts}",
        f"--service-account-signing-key-file={secrets.service_accounts}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--requestheader-client-ca-file={secrets.authority}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={secrets.front_proxy.certificate}",
        f"--proxy-client-key-file={secrets.front_proxy.key}",
    ]


def controller_manager(layout: Layout) -> list[str]:
    """Return the command line of the controller manager, with room for many objects at once."""
    kubeconfig = layout.kubeconfig("controller-manager")
    return [
        str(layout.binaries.kube_controller_manager),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={layout.ports.controller_manager}",
        f"--cert-dir={layout.folder / 'controller-manager'}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={layout.secrets.service_accounts}",
        f"--root-ca-file={layout.secrets.authority}",
        f"--kube-api-qps={CLIENT_QPS}",
        f"--kube-api-burst={CLIENT_BURST}",
        "--concurrent-deployment-syncs=20",
        "--concurrent-replicaset-syncs=20",
        "--concurrent-endpoint-syncs=20",
        "--concurrent-service-endpoint-syncs=20",
        "--concurrent-gc-syncs=40",
        "--horizontal-pod-autoscaler-sync-period=2s",
    ]


def scheduler(layout: Layout) -> list[str]:
    """Return the command line of the scheduler; writes its configuration beside."""
    configuration = layout.folder / "scheduler.json"
    kubeconfig = str(layout.kubeconfig("scheduler"))
    document = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": kubeconfig, "qps": CLIENT_QPS, "burst": CLIENT_BURST},
        # A pod that found no node is tried again soon; the default waits up to ten seconds.
        "podMaxBackoffSeconds": 1,
    }
    configuration.write_text(json.dumps(document))
    return [
        str(layout.binaries.kube_scheduler),
        f"--config={configuration}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={layout.ports.scheduler}",
        f"--cert-dir={layout.folder / 'scheduler'}",
    ]


def kwok(layout: Layout) -> list[str]:
    """Return the command line of kwok; writes the stages that nodes and pods go through beside."""
    configuration = layout.folder / "stages.yaml"
    configuration.write_text(yaml.safe_dump_all(stages()))
    return [
        str(layout.binaries.kwok),
        f"--kubeconfig={layout.kubeconfig('kwok')}",
        f"--config={configuration}",
        "--manage-all-nodes=true",
        f"--cidr={POD_RANGE}",
        f"--node-ip={NODE_ADDRESS}",
        f"--server-address=127.0.0.1:{layout.ports.kwok}",
        "--node-lease-duration-seconds=40",
    ]
