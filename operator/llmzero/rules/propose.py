"""The embedded proposer: the pathology table, then exploration. Deterministic, no network."""

from collections.abc import Iterator
from dataclasses import replace

from llmzero.api.curve import PathologyKind
from llmzero.api.parameters import Parameter, Role
from llmzero.api.proposals import (
    MAX_CHANGES,
    Diagnosis,
    Infeasible,
    Proposal,
    ProposalAnswer,
    ProposalRequest,
    StageView,
)
from llmzero.api.spec import SettingsMap
from llmzero.rules.bounds import beyond_bounds
from llmzero.rules.branching import HARMS, branch
from llmzero.rules.exploring import explore
from llmzero.rules.findings import Finding, Remedy
from llmzero.rules.matching import matched
from llmzero.rules.moves import Position, is_number
from llmzero.rules.remedies import remedies
from llmzero.rules.space import hopeless, known

EXPLORE = "explore"
MATCH = "easier than the evaluation"


def propose(request: ProposalRequest) -> ProposalAnswer:
    """Diagnosis, checkpoint to branch from, and 1..count transitions in order of preference.

    Pure and deterministic for one request. Every proposal lies in the space, changes one to four
    parameters by bounded steps, alters what is computed, and is not within 0.02 of the stage, of
    one of its children or of another proposal. Where nothing like that is left in reach, the only
    proposal is to change nothing.
    """
    request = _whole(request)
    stage = request.path[-1]
    space = {p.name: p for p in request.parameters}
    position = Position(space, dict(stage.parameters), request.fixed)
    chosen: list[Proposal] = []
    taken = [dict(stage.parameters), *(dict(c.parameters) for c in request.children)]
    for kind, remedy in _candidates(request, position, stage):
        if len(chosen) == request.count:
            break
        changes = position.effective(remedy.changes)
        if changes and _acceptable(request, position, changes, remedy.justification, taken):
            chosen.append(_proposal(position, changes, kind, remedy))
            taken.append({**stage.parameters, **changes})
    if not chosen:
        chosen = [Proposal(changes={}, rationale="nothing new is left within reach of this stage")]
    return ProposalAnswer(
        diagnosis=[
            Diagnosis(kind=p.kind, severity=p.severity, confidence=0.7, evidence=p.evidence)
            for p in stage.pathologies[:16]
        ],
        branch_from=branch(request).with_(node=stage.node if request.mode == "steer" else ""),
        proposals=chosen,
    )


def _proposal(position: Position, changes: SettingsMap, kind: str, remedy: Remedy) -> Proposal:
    # A KL term that is entered here has no older reference than the parent.
    held = (position.value("beta") or 0.0) > 0
    return Proposal(
        changes=changes,
        carry_optimizer=not remedy.reset_optimizer and "optim" not in changes,
        carry_reference=not remedy.reset_reference and held,
        rationale=f"{kind}: {remedy.reason}"[:1024],
        expected=remedy.expected,
        confidence=0.3 if kind == EXPLORE else 0.5,
        justification=remedy.justification,
    )


def _candidates(
    request: ProposalRequest, position: Position, stage: StageView
) -> Iterator[tuple[str, Remedy]]:
    """What matches training to the evaluation, where nothing is broken; the two gravest findings
    treated together, then remedies of each finding in turn (first choices first, what is only
    reported last), then exploration."""
    findings = [Finding(p, stage, position) for p in stage.pathologies]
    findings = sorted(findings, key=lambda f: (not f.acts, _follows(f, findings)))
    match = matched(stage, position, request.evaluation_temperature)
    if match is not None and not any(f.pathology.kind in HARMS for f in findings):
        yield MATCH, match
    both = _both(findings)
    if both is not None:
        yield both
    rounds = [(f.pathology, remedies(f)) for f in findings]
    while rounds:
        still = []
        for pathology, source in rounds:
            remedy = next(source, None)
            if remedy is not None:
                reason = f"{remedy.reason}. {pathology.evidence}"
                yield str(pathology.kind), replace(remedy, reason=reason)
                still.append((pathology, source))
        rounds = still
    if not _out_of_room(request, stage):
        for remedy in explore(request, position):
            yield EXPLORE, remedy


def _out_of_room(request: ProposalRequest, stage: StageView) -> bool:
    """Whether the stage needs as much memory as one that ran out of it: whatever does not shrink
    capacity is then known not to run."""
    sizes = [p for p in request.parameters if p.role is Role.CAPACITY]
    short = [i for i in request.infeasible if i.outcome == "OutOfMemory"]
    return bool(sizes) and hopeless(sizes, stage.parameters, short)


def _both(findings: list[Finding]) -> tuple[str, Remedy] | None:
    """First choices for the two gravest findings in one transition; None where they pull one
    parameter in two directions, where the second adds nothing, or where it is memory."""
    acting = [(f, next(remedies(f), None)) for f in findings if f.acts][:2]
    if len(acting) < 2:
        return None
    (first, one), (second, other) = acting
    if one is None or other is None or one.justification or other.justification:
        return None
    if _follows(second, [first]):
        return None
    changes = {**other.changes, **one.changes}
    settings = first.p.settings
    for name in one.changes.keys() & other.changes.keys():
        ways = [_rises(first.p.space[name], settings[name], r.changes[name]) for r in (one, other)]
        if ways[0] != ways[1]:
            return None
    if len(changes) > MAX_CHANGES or changes.keys() == one.changes.keys():
        return None
    merged = Remedy(
        changes,
        f"{one.reason}; {other.reason}. {first.pathology.evidence}. {second.pathology.evidence}",
        {**other.expected, **one.expected},
        reset_optimizer=one.reset_optimizer or other.reset_optimizer,
        reset_reference=one.reset_reference or other.reset_reference,
    )
    return f"{first.pathology.kind} and {second.pathology.kind}", merged


def _follows(finding: Finding, others: list[Finding]) -> bool:
    """Whether it follows from another: answers that are cut off fail alike. With room for them the
    groups come alive by themselves, and larger ones would cost twice as much."""
    return finding.pathology.kind is PathologyKind.ZERO_VARIANCE_GROUPS and any(
        f.pathology.kind is PathologyKind.TRUNCATION and f.acts for f in others
    )


def _rises(parameter: Parameter, old: object, new: object) -> bool:
    return parameter.to_unit(new) > parameter.to_unit(old)  # type: ignore[arg-type]


def _acceptable(
    request: ProposalRequest,
    position: Position,
    changes: SettingsMap,
    justification: str,
    taken: list[SettingsMap],
) -> bool:
    if len(changes) > MAX_CHANGES:
        return False
    child = {**position.settings, **changes}
    for name, new in changes.items():
        parameter, old = position.space[name], position.settings[name]
        if parameter.problem_with(new) is not None or beyond_bounds(parameter, old, new):
            return False
        numbers = is_number(old) and is_number(new)
        falls = float(new) < float(old) if numbers else _rises(parameter, new, old)
        if parameter.role is Role.CAPACITY and falls and not justification:
            return False
    if known(request.parameters, child, taken):
        return False
    return not hopeless(request.parameters, child, request.infeasible)


def _whole(request: ProposalRequest) -> ProposalRequest:
    """The request with every setting named and inside the space: a caller over the network may
    have left some out, or have changed the space since."""

    def settings(given: SettingsMap) -> SettingsMap:
        found = {p.name: given.get(p.name, p.initial) for p in request.parameters}
        return {p.name: p.clip(found[p.name]) for p in request.parameters}

    def stage(view: StageView) -> StageView:
        return view.with_(parameters=settings(view.parameters))

    return request.with_(
        path=[*request.path[:-1], stage(request.path[-1])],
        children=[stage(c) for c in request.children],
        best=[stage(b) for b in request.best],
        infeasible=[
            Infeasible(parameters=settings(i.parameters), outcome=i.outcome)
            for i in request.infeasible
        ],
    )
