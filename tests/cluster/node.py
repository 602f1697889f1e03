"""containerd, kubelet and kube-proxy: run as root inside the cluster's own namespaces."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.cluster.client import Kube
from tests.cluster.control_plane import NODE, Place, write_kubeconfig
from tests.cluster.process import Component, StartFailed

PODS = "10.244.0.0/16"
DNS = "10.96.0.10"
PAUSE = "llmzero.test/pause:1"
PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "conntrack",
    "iproute2",
)
PROGRAMS = ("containerd", "runc", "iptables", "conntrack", "ip", "ctr", "unshare")
PLUGINS = tuple(f"/usr/lib/cni/{p}" for p in ("bridge", "host-local", "portmap"))


def require_node_programs() -> None:
    """Installs what a node needs from Debian. Raises RuntimeError with what is missing."""
    advice = "or name another cluster in LLMZERO_TEST_KUBECONFIG"
    if os.geteuid() != 0:
        raise RuntimeError(f"a node needs root (mounts, networks, groups): run as root, {advice}")
    missing = _missing()
    if missing and shutil.which("apt-get"):
        _apt_get("update")
        _apt_get("install", "-y", "--no-install-recommends", *PACKAGES)
        missing = _missing()
    if missing:
        raise RuntimeError(
            f"a node needs {', '.join(missing)}: install {' '.join(PACKAGES)}, {advice}"
        )


def _missing() -> list[str]:
    missing = [p for p in PROGRAMS if shutil.which(p) is None]
    return missing + [p for p in PLUGINS if not Path(p).exists()]


def _apt_get(*arguments: str) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", "-qq", *arguments], env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"apt-get {arguments[0]}: {(done.stderr or done.stdout)[-1000:]}")


def start(at: Place, runtime: Component) -> None:
    """Starts kubelet and proxy on a started containerd; returns when the node is Ready."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    runtime.wait_for(lambda: _answers(at.folder), 30)
    import_image(at.folder, pause_image(at.binaries / "pause"))
    kubelet = _kubelet(at)
    _proxy(at)
    kube = Kube(at.folder / "admin.kubeconfig", at.binaries / "kubectl")
    kubelet.wait_for(lambda: _node_ready(kube), 90)


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


def docker_archive(name: str, layers: list[bytes], config: dict[str, object]) -> bytes:
    """A docker archive of these layers (tar files), written with tarfile: no daemon is needed."""
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    image = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created_by": "llmzero tests"} for _ in layers],
    }
    blob = json.dumps(image).encode()
    paths = [f"{digest}/layer.tar" for digest in digests]
    config_path = f"{hashlib.sha256(blob).hexdigest()}.json"
    manifest = [{"Config": config_path, "RepoTags": [name], "Layers": paths}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, data in (
            (config_path, blob),
            *zip(paths, layers, strict=True),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(path)
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
    config: dict[str, object] = {"Entrypoint": ["/pause"], "User": "65535:65535"}
    return docker_archive(PAUSE, [layer.getvalue()], config)


def containerd(at: Place) -> Component:
    """Starts it, without waiting."""
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
    return Component(
        "containerd", ["containerd", "--config", str(folder / "containerd.toml")], folder
    )


def _answers(folder: Path) -> bool:
    """Whether containerd does."""
    if not socket_of(folder).exists():
        return False
    command = ["ctr", "--address", str(socket_of(folder)), "version"]
    return subprocess.run(command, capture_output=True).returncode == 0


def _kubelet(at: Place) -> Component:
    folder = at.folder
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": at.address,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{folder.name}",
        "containerRuntimeEndpoint": f"unix://{socket_of(folder)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": str(folder / "volume-plugins"),
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "5s",
        "maxPods": 110,
        "resolvConf": "/etc/resolv.conf",
        "clusterDNS": [DNS],  # tests.cluster.dns; without it each pod gets a warning event
        "clusterDomain": "cluster.local",
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


def _node_ready(kube: Kube) -> bool:
    path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    return kube.run("get", "node", NODE, "-o", path, check=False).stdout == "True"
