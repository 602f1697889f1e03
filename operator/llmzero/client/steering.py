"""A question of the skill-based agent, narrowed to one of the stages that it may start from."""

from collections.abc import Iterator

from llmzero.api.curve import Curve
from llmzero.api.proposals import BranchFrom, ProposalAnswer, ProposalRequest, StageView
from llmzero.search.nodes import BASE_PATH


def focus(request: ProposalRequest, start: BranchFrom) -> ProposalRequest | None:
    """The same question about the stage that ``start`` names; None where there is none.

    What is no question to an agent that steers is about the last stage of its path anyway.
    """
    if request.mode == "expand":
        return request
    if start.node == BASE_PATH:
        stage: StageView | None = _base(request)
    elif not start.node:
        stage = request.path[-1]
    else:
        stage = next((s for s in request.stages if s.node == start.node), None)
    if stage is None:
        return None
    above = stage.path
    children = [s for s in request.stages if s.path.rpartition("-")[0] == above]
    return request.with_(path=[stage], curve=stage.curve or Curve(), children=children, siblings=[])


def running(request: ProposalRequest) -> list[StageView]:
    """Stages that have not ended."""
    return [s for s in request.stages if s.outcome is None]


def steering_problems(request: ProposalRequest, answer: ProposalAnswer) -> Iterator[str]:
    """What is wrong with an answer beside its proposals."""
    if request.mode == "expand":
        if not answer.proposals:
            yield "proposals: found none, at least one is needed"
        if answer.stop or answer.finish or any(p.branch_from for p in answer.proposals):
            yield "stop, finish, proposals.branchFrom: only an agent that steers may give them"
        return
    names = {s.node for s in running(request)}
    for index, order in enumerate(answer.stop):
        if order.node not in names:
            yield f"stop[{index}].node: found {order.node[:63]!r}, which is no running stage"
    if answer.finish and answer.proposals:
        yield "finish: starts nothing more, but there are proposals"
    if not (answer.proposals or answer.finish or names):
        yield "proposals: nothing runs: start at least one stage, or finish"


def _base(request: ProposalRequest) -> StageView:
    """The base model as a stage: no steps, the declared initial values."""
    return StageView(
        node=BASE_PATH,
        path="",
        depth=1,
        parameters={p.name: p.clip(p.initial) for p in request.parameters},
        steps=0,
        checkpoints=[0],
    )
