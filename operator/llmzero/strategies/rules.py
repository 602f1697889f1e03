"""The embedded proposer: the pathology table, then exploration. Deterministic, no network."""

from collections.abc import Iterator
from random import Random

from llmzero.api.parameters import Role, distance
from llmzero.api.proposals import (
    MAX_CHANGES,
    BranchFrom,
    Diagnosis,
    Proposal,
    ProposalAnswer,
    ProposalRequest,
    StageView,
)
from llmzero.api.spec import SettingsMap
from llmzero.strategies.bounds import beyond_bounds
from llmzero.strategies.moves import Position, is_number, random_step, together
from llmzero.strategies.remedies import BRANCH_EARLIER, Remedy, remedies

DUPLICATE = 0.02
"""Two settings closer than this in every dimension (unit coordinates) count as one [ours]."""
RANDOM_TRIES = 64


def propose(request: ProposalRequest) -> ProposalAnswer:
    """Diagnosis, checkpoint to branch from, and 1..count transitions in order of preference.

    Pure and deterministic for one request. Every proposal lies in the space, changes at most
    four parameters by bounded steps, and is not within 0.02 of a sibling or of another proposal
    where the space has any other point left.
    """
    stage = request.path[-1]
    position = Position(
        {p.name: p for p in request.parameters}, dict(stage.parameters), request.fixed
    )
    chosen: list[Proposal] = []
    taken = [dict(c.parameters) for c in request.children]
    for kind, remedy in _candidates(request, position, stage):
        if len(chosen) == request.count:
            break
        if not _acceptable(request, position, remedy, taken):
            continue
        chosen.append(
            Proposal(
                changes=remedy.changes,
                rationale=f"{kind}: {remedy.reason}"[:1024],
                expected=remedy.expected,
                confidence=0.5 if kind != "explore" else 0.3,
                justification=remedy.justification,
            )
        )
        taken.append({**stage.parameters, **remedy.changes})
    if not chosen:  # a space with nothing new in reach: going on unchanged is all that is left
        chosen = [Proposal(changes={}, rationale="nothing new is left within reach of this stage")]
    return ProposalAnswer(
        diagnosis=[
            Diagnosis(kind=p.kind, severity=p.severity, confidence=0.7, evidence=p.evidence)
            for p in stage.pathologies[:16]
        ],
        branch_from=branch(request),
        proposals=chosen,
    )


def branch(request: ProposalRequest) -> BranchFrom:
    """The last checkpoint, or the best-scored one before a harm that the stage shows."""
    stage = request.path[-1]
    steps = sorted(stage.checkpoints) or [stage.steps]
    last = steps[-1]
    harms = [p.kind for p in stage.pathologies if p.kind in BRANCH_EARLIER]
    if not harms or len(steps) < 2:
        return BranchFrom(step=last, reason="the last checkpoint")
    sign = 1.0 if request.direction == "maximize" else -1.0
    scored = {s.step: s for s in stage.scores if s.step in steps}
    if last not in scored:
        return BranchFrom(step=last, reason="the last checkpoint")
    best = max(scored.values(), key=lambda s: (sign * s.value, s.step))
    if best.step == last or sign * (best.value - scored[last].value) <= 0:
        return BranchFrom(step=last, reason="the last checkpoint is still the best-scored one")
    return BranchFrom(
        step=best.step,
        reason=f"{harms[0]}: the checkpoint of step {best.step} scored {best.value:.3f} +- "
        f"{best.standard_error:.3f}, the last {scored[last].value:.3f}",
    )


def _candidates(
    request: ProposalRequest, position: Position, stage: StageView
) -> Iterator[tuple[str, Remedy]]:
    """Remedies of each finding in turn (first choices first), then exploration, then chance."""
    rounds = [(str(p.kind), p.evidence, remedies(p, position, stage)) for p in stage.pathologies]
    while rounds:
        still = []
        for kind, evidence, source in rounds:
            remedy = next(source, None)
            if remedy is not None:
                yield (
                    kind,
                    Remedy(
                        remedy.changes,
                        f"{remedy.reason}. {evidence}",
                        remedy.expected,
                        remedy.justification,
                    ),
                )
                still.append((kind, evidence, source))
        rounds = still
    for remedy in explore(request, position, stage):
        yield "explore", remedy
    random = Random(f"{request.seed}:{stage.path}")
    for _ in range(RANDOM_TRIES):
        draws = [random.uniform(-1, 1) for _ in position.space]
        yield "explore", Remedy(random_step(position, draws), "a random step nearby")


def explore(request: ProposalRequest, position: Position, stage: StageView) -> Iterator[Remedy]:
    """Moves for a healthy stage: regularization swings, capacity grows with what it feeds.

    A last swing that paid goes on, one that did not is turned back (the prior of arXiv
    2606.18388: regularization oscillates, capacity accumulates). Near the end of a path, anneal.
    """
    yield from _swing(request, position, stage)
    anneal = Remedy(
        together(position.scale("learning_rate", 0.5), position.shift("temperature", -0.1)),
        "nothing is wrong: anneal, with smaller steps on narrower samples",
    )
    push = Remedy(
        together(position.scale("learning_rate", 1.8), position.scale("beta", 1.5)),
        "nothing is wrong: larger steps, held by the KL term where there is one",
    )
    widen = Remedy(
        together(position.shift("temperature", 0.15), position.scale("learning_rate", 0.7)),
        "nothing is wrong: wider samples with smaller steps",
    )
    feed = Remedy(
        together(position.grow("num_generations"), position.scale("learning_rate", 1.3)),
        "nothing is wrong: larger groups carry larger steps",
    )
    order = (
        [anneal, feed, widen, push] if request.budget.depth <= 2 else [push, anneal, feed, widen]
    )
    turn = Random(f"{request.seed}:{stage.path}:order").randrange(2)
    if turn and request.budget.depth > 2:
        order = [anneal, push, widen, feed]
    yield from (r for r in order if r.changes)


def _swing(request: ProposalRequest, position: Position, stage: StageView) -> Iterator[Remedy]:
    """Continue or turn back the regularization changes that made this stage."""
    if len(request.path) < 2 or stage.value is None or request.path[-2].value is None:
        return
    sign = 1.0 if request.direction == "maximize" else -1.0
    gain = sign * (stage.value - request.path[-2].value)
    paid = gain > (stage.standard_error or 0.0)
    changes: SettingsMap = {}
    for name, (old, new) in stage.changes.items():
        parameter = position.space.get(name)
        if parameter is None or parameter.role is Role.CAPACITY or old is None:
            continue
        if not is_number(old) or not is_number(new) or float(old) <= 0 or float(new) <= 0:
            continue
        ratio = float(new) / float(old)
        step = position.scale(name, ratio**0.5 if paid else 1 / ratio**0.7)
        if name == "temperature":
            delta = float(new) - float(old)
            step = position.shift(name, 0.7 * delta if paid else -0.7 * delta)
        changes.update(together(step))
    if changes:
        yield Remedy(
            changes,
            f"the last change {'paid' if paid else 'did not pay'} ({gain:+.3f}): "
            f"{'a smaller step the same way' if paid else 'most of it back'}",
        )


def _acceptable(
    request: ProposalRequest, position: Position, remedy: Remedy, taken: list[SettingsMap]
) -> bool:
    changes = remedy.changes
    if not 0 < len(changes) <= MAX_CHANGES:
        return False
    child = {**position.settings, **changes}
    for name, new in changes.items():
        parameter = position.space[name]
        old = position.settings[name]
        if parameter.problem_with(new) is not None or beyond_bounds(parameter, old, new):
            return False
        shrinks = is_number(old) and is_number(new) and float(new) < float(old)
        if parameter.role is Role.CAPACITY and shrinks and not remedy.justification:
            return False
    near = [*taken, *(i.parameters for i in request.infeasible)]
    if any(distance(request.parameters, child, other) <= DUPLICATE for other in near):
        return False
    sizes = [p for p in request.parameters if p.role is Role.CAPACITY]
    return not any(
        i.outcome == "OutOfMemory"
        and sizes
        and all(p.to_unit(child[p.name]) >= p.to_unit(i.parameters[p.name]) for p in sizes)
        for i in request.infeasible
    )
