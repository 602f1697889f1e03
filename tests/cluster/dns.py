"""CoreDNS on the test node: pods find Services by name, as on any cluster.

It answers for the cluster's own names alone. The node has it where a test asks for it: most tests
need no name, and start sooner without.
"""

import io
import tarfile
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.node import DNS, docker_archive
from tests.tools.go_build import go_program

IMAGE = "llmzero.test/coredns:1"
COREFILE = """.:53 {
    errors
    ready :8181
    cache 5
    kubernetes cluster.local in-addr.arpa ip6.arpa
}
"""
_NAMED = {"namespace": "kube-system", "name": "coredns"}
_LABELS = {"k8s-app": "kube-dns"}


def start_dns(cluster: Cluster) -> None:
    """Returns when it answers. Level node only."""
    cluster.load_image(_image(go_program("coredns")))
    cluster.kube.apply(*_objects())
    where = ("-n", "kube-system", "--timeout=90s")
    cluster.kube.run("rollout", "status", "deployment/coredns", *where)


def _image(program: Path) -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(program, arcname="coredns")
    return docker_archive(IMAGE, [layer.getvalue()], {"Entrypoint": ["/coredns"]})


def _objects() -> list[dict[str, Any]]:
    rules = [
        {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
    ]
    group = "rbac.authorization.k8s.io"
    role = {"apiGroup": group, "kind": "ClusterRole", "name": "coredns"}
    container = {
        "name": "coredns",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _NAMED},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "coredns"},
            "rules": rules,
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "coredns"},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **_NAMED}],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _NAMED,
            "data": {"Corefile": COREFILE},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _NAMED,
            "spec": {
                "selector": {"matchLabels": _LABELS},
                "template": {"metadata": {"labels": _LABELS}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**_NAMED, "name": "kube-dns"},
            "spec": {
                "clusterIP": DNS,
                "selector": _LABELS,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        },
    ]
