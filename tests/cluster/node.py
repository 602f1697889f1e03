"""containerd, kubelet and kube-proxy: run as root inside the cluster's own namespaces."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.cluster.control_plane import NODE, Place, write_kubeconfig
from tests.cluster.process import Component, StartFailed

PODS = "10.244.0.0/16"
PAUSE = "llmzero.test/pause:1"
PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "conntrack",
    "iproute2",
)
PROGRAMS = ("containerd", "runc", "iptables", "conntrack", "ip", "ctr")


def install_packages() -> None:
    """Installs what a node needs from Debian. Raises RuntimeError with what is missing."""
    missing = [p for p in PROGRAMS if shutil.which(p) is None]
    if not Path("/usr/lib/cni/bridge").exists():
        missing.append("containernetworking-plugins")
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(
            f"a node needs {', '.join(missing)}: run as root on Debian, install "
            f"{' '.join(PACKAGES)}, or name another cluster in LLMZERO_TEST_KUBECONFIG"
        )
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", *PACKAGES],
        check=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdout=subprocess.DEVNULL,
    )


def start(at: Place) -> list[Component]:
    """Starts the node's components; returns when the node is Ready."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    containerd = _containerd(at)
    import_image(at.folder, pause_image(at.binaries / "pause"))
    kubelet = _kubelet(at)
    proxy = _proxy(at)
    kubelet.wait_for(lambda: _node_ready(at), 90)
    return [proxy, kubelet, containerd]


def socket_of(folder: Path) -> Path:
    return folder / "containerd.sock"


def import_image(folder: Path, archive: bytes | Path) -> None:
    """Imports a docker archive into the node's containerd."""
    command = ["ctr", "--address", str(socket_of(folder)), "-n", "k8s.io", "images", "import"]
    if isinstance(archive, Path):
        done = subprocess.run([*command, str(archive)], capture_output=True)
    else:
        done = subprocess.run([*command, "-"], input=archive, capture_output=True)
    if done.returncode:
        raise StartFailed(f"image import: {done.stderr.decode()[-1000:]}")


def docker_archive(name: str, layer: bytes, config: dict[str, object]) -> bytes:
    """A docker archive of one layer, written with tarfile: no daemon is needed."""
    diff = hashlib.sha256(layer).hexdigest()
    image = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
        "history": [{"created_by": "llmzero tests"}],
    }
    blob = json.dumps(image).encode()
    manifest = [
        {
            "Config": f"{hashlib.sha256(blob).hexdigest()}.json",
            "RepoTags": [name],
            "Layers": [f"{diff}/layer.tar"],
        }
    ]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, data in (
            (manifest[0]["Config"], blob),
            (f"{diff}/layer.tar", layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(str(path))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def pause_image(program: Path) -> bytes:
    """The sandbox image: one static program."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tarfile.TarInfo("pause")
        data = program.read_bytes()
        entry.size, entry.mode = len(data), 0o755
        tar.addfile(entry, io.BytesIO(data))
    return docker_archive(
        PAUSE, layer.getvalue(), {"Entrypoint": ["/pause"], "User": "65535:65535"}
    )


def _containerd(at: Place) -> Component:
    folder = at.folder
    cni = folder / "cni"
    cni.mkdir(exist_ok=True)
    (cni / "10-bridge.conflist").write_text(
        json.dumps(
            {
                "cniVersion": "0.4.0",
                "name": "bridge",
                "plugins": [
                    {
                        "type": "bridge",
                        "bridge": "cni0",
                        "isGateway": True,
                        "ipMasq": True,
                        "hairpinMode": True,
                        "ipam": {
                            "type": "host-local",
                            "ranges": [[{"subnet": PODS}]],
                            "routes": [{"dst": "0.0.0.0/0"}],
                            "dataDir": str(folder / "cni-state"),
                        },
                    },
                    {"type": "portmap", "capabilities": {"portMappings": True}},
                ],
            }
        )
    )
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE every sandbox dies otherwise.
    (folder / "containerd.toml").write_text(
        f"""version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
[grpc]
address = "{socket_of(folder)}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
"""
    )
    containerd = Component(
        "containerd", ["containerd", "--config", str(folder / "containerd.toml")], folder
    )

    def answers() -> bool:
        if not socket_of(folder).exists():
            return False
        done = subprocess.run(
            ["ctr", "--address", str(socket_of(folder)), "version"], capture_output=True
        )
        return done.returncode == 0

    containerd.wait_for(answers, 30)
    return containerd


def _kubelet(at: Place) -> Component:
    folder = at.folder
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": at.address,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": f"unix://{socket_of(folder)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "podLogsDir": str(folder / "pod-logs"),
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "5s",
        "maxPods": 110,
        "resolvConf": "/etc/resolv.conf",
    }
    (folder / "kubelet.json").write_text(json.dumps(config))
    kubeconfig = write_kubeconfig(at, "kubelet", at.node_token)
    return Component(
        "kubelet",
        [
            str(at.binaries / "kubelet"),
            f"--config={folder / 'kubelet.json'}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={NODE}",
            f"--node-ip={at.address}",
            f"--root-dir={folder / 'kubelet'}",
            f"--cert-dir={folder / 'kubelet-certificates'}",
        ],
        folder,
    )


def _proxy(at: Place) -> Component:
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": PODS,
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": str(at.folder / "admin.kubeconfig")},
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
    (at.folder / "proxy.json").write_text(json.dumps(config))
    command = [str(at.binaries / "kube-proxy"), f"--config={at.folder / 'proxy.json'}"]
    return Component("kube-proxy", command, at.folder)


def _node_ready(at: Place) -> bool:
    done = subprocess.run(
        [
            str(at.binaries / "kubectl"),
            f"--kubeconfig={at.folder / 'admin.kubeconfig'}",
            "get",
            "node",
            NODE,
            "-o",
            'jsonpath={.status.conditions[?(@.type=="Ready")].status}',
        ],
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() == "True"
