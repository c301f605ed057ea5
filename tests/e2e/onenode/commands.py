"""How the node's programs are called: the control plane's, opened to the node, and its own."""

import shutil

from controlplane import components
from controlplane.certificates import KeyPair
from onenode.layout import NODE, NODE_IP, NodeLayout


def api_server(layout: NodeLayout, kubelet_client: KeyPair) -> list[str]:
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


def containerd(layout: NodeLayout) -> list[str]:
    """Return the command line of Debian's containerd."""
    program = shutil.which("containerd") or "containerd"
    return [program, "--config", str(layout.configuration / "containerd.toml")]


def kubelet(layout: NodeLayout) -> list[str]:
    """Return the kubelet's command line."""
    return [
        str(layout.node_programs / "kubelet"),
        f"--config={layout.configuration / 'kubelet.yaml'}",
        f"--kubeconfig={layout.control_plane.kubeconfig('kubelet')}",
        f"--root-dir={layout.folder / 'kubelet'}",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_IP}",
    ]


def kube_proxy(layout: NodeLayout) -> list[str]:
    """Return kube-proxy's command line."""
    return [
        str(layout.node_programs / "kube-proxy"),
        f"--config={layout.configuration / 'kube-proxy.yaml'}",
    ]
