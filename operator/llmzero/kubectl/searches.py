"""Searches and their stages, read from the API server; and what a user may say to them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.controller.kube import Kube, path
from llmzero.controller.labels import SEARCH_LABEL
from llmzero.controller.transport import ApiError, Object
from llmzero.kubectl.trouble import Mistake, Trouble

T = TypeVar("T", TrainingSearch, StageNode)
ATTEMPTS = 5
MANAGER = {"fieldManager": "kubectl-llmzero"}


@dataclass(slots=True)
class Seen:
    """A search and its stages as of one moment."""

    search: TrainingSearch
    nodes: dict[str, StageNode] = field(default_factory=dict)

    def belongs(self, node: StageNode) -> bool:
        """Not a leftover of a deleted search of the same name."""
        return node.spec.search.uid == self.search.metadata.uid


def parsed(kind: type[T], body: Object) -> T:
    """An object as our models read it. Raises Trouble: the cluster's operator is another version."""
    body["metadata"].pop("managedFields", None)
    try:
        return kind.model_validate({"kind": kind.__name__, **body})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Trouble(
            f"{kind.__name__} {body['metadata']['name']}: {where}: {first['msg']}. The operator "
            "and this program are of different versions: install the one that the cluster has"
        ) from None


async def all_of(
    kube: Kube, kind: type[T], namespace: str | None, selector: str = ""
) -> tuple[list[T], int]:
    """Every object of a kind, and the version that this shows. Raises ApiError, Trouble."""
    found: list[T] = []
    version = 0
    async for page in kube.list(kind.__name__, namespace, selector):
        found += [parsed(kind, body) for body in page.items]
        version = page.version
    return found, version


async def read(kube: Kube, namespace: str, name: str) -> Seen:
    """Raises ApiError, Mistake where there is no such search."""
    body = await kube.get("TrainingSearch", namespace, name)
    if body is None:
        raise Mistake(await _which_there_are(kube, namespace, name))
    seen = Seen(parsed(TrainingSearch, body))
    nodes, _ = await all_of(kube, StageNode, namespace, selector(name))
    seen.nodes = {n.name: n for n in nodes if seen.belongs(n)}
    return seen


def selector(search: str) -> str:
    return f"{SEARCH_LABEL}={search}"


async def decide(kube: Kube, namespace: str, node: StageNode, approved: bool) -> None:
    """A person's word on the proposals as they stood in ``node``. Raises ApiError, Trouble where
    newer ones came meanwhile: the person has not seen them."""
    target = path("StageNode", namespace, node.name, "status")
    known = len(node.status.expansion.answers) if node.status.expansion else 0
    for _ in range(ATTEMPTS):
        patch = {
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "status": {"expansion": {"approved": approved}},
        }
        try:
            await kube.call("PATCH", target, query=MANAGER, body=patch)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
        else:
            return
        body = await kube.get("StageNode", namespace, node.name)
        if body is None:
            raise Trouble(f"{node.spec.path}: the stage was deleted meanwhile")
        node = parsed(StageNode, body)
        expansion = node.status.expansion
        if expansion is None or len(expansion.answers) != known:
            raise Trouble(f"{node.spec.path}: newer proposals came meanwhile; look at them first")
    raise Trouble(f"{node.spec.path}: changes faster than it can be written; try again")


async def suspend(
    kube: Kube, namespace: str, name: str, suspended: bool, policy: str | None
) -> TrainingSearch:
    """Sets ``spec.suspend``, and ``spec.suspendPolicy`` where one is given. Raises ApiError,
    Mistake where there is no such search."""
    spec: dict[str, Any] = {"suspend": suspended}
    if policy is not None:
        spec["suspendPolicy"] = policy
    target = path("TrainingSearch", namespace, name)
    try:
        body = await kube.call("PATCH", target, query=MANAGER, body={"spec": spec})
    except ApiError as error:
        if error.status != 404:
            raise
        raise Mistake(await _which_there_are(kube, namespace, name)) from None
    return parsed(TrainingSearch, body)


async def _which_there_are(kube: Kube, namespace: str, name: str) -> str:
    """For a search that is not there; looks into other namespaces where that is allowed."""
    try:
        everywhere = await _names(kube, None)
    except ApiError as error:
        if error.status not in (401, 403):
            raise
        everywhere = await _names(kube, namespace)
    here = sorted(n for space, n in everywhere if space == namespace)
    text = f"{name}: no such search in namespace {namespace}; there are {_listed(here)}"
    others = sorted(space for space, n in everywhere if n == name)
    return text + (f". There is one in namespace {_listed(others)}: use -n" if others else "")


async def _names(kube: Kube, namespace: str | None) -> set[tuple[str, str]]:
    return {
        (body["metadata"]["namespace"], body["metadata"]["name"])
        async for page in kube.list("TrainingSearch", namespace)
        for body in page.items
    }


def _listed(names: Iterable[str], most: int = 20) -> str:
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return (", ".join(known[:most]) or "none") + more
