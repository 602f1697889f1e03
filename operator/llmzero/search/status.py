"""The status of a search: what stands, in numbers, conditions and plain words."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from llmzero.api.base import Condition
from llmzero.api.search import Best, Counts, Ledger, SearchStatus, TrainingSearch
from llmzero.api.stage import Phase
from llmzero.search.promotion import Evaluations, best_of, candidates, readings
from llmzero.search.rows import PHASES, Kind
from llmzero.search.rows import columns as records
from llmzero.search.stopping import false_kill, track
from llmzero.search.tree import Tree
from llmzero.search.values import Values

SearchPhase = Literal[
    "Pending", "Running", "Promoting", "Confirming", "Suspended", "Complete", "Failed"
]
ENDED = ("Complete", "Failed")
_COUNTED = {
    Phase.PENDING: "pending",
    Phase.QUEUED: "queued",
    Phase.RUNNING: "running",
    Phase.STOPPING: "running",
    Phase.SUCCEEDED: "succeeded",
    Phase.STOPPED: "stopped",
    Phase.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where the plan found the search to stand."""

    phase: SearchPhase
    reason: str
    """One CamelCase word for programs."""
    message: str
    """Where it stands and what a person can do, in words."""


def count_failures(tree: Tree) -> int:
    """Failed stages that ``budget.failures`` counts; never falls as the search goes on.

    Out of memory and divergence are results of the settings and charged as such. They count
    only before the first stage that succeeds, while the fault may lie with the manifest.
    """
    sequence = tree.columns["sequence"]
    succeeded = sequence[tree.of_kind(Kind.VALUED)]
    first = int(succeeded.min()) if len(succeeded) else np.inf
    early = tree.of_kind(Kind.FAILED) & (sequence < first)
    return int((tree.of_kind(Kind.VOID) | early).sum())


def make_status(
    search: TrainingSearch,
    tree: Tree,
    values: Values,
    evaluations: Evaluations,
    verdict: Verdict,
    now: datetime,
) -> SearchStatus:
    """The whole status; what stands still since the stored one keeps its times."""
    old = search.status
    phase = verdict.phase
    return SearchStatus(
        observed_generation=search.metadata.generation,
        phase=phase,
        message=verdict.message[:2048],
        started_at=old.started_at or now,
        finished_at=(old.finished_at or now) if phase in ENDED else None,
        counts=_counts(tree),
        ledger=_ledger(tree, values, evaluations),
        depth=_depth(tree),
        best=_best(tree, values, evaluations, phase),
        held_out=readings(tree, values, evaluations),
        conditions=_conditions(search, verdict, now),
    )


def _depth(tree: Tree) -> int:
    ends = tree.columns["end"][1:]
    return math.ceil(int(ends.max()) / tree.stage_steps) if len(ends) else 0


def _counts(tree: Tree) -> Counts:
    found = dict.fromkeys(Counts.model_fields, 0)
    phases = np.bincount(tree.columns["phase"][1:], minlength=len(PHASES))
    for phase, count in zip(PHASES, phases.tolist(), strict=True):
        found[_COUNTED[phase]] += count
    for row in tree.orphans:
        found[_COUNTED[row.node.status.phase]] += 1
    return Counts(**found)


def _ledger(tree: Tree, values: Values, evaluations: Evaluations) -> Ledger:
    orphans = records(len(tree.frame.capacity), tree.orphans)
    columns = np.concatenate([tree.columns[1:], orphans])
    costs = [node.status.cost for node in evaluations.nodes]
    ran_on = np.flatnonzero(tree.columns["audited"] & tree.of_kind(Kind.VALUED)).tolist()
    best = values.leader if ran_on else None
    curve = track(tree, best) if best is not None else []
    seconds = float(columns["device_seconds"].sum()) + sum(c.device_seconds for c in costs)
    eval_tokens = int(columns["eval_tokens"].sum()) + sum(c.eval_tokens for c in costs)
    return Ledger(
        stages_spent=round(tree.account.spent, 6),
        stages_reserved=round(tree.account.reserved, 6),
        gpu_hours=round(seconds / 3600, 6),
        train_tokens=int(columns["train_tokens"].sum()),
        eval_tokens=eval_tokens,
        agent_tokens=int(columns["agent_tokens"].sum()),
        agent_dollars=round(float(columns["agent_dollars"].sum()), 6),
        failures=count_failures(tree),
        saved_by_stopping=round(float(columns["saved"].sum()), 6),
        early_stopped=int((columns["saved"] > 0).sum()),
        audited=int(columns["audited"].sum()),
        vetoed=int(columns["vetoed"].sum()),
        false_kills=sum(false_kill(tree, i, curve) for i in ran_on),
    )


def _best(tree: Tree, values: Values, evaluations: Evaluations, phase: SearchPhase) -> Best | None:
    """The leader on the search split; from the choice on, the winner on the promote split."""
    if phase in ("Confirming", "Complete"):
        winner = best_of(tree, evaluations, candidates(tree, values, evaluations))
        node = evaluations.promote[tree.rows[winner].name] if winner is not None else None
        if node is not None and node.status.result is not None:
            result = node.status.result
            return Best(
                node=node.spec.parent or "",
                path=node.spec.path,
                value=result.value,
                standard_error=result.standard_error,
                split="promote",
            )
    index = values.leader
    if index is None:
        return None
    row = tree.rows[index]
    # Chosen by the filtered value, told by its own evaluation: that is what anyone can look up, and
    # the filter's variance takes readings of the same questions for independent.
    own = row.node.status.result
    if own is None:
        return None
    return Best(node=row.name, path=row.path, value=own.value, standard_error=own.standard_error)


def _conditions(search: TrainingSearch, verdict: Verdict, now: datetime) -> list[Condition]:
    """kstatus conditions. Ready means that the spec is accepted and worked on: a search that
    runs for a day is Ready, so that Flux and Argo CD do not wait for it."""
    failed = verdict.phase == "Failed"
    stands = {
        "Ready": not failed,
        "Reconciling": False,
        "Stalled": failed,
        "Complete": verdict.phase == "Complete",
        "Failed": failed,
        "Suspended": verdict.phase == "Suspended",
    }
    return [_condition(search, kind, flag, verdict, now) for kind, flag in stands.items()]


def _condition(
    search: TrainingSearch, kind: str, flag: bool, verdict: Verdict, now: datetime
) -> Condition:
    status: Literal["True", "False"] = "True" if flag else "False"
    old = next((c for c in search.status.conditions if c.type == kind), None)
    kept = old is not None and old.status == status
    return Condition(
        type=kind,
        status=status,
        reason=verdict.reason,
        message=verdict.message[:2048],
        observed_generation=search.metadata.generation,
        last_transition_time=old.last_transition_time if old is not None and kept else now,
    )
