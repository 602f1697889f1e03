"""From a StageNode to what its trainer is asked: the same request for a pod and a subprocess."""

from typing import Any, Literal

from llmzero.api.catalog import completion_length
from llmzero.api.contract import StageRequest
from llmzero.api.parameters import initial_point
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import SearchSpec
from llmzero.api.stage import Purpose, StageNode
from llmzero.api.task import reward_names

TASK = "task."
REWARD = "rewards."
SCHEDULE = "constant_with_warmup"
"""Our default: TRL's linear decay would end at zero within every stage."""

SPLITS: dict[Purpose, Literal["search", "promote", "heldOut"]] = {
    Purpose.TRAIN: "search",
    Purpose.PROMOTE: "promote",
    Purpose.HELD_OUT: "heldOut",
}
"""The split that a stage of each purpose is scored on."""


def grpo_settings(spec: SearchSpec, settings: dict[str, Any]) -> dict[str, Any]:
    """GRPOConfig fields of a stage: our defaults, then ``fixed``, then the searched values."""
    searched = {k: v for k, v in settings.items() if not k.startswith((TASK, REWARD))}
    length = completion_length(spec.model.builtin)
    defaults = {"lr_scheduler_type": SCHEDULE, "max_completion_length": length}
    return {**defaults, **spec.fixed, **searched}


def evaluation_length(spec: SearchSpec) -> int:
    """Tokens of an evaluated answer: as given, else the longest that a stage can train with."""
    if spec.evaluation.max_completion_length is not None:
        return spec.evaluation.max_completion_length
    for parameter in spec.parameters:
        if parameter.name == "max_completion_length":
            return max(int(c) for c in parameter.choices or (parameter.max,) if c is not None)
    return int(grpo_settings(spec, {})["max_completion_length"])


def stage_request(search: TrainingSearch, node: StageNode) -> StageRequest:
    """What the trainer of ``node`` is asked to compute; a pure function of the two objects.

    Searched names with the prefix ``task.`` become options of the train split alone (every stage
    is scored on the same questions), ``rewards.`` become weights.
    """
    spec, stage = search.spec, node.spec
    # The base model, when it is scored, has no settings of its own.
    settings = {**initial_point(spec.parameters), **stage.parameters}
    rewards = [
        reward.with_(weight=float(settings.get(REWARD + name, reward.weight)))
        for reward, name in zip(spec.task.rewards, reward_names(spec.task.rewards), strict=True)
    ]
    training = stage.purpose is Purpose.TRAIN
    return StageRequest(
        mode="train" if training else "evaluate",
        search_uid=search.metadata.uid,
        node=node.name,
        start_node=stage.start.node if stage.start else None,
        start_step=stage.start.step if stage.start else None,
        model=spec.model,
        task=spec.task.with_(rewards=rewards),
        train_options={k.removeprefix(TASK): v for k, v in settings.items() if k.startswith(TASK)},
        objective_metric=spec.objective.metric,
        grpo=grpo_settings(spec, settings),
        evaluation=spec.evaluation.with_(max_completion_length=evaluation_length(spec)),
        split=SPLITS[stage.purpose],
        steps=stage.steps,
        prompts_per_step=spec.stage.prompts_per_step,
        eval_every=spec.stage.eval_every,
        checkpoint_every=spec.stage.checkpoint_every,
        carry_optimizer=stage.carry_optimizer,
        carry_reference=stage.carry_reference,
        micro_batch_halvings=stage.micro_batch_halvings,
        order_seed=spec.strategy.seed,
        data_offset=stage.data_offset,
        rollout_seed=stage.rollout_seed,
    )
