"""etcd, the API server and, for the higher levels, controllers and scheduler."""

import base64
import json
import secrets
import socket
import ssl
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.process import Component

SERVICE_RANGE = "10.96.0.0/16"
NODE = "node-1"


@dataclass(frozen=True)
class Place:
    """Where a control plane listens, and what it is made of."""

    binaries: Path
    folder: Path
    address: str
    """Address that clients and nodes use."""
    port: int
    etcd_port: int
    etcd_peer_port: int
    admin_token: str
    node_token: str

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def place(binaries: Path, folder: Path, address: str, port: int | None = None) -> Place:
    return Place(
        binaries,
        folder,
        address,
        port or free_port(),
        free_port(),
        free_port(),
        secrets.token_hex(16),
        secrets.token_hex(16),
    )


def start(at: Place, controllers: bool, started: list[Component]) -> None:
    """Starts the components, each into ``started`` at once; returns when the API answers."""
    started.append(_etcd(at))
    _identities(at)
    apiserver = _apiserver(at)
    started.append(apiserver)
    apiserver.wait_for(lambda: ready(at), 90)
    write_kubeconfig(at, "admin", at.admin_token)
    if controllers:
        started += _controllers(at)


def ready(at: Place) -> bool:
    """Whether /readyz answers ok."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(
        f"{at.server}/readyz", headers={"Authorization": f"Bearer {at.admin_token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def write_kubeconfig(at: Place, name: str, token: str) -> Path:
    """``<folder>/<name>.kubeconfig`` for a user with this token."""
    authority = base64.b64encode((at.folder / "certificates/apiserver.crt").read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [
            {
                "name": "test",
                "cluster": {"server": at.server, "certificate-authority-data": authority},
            }
        ],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
    }
    file = at.folder / f"{name}.kubeconfig"
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    return file


def _etcd(at: Place) -> Component:
    client, peer = f"http://127.0.0.1:{at.etcd_port}", f"http://127.0.0.1:{at.etcd_peer_port}"
    return Component(
        "etcd",
        [
            str(at.binaries / "etcd"),
            f"--data-dir={at.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--logger=zap",
            "--log-level=warn",
        ],
        at.folder,
    )


def _identities(at: Place) -> None:
    """The service accounts' key, an administrator's and the node's token."""
    key = at.folder / "service-accounts.key"
    subprocess.run(
        ["openssl", "genrsa", "-out", str(key), "2048"], check=True, stderr=subprocess.DEVNULL
    )
    (at.folder / "tokens.csv").write_text(
        f'{at.admin_token},admin,admin,"system:masters"\n'
        f'{at.node_token},system:node:{NODE},{NODE},"system:nodes"\n'
    )


def _apiserver(at: Place) -> Component:
    key = at.folder / "service-accounts.key"
    return Component(
        "kube-apiserver",
        [
            str(at.binaries / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{at.etcd_port}",
            f"--cert-dir={at.folder / 'certificates'}",
            f"--bind-address={at.address}",
            f"--secure-port={at.port}",
            # The address of the service "kubernetes"; a loopback one is refused there.
            f"--advertise-address={'192.0.2.1' if at.address.startswith('127.') else at.address}",
            f"--token-auth-file={at.folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged",
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
        ],
        at.folder,
    )


def _controllers(at: Place) -> list[Component]:
    config = at.folder / "admin.kubeconfig"
    common = [f"--kubeconfig={config}", "--leader-elect=false", "--authentication-skip-lookup"]
    manager = Component(
        "kube-controller-manager",
        [
            str(at.binaries / "kube-controller-manager"),
            *common,
            f"--secure-port={free_port()}",
            f"--cert-dir={at.folder / 'kcm'}",
            f"--root-ca-file={at.folder / 'certificates/apiserver.crt'}",
            f"--service-account-private-key-file={at.folder / 'service-accounts.key'}",
            "--use-service-account-credentials",
            "--pvclaimbinder-sync-period=1s",
        ],
        at.folder,
    )
    scheduler = Component(
        "kube-scheduler",
        [
            str(at.binaries / "kube-scheduler"),
            *common,
            f"--secure-port={free_port()}",
            f"--cert-dir={at.folder / 'scheduler'}",
        ],
        at.folder,
    )
    return [manager, scheduler]
