"""How the node's programs are called, and their configuration files: pure lines and documents."""

import json
import shutil
from typing import Any

from controlplane import components
from controlplane.certificates import KeyPair
from onenode.layout import (
    CGROUP,
    CNI_PROGRAMS,
    DNS_IP,
    NODE,
    NODE_IP,
    PAUSE_IMAGE,
    POD_RANGE,
    NodeLayout,
)


def files(layout: NodeLayout) -> dict[str, str]:
    """Return each file's text by its path below the configuration folder."""
    return {
        "containerd.toml": containerd(layout),
        "cni/10-pods.conflist": json.dumps(network(layout), indent=1),
        "kubelet.yaml": json.dumps(kubelet(layout), indent=1),
        "kube-proxy.yaml": json.dumps(kube_proxy(layout), indent=1),
        "resolv.conf": "",  # pods ask the cluster's DNS alone
    }


def containerd(layout: NodeLayout) -> str:
    """Describe a containerd beside any other of the machine.

    A process without CAP_SYS_RESOURCE may not lower its OOM score: runc would fail on that.
    """
    return f"""version = 2
root = "{layout.folder}/containerd"
state = "{layout.folder}/containerd-state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
]
[grpc]
  address = "{layout.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "{layout.folder}/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{layout.configuration}/cni"
"""


def network(layout: NodeLayout) -> dict[str, Any]:
    """Give each pod a link and a route of its own.

    On a bridge, answers between two pods would pass by the translation of Service addresses
    unless the kernel has br_netfilter.
    """
    addresses = {
        "type": "host-local",
        "dataDir": str(layout.folder / "cni-addresses"),
        "ranges": [[{"subnet": POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    pod_link = {"type": "ptp", "ipMasq": False, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [pod_link]}


def kubelet(layout: NodeLayout) -> dict[str, Any]:
    """Describe a kubelet that keeps to its own folders and cgroup, and never collects images."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "clusterDNS": [DNS_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": str(layout.configuration / "resolv.conf"),
        "podLogsDir": str(layout.folder / "pod-logs"),
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.control_plane.secrets.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "serializeImagePulls": False,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "nodeStatusUpdateFrequency": "5s",
        "shutdownGracePeriod": "0s",
    }


def kube_proxy(layout: NodeLayout) -> dict[str, Any]:
    """Describe a kube-proxy that leaves the machine's connection tracking as it is."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": str(layout.control_plane.kubeconfig("kube-proxy"))},
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }


def api_server_command(layout: NodeLayout, kubelet_client: KeyPair) -> list[str]:
    """Return the API server's command line: pods reach it, and it reaches the kubelet.

    A flag that comes again takes the place of the first; modes of authorization add up.
    """
    return [
        *components.api_server(layout.control_plane),
        "--bind-address=0.0.0.0",
        f"--advertise-address={NODE_IP}",
        "--endpoint-reconciler-type=lease",
        "--authorization-mode=Node",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-client-certificate={kubelet_client.certificate}",
        f"--kubelet-client-key={kubelet_client.key}",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def containerd_command(layout: NodeLayout) -> list[str]:
    """Return the command line of Debian's containerd."""
    program = shutil.which("containerd") or "containerd"
    return [program, "--config", str(layout.configuration / "containerd.toml")]


def kubelet_command(layout: NodeLayout) -> list[str]:
    """Return the kubelet's command line."""
    return [
        str(layout.node_programs / "kubelet"),
        f"--config={layout.configuration / 'kubelet.yaml'}",
        f"--kubeconfig={layout.control_plane.kubeconfig('kubelet')}",
        f"--root-dir={layout.folder / 'kubelet'}",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_IP}",
    ]


def kube_proxy_command(layout: NodeLayout) -> list[str]:
    """Return kube-proxy's command line."""
    return [
        str(layout.node_programs / "kube-proxy"),
        f"--config={layout.configuration / 'kube-proxy.yaml'}",
    ]
