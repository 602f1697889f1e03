"""Where the cluster is and who asks, as kubectl reads it: flags, KUBECONFIG, or the pod's account."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import client, config
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from llmzero.kubectl.trouble import Mistake, Trouble

POD_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_FILE = "~/.kube/config"


@dataclass(frozen=True, slots=True)
class Access:
    """The flags that kubectl has, too; None is not given."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """An API server, a namespace, and how a user knows them."""

    settings: client.Configuration
    namespace: str
    context: str
    """``context NAME`` or ``the pod's service account``."""

    @property
    def server(self) -> str:
        return str(self.settings.host)


async def find(access: Access) -> Place:
    """The flag, else KUBECONFIG, else ~/.kube/config, else the account of this pod.

    Raises Trouble where there is none, Mistake where a flag names what is not there.
    """
    files = access.kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_FILE
    if _any_exists(files):
        return await _from_files(files, access)
    if access.kubeconfig:
        raise Mistake(f"--kubeconfig: {access.kubeconfig} is not there")
    if access.context:
        raise Mistake(f"--context: there is no kubeconfig ({files}) to find {access.context} in")
    return _from_pod(files, access)


def _any_exists(files: str) -> bool:
    return any(Path(p).expanduser().exists() for p in files.split(os.pathsep) if p)


async def _from_files(files: str, access: Access) -> Place:
    # It would log what we say better.
    logging.getLogger("kubernetes.aio.config").setLevel(logging.CRITICAL)
    try:
        merged = KubeConfigMerger(files)
        contexts = _contexts(merged.config_files)
    except OSError as error:
        raise Trouble(f"{error.filename}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, TypeError, AttributeError, KeyError):
        raise Trouble(f"{files}: is no kubeconfig") from None
    wanted = access.context or _current(merged.config_files)
    listed = ", ".join(sorted(contexts)) or "none"
    if wanted is None:
        raise Mistake(f"{files} has no current-context: choose one with --context; it has {listed}")
    if wanted not in contexts:
        raise Mistake(f"--context: {wanted} is not in {files}; it has {listed}")
    settings = client.Configuration()
    try:
        loader = KubeConfigLoader(merged.config, active_context=wanted, config_base_path=None)
        await loader.load_and_set(settings)
    except config.ConfigException as error:
        raise Trouble(f"{files}, context {wanted}: {error}") from None
    namespace = access.namespace or contexts[wanted].get("namespace") or "default"
    return Place(settings, namespace, f"context {wanted}")


def _contexts(files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By name; as in kubectl, the first file that has a name wins."""
    found: dict[str, dict[str, Any]] = {}
    for content in files.values():
        for entry in content.get("contexts") or []:
            found.setdefault(entry["name"], entry.get("context") or {})
    return found


def _current(files: dict[str, dict[str, Any]]) -> str | None:
    named = (content.get("current-context") for content in files.values())
    return next((name for name in named if name), None)


def _from_pod(files: str, access: Access) -> Place:
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        raise Trouble(
            f"no cluster: there is no kubeconfig ({files}), and this is no pod with a service "
            "account. Set KUBECONFIG or give --kubeconfig"
        ) from None
    namespace = access.namespace or os.environ.get("POD_NAMESPACE")
    if not namespace and POD_NAMESPACE_FILE.exists():
        namespace = POD_NAMESPACE_FILE.read_text().strip()
    return Place(settings, namespace or "default", "the pod's service account")
