"""Families of a search: where it stands, its best, its budget, its tree, its agent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, get_args

from llmzero.api.curve import PathologyKind
from llmzero.api.search import SearchStatus, TrainingSearch
from llmzero.api.stage import AnsweredBy, Outcome, Phase, Purpose, StageNode
from llmzero.search.budget import SEGMENTS, charge, segments
from llmzero.search.room import latest
from llmzero.telemetry.writer import Writer

PHASES: Final[tuple[str, ...]] = get_args(SearchStatus.model_fields["phase"].annotation)
CONDITIONS: Final = (
    "Ready",
    "Reconciling",
    "Stalled",
    "Complete",
    "Failed",
    "Suspended",
    "Blocked",
    "OneNode",
)
Labels = Mapping[str, str]


def add(writer: Writer, labels: Labels, search: TrainingSearch, nodes: Sequence[StageNode]) -> None:
    _standing(writer, labels, search, nodes)
    _best(writer, labels, search)
    _tree(writer, labels, search, nodes)
    _budget(writer, labels, search, nodes)
    _agent(writer, labels, search, nodes)


def _standing(
    writer: Writer, labels: Labels, search: TrainingSearch, nodes: Sequence[StageNode]
) -> None:
    spec, status = search.spec, search.status
    info = {
        **labels,
        "strategy": spec.strategy.name,
        "objective": spec.objective.metric,
        "direction": spec.objective.direction,
        "agent": spec.agent.endpoint if spec.agent else "",
        "persistentvolumeclaim": spec.storage.claim_name or "",
    }
    writer.gauge("llmzero_search_info", "What is searched; always 1.", info, 1)
    for phase in PHASES:
        writer.gauge(
            "llmzero_search_phase",
            "1 for the phase that the search is in.",
            {**labels, "phase": phase},
            phase == status.phase,
        )
    true = {c.type for c in status.conditions if c.status == "True"}
    for condition in CONDITIONS:
        writer.gauge(
            "llmzero_search_condition",
            "1 where the condition is True.",
            {**labels, "condition": condition},
            condition in true,
        )
    writer.gauge(
        "llmzero_search_start_timestamp_seconds",
        "When the search began.",
        labels,
        _seconds(status.started_at),
    )
    moments = [_progress(node) for node in nodes] + [_seconds(status.started_at)]
    writer.gauge(
        "llmzero_search_last_progress_timestamp_seconds",
        "When any stage last reported, began or ended.",
        labels,
        max((m for m in moments if m is not None), default=None),
    )
    room = latest(n.status.volume for n in nodes)
    if room is not None and status.phase not in ("Complete", "Failed", "Suspended"):
        claim = {**labels, "persistentvolumeclaim": spec.storage.claim_name or ""}
        for name, text, value in (
            ("capacity", "Size of the volume, as a stage last saw it.", room.capacity_bytes),
            ("available", "Room left on it, as a stage last saw it.", room.available_bytes),
        ):
            writer.gauge(f"llmzero_search_volume_{name}_bytes", text, claim, value)
    writer.gauge(
        "llmzero_search_approvals_waiting",
        "Answers of the agent that wait for a person.",
        labels,
        sum(n.status.undecided for n in nodes) if search.spec.approval == "manual" else 0,
    )


def _best(writer: Writer, labels: Labels, search: TrainingSearch) -> None:
    best = search.status.best
    if best is not None:
        split = {"split": best.split}
        writer.gauge(
            "llmzero_search_best_objective",
            "Objective of the best stage so far.",
            {**labels, **split},
            best.value,
        )
        writer.gauge(
            "llmzero_search_best_objective_standard_error",
            "Its standard error.",
            {**labels, **split},
            best.standard_error,
        )
    writer.gauge(
        "llmzero_search_target_objective",
        "The search is Complete once a promoted stage reaches it.",
        labels,
        search.spec.objective.target,
    )
    for reading in search.status.held_out:
        if reading.reading == 1:
            writer.gauge(
                "llmzero_search_held_out_objective",
                "First held-out score of the winner, the base model and the best constant path.",
                {**labels, "subject": reading.subject},
                reading.value,
            )


def _tree(
    writer: Writer, labels: Labels, search: TrainingSearch, nodes: Sequence[StageNode]
) -> None:
    train = [node for node in nodes if node.spec.purpose is Purpose.TRAIN]
    phases = Counter(node.status.phase for node in train)
    for phase in Phase:
        writer.gauge(
            "llmzero_search_stages",
            "Stages of training, by phase.",
            {**labels, "phase": phase.value},
            phases[phase],
        )
    outcomes = Counter(node.status.outcome for node in train if node.status.phase.final)
    for outcome in Outcome:
        writer.counter(
            "llmzero_search_stages_ended_total",
            "Stages of training that ended.",
            {**labels, "outcome": outcome.value},
            outcomes[outcome],
        )
    kinds = Counter(p.kind for node in train for p in node.status.pathologies)
    for kind in PathologyKind:
        writer.counter(
            "llmzero_search_pathologies_total",
            "Stages in which a pathology was found.",
            {**labels, "kind": kind.value},
            kinds[kind],
        )
    ledger = search.status.ledger
    writer.gauge("llmzero_search_tree_stages", "Stages in the tree.", labels, len(train))
    writer.gauge(
        "llmzero_search_tree_depth_stages",
        "Stages on the longest path.",
        labels,
        search.status.depth,
    )
    for name, text, value in (
        ("early_stopped", "Stages that were stopped early.", ledger.early_stopped),
        ("saved_stages", "Full stages' worth of steps not run.", ledger.saved_by_stopping),
        ("audited", "Doomed stages that ran on as an audit.", ledger.audited),
        ("false_kills", "Audited stages that ended well.", ledger.false_kills),
    ):
        writer.counter(f"llmzero_search_{name}_total", text, labels, value)


def _budget(
    writer: Writer, labels: Labels, search: TrainingSearch, nodes: Sequence[StageNode]
) -> None:
    budget, ledger = search.spec.budget, search.status.ledger
    spent, reserved = dict.fromkeys(SEGMENTS, 0.0), dict.fromkeys(SEGMENTS, 0.0)
    for node in nodes:
        phase = node.status.phase
        cost = charge(node.spec.steps, node.status.step, phase, search.spec.stage.steps)
        (spent if phase.final else reserved)[node.spec.segment] += cost
    for segment, share in segments(search.spec).items():
        by = {**labels, "segment": segment}
        unit = "in full stages' worth of steps."
        writer.gauge(
            "llmzero_search_budget_share_stages", f"Budget, {unit}", by, share * budget.stages
        )
        writer.gauge("llmzero_search_budget_spent_stages", f"Spent, {unit}", by, spent[segment])
        writer.gauge(
            "llmzero_search_budget_reserved_stages",
            f"Reserved for stages that did not end, {unit}",
            by,
            reserved[segment],
        )
    writer.gauge("llmzero_search_budget_stages", "Budget of stages.", labels, budget.stages)
    writer.gauge(
        "llmzero_search_budget_left_stages",
        "Budget of stages that is neither spent nor reserved.",
        labels,
        max(budget.stages - ledger.stages_spent - ledger.stages_reserved, 0.0),
    )
    seconds = sum(node.status.cost.device_seconds for node in nodes)
    writer.counter(
        "llmzero_search_device_seconds_total", "Seconds that devices were held.", labels, seconds
    )
    hours = budget.gpu_hours
    writer.gauge(
        "llmzero_search_budget_device_seconds",
        "Budget of device time.",
        labels,
        None if hours is None else hours * 3600,
    )
    writer.gauge("llmzero_search_budget_failures", "Failures allowed.", labels, budget.failures)
    writer.counter("llmzero_search_failures_total", "Failures counted.", labels, ledger.failures)
    for use in ("train", "eval"):
        tokens = sum(getattr(node.status.cost, f"{use}_tokens") for node in nodes)
        writer.counter(
            "llmzero_search_tokens_total", "Tokens generated.", {**labels, "use": use}, tokens
        )


def _agent(
    writer: Writer, labels: Labels, search: TrainingSearch, nodes: Sequence[StageNode]
) -> None:
    budget = search.spec.budget
    answers: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    dollars = 0.0
    for node in nodes:
        for receipt in node.status.receipts:
            answers[receipt.answered_by] += 1
            tokens["input"] += receipt.input_tokens
            tokens["output"] += receipt.output_tokens
            dollars += receipt.dollars
    for who in get_args(AnsweredBy):
        writer.counter(
            "llmzero_search_agent_answers_total",
            "Stored answers, by who gave them.",
            {**labels, "answered_by": who},
            answers[who],
        )
    for direction in ("input", "output"):
        writer.counter(
            "llmzero_search_agent_tokens_total",
            "Tokens of the stored answers.",
            {**labels, "direction": direction},
            tokens[direction],
        )
    writer.counter(
        "llmzero_search_agent_dollars_total", "Dollars of the stored answers.", labels, dollars
    )
    for name, text, limit in (
        ("tokens", "Tokens that the agent may use.", budget.agent_tokens),
        ("dollars", "Dollars that the agent may cost.", budget.agent_dollars),
    ):
        writer.gauge(f"llmzero_search_budget_agent_{name}", text, labels, limit)


def _progress(node: StageNode) -> float | None:
    status = node.status
    moments = [m for m in (status.last_heard_at, status.finished_at, status.started_at) if m]
    return max(m.timestamp() for m in moments) if moments else None


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
