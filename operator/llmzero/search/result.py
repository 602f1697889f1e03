"""The result and the cost of a stage that ended, and the evaluation that it started from."""

from llmzero.api.contract import ResultRecord
from llmzero.api.curve import Score
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Cost, Phase, Purpose, Result, StageNode
from llmzero.search.budget import charge
from llmzero.search.request import SPLITS


def result_of(node: StageNode, result: ResultRecord | None) -> Result | None:
    """The latest evaluation: the curve's, or the result record's where that is of a later step
    (a log that was cut off)."""
    split = SPLITS[node.spec.purpose]
    scores = node.status.curve.scores
    told = result is not None and result.value is not None
    if scores and not (told and result is not None and result.step > scores[-1].step):
        score = scores[-1]
        return Result(
            value=score.value,
            standard_error=score.standard_error,
            questions=score.questions,
            step=score.step,
            split=split,
        )
    if result is None or result.value is None:
        return None
    return Result(
        value=result.value,
        standard_error=result.standard_error or 0.0,
        questions=result.questions or 1,
        step=result.step,
        split=split,
    )


def started_from(node: StageNode, parent: StageNode | None) -> Score | None:
    """The parent's evaluation of the checkpoint that the stage starts from."""
    start = node.spec.start
    if parent is None or start is None or start.node != parent.name:
        return None
    scores = (s for s in parent.status.curve.scores if s.step == start.step)
    return next(scores, None)


def cost_of(
    search: TrainingSearch, node: StageNode, result: ResultRecord | None, phase: Phase
) -> Cost:
    """What the stage is charged in the end; the ledger counts the same (:func:`charge`)."""
    status, cost = node.status, node.status.cost
    ran = max(status.step, result.step if result else 0)
    trained = node.spec.steps if node.spec.purpose is Purpose.TRAIN else 0
    return cost.with_(
        stages=charge(trained, ran, phase, search.spec.stage.steps),
        device_seconds=max(cost.device_seconds, result.device_seconds if result else 0.0),
        train_tokens=max(cost.train_tokens, result.train_tokens if result else 0),
        eval_tokens=max(cost.eval_tokens, result.eval_tokens if result else 0),
    )
