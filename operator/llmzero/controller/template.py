"""``spec.trainer.podTemplate`` over the operator's pod: what a user may set there, and what not."""

import copy
import re
from typing import Any

from llmzero.controller.pods import CONTAINER

OWNED_POD = (
    "restartPolicy",
    "serviceAccountName",
    "automountServiceAccountToken",
    "hostNetwork",
    "hostPID",
    "hostIPC",
)
OWNED_CONTAINER = {
    "image": "use spec.trainer.image in its place",
    "imagePullPolicy": "use spec.trainer.imagePullPolicy in its place",
    "resources": "use spec.trainer.resources in its place",
    "args": "the operator sets it; leave it out",
    "terminationMessagePath": "the operator reads the result there; leave it out",
    "terminationMessagePolicy": "the operator reads the result there; leave it out",
}
_MERGED = ("containers", "volumes", "securityContext")


class TemplateProblem(ValueError):
    """``spec.trainer.podTemplate`` names a field that the operator owns."""


def merge_template(pod: dict[str, Any], template: dict[str, Any]) -> dict[str, Any]:
    """The user's pod fields over ours; containers, env, volumes and mounts merge by name.

    Raises TemplateProblem for fields that the operator owns.
    """
    for key in template:
        if key not in ("spec", "metadata"):
            raise TemplateProblem(
                f"spec.trainer.podTemplate.{key}: there is no such field; spec and metadata are"
            )
    given = copy.deepcopy(template.get("spec", {}))
    for key in OWNED_POD:
        if key in given:
            raise TemplateProblem(
                f"spec.trainer.podTemplate.spec.{key}: the operator sets this field; leave it out"
            )
    merged = {**pod, **{k: v for k, v in given.items() if k not in _MERGED}}
    merged["securityContext"] = {**pod["securityContext"], **given.get("securityContext", {})}
    merged["volumes"] = _by_key(pod["volumes"], given.get("volumes", []), "name", "volumes")
    merged["containers"] = [
        _container(pod["containers"][0], given.get("containers", [])),
        *(c for c in given.get("containers", []) if c.get("name") != CONTAINER),
    ]
    return merged


def _container(ours: dict[str, Any], given: list[dict[str, Any]]) -> dict[str, Any]:
    found = next((c for c in given if c.get("name") == CONTAINER), None)
    if found is None:
        return ours
    for key, advice in OWNED_CONTAINER.items():
        if key in found:
            raise TemplateProblem(
                f"spec.trainer.podTemplate.spec.containers[{CONTAINER}].{key}: {advice}"
            )
    merged = {**ours, **{k: v for k, v in found.items() if k not in ("env", "volumeMounts")}}
    merged["env"] = _by_key(ours["env"], found.get("env", []), "name", "env")
    merged["volumeMounts"] = _by_key(
        ours["volumeMounts"], found.get("volumeMounts", []), "mountPath", "volumeMounts"
    )
    return merged


def _by_key(
    ours: list[dict[str, Any]], given: list[dict[str, Any]], key: str, where: str
) -> list[dict[str, Any]]:
    taken = {o[key] for o in ours}
    for entry in given:
        if entry.get(key) in taken and not _may_replace(entry.get(key), where):
            raise TemplateProblem(
                f"spec.trainer.podTemplate: {where} {entry.get(key)} belongs to the operator; "
                "choose another name"
            )
    names = {g.get(key) for g in given}
    return [*(o for o in ours if o[key] not in names), *given]


def _may_replace(name: Any, where: str) -> bool:
    """A larger /dev/shm or other caches are the user's to choose; the contract is not."""
    if where == "env":
        return not re.match(r"LLMZERO_(STAGE_|ROOT|ATTEMPT)", str(name))
    return where == "volumes" and name in ("home", "tmp", "shm")
