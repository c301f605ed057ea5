"""The keys and certificates of a control plane, and kubeconfigs that use them."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

SERVICE_IP = "10.96.0.1"
_SERVICE = "kubernetes.default.svc"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The files of one certificate and of its private key."""

    certificate: Path
    key: Path


class Authority:
    """Signs the certificates of one control plane and writes them into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, mode=0o700)
        self._authority = trustme.CA(organization_name="lumen tests")
        self.file = folder / "ca.crt"
        self._authority.cert_pem.write_to_path(self.file)

    def server(self, name: str) -> KeyPair:
        """Issue a certificate for a server on loopback."""
        names = ("localhost", "kubernetes", "kubernetes.default", _SERVICE)
        return self._written(name, self._authority.issue_cert(*names, "127.0.0.1", SERVICE_IP))

    def client(self, name: str, user: str, group: str | None = None) -> KeyPair:
        """Issue a certificate that the API server takes for this user and group."""
        return self._written(name, self._leaf(name, user, group))

    def key(self, name: str) -> Path:
        """Make a private key; the API server signs the tokens of ServiceAccounts with one."""
        return self._written(name, self._leaf(name, name)).key

    def _leaf(self, name: str, user: str, group: str | None = None) -> trustme.LeafCert:
        # Without a host name the list of names would be empty, which Go refuses.
        host = f"{name}.invalid"
        return self._authority.issue_cert(host, common_name=user, organization_name=group)

    def _written(self, name: str, leaf: trustme.LeafCert) -> KeyPair:
        pair = KeyPair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        leaf.cert_chain_pems[0].write_to_path(pair.certificate)
        leaf.private_key_pem.write_to_path(pair.key)
        return pair


def certificate_user(pair: KeyPair) -> dict[str, Any]:
    """Return a kubeconfig's `user` that shows a client certificate."""
    return {
        "client-certificate-data": _base64(pair.certificate),
        "client-key-data": _base64(pair.key),
    }


def write_kubeconfig(
    path: Path, url: str, authority: Path, user: dict[str, Any], namespace: str = "default"
) -> Path:
    """Write a kubeconfig, which is JSON and so YAML too."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "lumen-tests",
                "cluster": {"server": url, "certificate-authority-data": _base64(authority)},
            }
        ],
        "users": [{"name": "user", "user": user}],
        "contexts": [
            {
                "name": "lumen-tests",
                "context": {"cluster": "lumen-tests", "user": "user", "namespace": namespace},
            }
        ],
        "current-context": "lumen-tests",
    }
    path.write_text(json.dumps(document, indent=1))
    path.chmod(0o600)
    return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
