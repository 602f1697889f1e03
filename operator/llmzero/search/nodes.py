"""Making StageNodes: everything that decides what a stage computes is filled in here."""

import hashlib
from collections.abc import Mapping
from typing import Literal

from llmzero.api.base import API_VERSION, ObjectMeta, OwnerReference
from llmzero.api.names import child_path, stage_name
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import SettingsMap
from llmzero.api.stage import (
    Change,
    CheckpointRef,
    Provenance,
    Purpose,
    SearchRef,
    StageNode,
    StageSpec,
)

SEARCH_LABEL = "llmzero.dev/search"
PURPOSE_LABEL = "llmzero.dev/purpose"
HELD_OUT = "held-out"
PROMOTE = "promote"
BASE_PATH = "base"

Segment = Literal["screen", "tree", "finish", "promote"]


def rollout_seed(search_seed: int, parent_path: str | None, replica: int) -> int:
    """Seed of the completions: equal for siblings (paired comparison), another for a replica.

    Source: reference trl-and-the-trainer, "Data order". 31 bits, stable over processes.
    """
    text = f"{search_seed}/{parent_path or ''}/{replica}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF


def unit_draw(*parts: object) -> float:
    """A draw from [0, 1) that is a function of ``parts`` alone."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def changes(old: Mapping[str, object], new: SettingsMap) -> list[Change]:
    """What differs between two settings, in the order of ``new``."""
    found = []
    for name, value in new.items():
        before = old.get(name)
        if before != value or isinstance(before, bool) != isinstance(value, bool):
            found.append(Change.model_validate({"name": name, "old": before, "new": value}))
    return found


def in_order(search: TrainingSearch, settings: SettingsMap) -> SettingsMap:
    """As declared, then what a schedule sets beside that by name: an API server returns maps sorted,
    and a stage must not depend on whether its parent was read back."""
    declared = [p.name for p in search.spec.parameters if p.name in settings]
    return {name: settings[name] for name in [*declared, *sorted(set(settings) - set(declared))]}


def train_node(
    search: TrainingSearch,
    *,
    parent: StageNode | None,
    number: int,
    steps: int,
    parameters: SettingsMap,
    provenance: Provenance,
    segment: Segment,
    start_step: int | None = None,
    carry_optimizer: bool = False,
    carry_reference: bool = False,
    replica: int = 0,
) -> StageNode:
    """Child ``number`` of ``parent`` (None: the base model), from its checkpoint ``start_step``.

    ``changes`` of a child of the base model are relative to the declared initial values.
    """
    spec = search.spec
    parameters = in_order(search, parameters)
    path = child_path(parent.spec.path if parent else None, number)
    if parent is None:
        start, offset, halvings = None, 0, 0
        before: Mapping[str, object] = {p.name: p.clip(p.initial) for p in spec.parameters}
    else:
        assert start_step is not None
        start = CheckpointRef(node=parent.name, step=start_step)
        offset = parent.spec.data_offset + start_step * spec.stage.prompts_per_step
        halvings = parent.status.micro_batch_halvings
        before = parent.spec.parameters
    stage = StageSpec(
        search=SearchRef(name=search.name, uid=search.metadata.uid),
        purpose=Purpose.TRAIN,
        path=path,
        parent=parent.name if parent else None,
        start=start,
        steps=steps,
        parameters=parameters,
        changes=changes(before, parameters),
        carry_optimizer=carry_optimizer,
        carry_reference=carry_reference,
        micro_batch_halvings=halvings,
        data_offset=offset,
        rollout_seed=rollout_seed(
            spec.strategy.seed, parent.spec.path if parent else None, replica
        ),
        provenance=provenance,
        segment=segment,
    )
    return StageNode(metadata=_metadata(search, path, "", Purpose.TRAIN), spec=stage)


def evaluation_node(
    search: TrainingSearch,
    subject: StageNode | None,
    step: int,
    purpose: Literal[Purpose.PROMOTE, Purpose.HELD_OUT],
    reading: int = 1,
) -> StageNode:
    """Scores the checkpoint ``step`` of ``subject`` (None: the base model) on another split.

    ``reading`` 2 and up: the held-out split has been read before.
    """
    held_out = purpose is Purpose.HELD_OUT
    suffix = HELD_OUT if held_out else PROMOTE
    if reading > 1:
        suffix = f"{suffix}-{reading}"
    path = subject.spec.path if subject else BASE_PATH
    why = "Scored once, after the choice." if held_out else "Candidate for the winner."
    stage = StageSpec(
        search=SearchRef(name=search.name, uid=search.metadata.uid),
        purpose=purpose,
        path=path,
        parent=subject.name if subject else None,
        start=CheckpointRef(node=subject.name, step=step) if subject else None,
        steps=0,
        parameters=dict(subject.spec.parameters) if subject else {},
        provenance=Provenance(proposer=HELD_OUT if held_out else PROMOTE, rationale=why),
        segment="promote",
        rollout_seed=rollout_seed(search.spec.strategy.seed, None, 0),
    )
    return StageNode(metadata=_metadata(search, path, suffix, purpose), spec=stage)


def _metadata(search: TrainingSearch, path: str, suffix: str, purpose: Purpose) -> ObjectMeta:
    owner = OwnerReference(
        api_version=API_VERSION,
        kind=search.kind,
        name=search.name,
        uid=search.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )
    return ObjectMeta(
        name=stage_name(search.name, search.metadata.uid, path, suffix),
        namespace=search.metadata.namespace,
        labels={SEARCH_LABEL: search.name, PURPOSE_LABEL: purpose.value},
        owner_references=[owner],
    )
