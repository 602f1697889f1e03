"""What a section of the spec can have wrong although each of its values is of the right kind."""

import re
from collections.abc import Iterator, Sequence

from llmzero.api.catalog import (
    BUILTIN_MODELS,
    DEFAULT_DIGITS,
    DIGITS,
    MODULE_FUNCTION,
    REWARDS,
    TASKS,
    digit_pairs,
)
from llmzero.api.names import SEARCH_NAME_LIMIT
from llmzero.api.spec import DNS_LABEL, FAILURE_FLOOR
from llmzero.api.task import Reward, Task, reward_names
from llmzero.api.validation.parts import Parts
from llmzero.api.validation.problem import Problem, hint, one_of, show

OWN_FUNCTION = " or module:function"
KEPT_CHECKPOINTS = 64
"""Checkpoints of one stage that its status can list."""
QUANTITY = re.compile(r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$")
DNS_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")


def section_problems(parts: Parts) -> Iterator[Problem]:
    if parts.name is not None:
        yield from _name(parts.name)
    yield from _model(parts)
    if parts.task is not None:
        yield from _task(parts.task, parts)
        yield from _rewards(parts.task.rewards)
    yield from _objective(parts)
    yield from _stage(parts)
    yield from _evaluation(parts)
    yield from _budget(parts)
    yield from _cluster(parts)


def _name(name: str) -> Iterator[Problem]:
    if len(name) > SEARCH_NAME_LIMIT:
        allowed = f"at most {SEARCH_NAME_LIMIT} fit, so that the names of its stages fit into 63"
        yield Problem("metadata.name", f"{len(name)} characters", allowed)
    if not re.match(DNS_LABEL, name):
        allowed = "lower-case letters, digits and dashes are allowed, a letter or digit at each end"
        yield Problem("metadata.name", show(name), allowed)


def _model(parts: Parts) -> Iterator[Problem]:
    model = parts.model
    if model is None or model.builtin is None:
        return
    if model.builtin not in BUILTIN_MODELS:
        yield one_of("spec.model.builtin", model.builtin, BUILTIN_MODELS)
    elif parts.task is not None and parts.task.name in TASKS and parts.task.name != model.builtin:
        words = f"it is made for the task of its name and can hardly answer {parts.task.name}"
        yield Problem("spec.model.builtin", show(model.builtin), words, warning=True)
    if model.revision is not None:
        words = "a built-in model has no revision: leave it out"
        yield Problem("spec.model.revision", show(model.revision), words)


def _task(task: Task, parts: Parts) -> Iterator[Problem]:
    known = TASKS.get(task.name)
    if known is None:
        if not MODULE_FUNCTION.match(task.name):
            yield one_of("spec.task.name", task.name, TASKS, OWN_FUNCTION)
        return
    for key in known.needed:
        if not task.options.get(key):
            words = f"task {task.name} needs it"
            yield Problem(f"spec.task.options.{key}", show(task.options.get(key, "nothing")), words)
    for key, value in task.options.items():
        if known.options is not None and key not in known.options:
            words = f"task {task.name} knows {', '.join(known.options)}{hint(key, known.options)}"
            yield Problem(f"spec.task.options.{key}", show(value), words)
    for key in known.shares:
        value = task.options.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            yield Problem(f"spec.task.options.{key}", show(value), "a number from 0 to 1 is needed")
    scorer = task.options.get("scorer")
    if known.options is not None and "scorer" in known.options and scorer is not None:
        names = [n for n in REWARDS if n != "task"]
        if scorer not in names and not MODULE_FUNCTION.match(str(scorer)):
            yield one_of("spec.task.options.scorer", str(scorer), names, OWN_FUNCTION)
    if task.name == "scratchpad-addition":
        yield from _additions(task, parts)


def _additions(task: Task, parts: Parts) -> Iterator[Problem]:
    digits = task.options.get("digits", DEFAULT_DIGITS)
    if isinstance(digits, bool) or digits not in DIGITS:
        words = f"a whole number from {DIGITS[0]} to {DIGITS[-1]} is needed"
        yield Problem("spec.task.options.digits", show(digits), words)
        return
    splits, there = task.splits, digit_pairs(digits)
    scored = splits.held_out + splits.promote + splits.search
    words = f"there are {there} questions of {digits} digits"
    if scored >= there:
        found = f"heldOut + promote + search = {scored}"
        yield Problem("spec.task.splits", found, f"{words}, and some must be left to train on")
    elif splits.train > there - scored and not list(parts.searched("task.")):
        yield Problem(
            "spec.task.splits.train",
            str(splits.train),
            f"{words}: {there - scored} are left to train on",
            warning=True,
        )


def _rewards(rewards: Sequence[Reward]) -> Iterator[Problem]:
    for i, reward in enumerate(rewards):
        path = f"spec.task.rewards[{i}]"
        options = REWARDS.get(reward.name)
        if reward.name in [r.name for r in rewards[:i]]:
            yield Problem(f"{path}.name", show(reward.name), "a reward can be named once")
        if options is None:
            if not MODULE_FUNCTION.match(reward.name):
                yield one_of(f"{path}.name", reward.name, REWARDS, OWN_FUNCTION)
            continue
        for key, value in reward.options.items():
            if key not in options:
                known = ", ".join(options) or "no options"
                words = f"reward {reward.name} knows {known}{hint(key, options)}"
                yield Problem(f"{path}.options.{key}", show(value), words)
    if rewards and all(r.weight == 0 for r in rewards):
        yield Problem(
            "spec.task.rewards", "only weights of 0", "without any reward nothing is learned"
        )


def _objective(parts: Parts) -> Iterator[Problem]:
    objective = parts.objective
    if objective is None or parts.task is None:
        return
    known = [f"eval/{n}" for n in ("accuracy", "reward", *reward_names(parts.task.rewards))]
    if objective.metric not in known:
        yield one_of("spec.objective.metric", objective.metric, known)
    target = objective.target
    if objective.metric == "eval/accuracy" and target is not None and not 0 <= target <= 1:
        words = "eval/accuracy lies between 0 and 1 (0.95 is 95 %)"
        yield Problem("spec.objective.target", show(target), words)


def _stage(parts: Parts) -> Iterator[Problem]:
    stage = parts.stage
    if stage is None:
        return
    for field, value in (
        ("evalEvery", stage.eval_every),
        ("checkpointEvery", stage.checkpoint_every),
    ):
        if value > stage.steps:
            allowed = f"at most spec.stage.steps ({stage.steps})"
            yield Problem(f"spec.stage.{field}", str(value), allowed)
    if stage.checkpoint_every * KEPT_CHECKPOINTS < stage.steps:
        least = -(-stage.steps // KEPT_CHECKPOINTS)
        words = f"a stage has at most {KEPT_CHECKPOINTS} checkpoints: at least {least}"
        yield Problem("spec.stage.checkpointEvery", str(stage.checkpoint_every), words)


def _evaluation(parts: Parts) -> Iterator[Problem]:
    evaluation = parts.evaluation
    if evaluation is None or evaluation.temperature > 0:
        return
    if evaluation.samples > 1:
        words = "temperature 0 decodes the same answer each time: 1, or raise temperature"
        yield Problem("spec.evaluation.samples", str(evaluation.samples), words, warning=True)
    if evaluation.top_p < 1:
        words = "without effect at temperature 0"
        yield Problem("spec.evaluation.topP", show(evaluation.top_p), words, warning=True)


def _budget(parts: Parts) -> Iterator[Problem]:
    budget = parts.budget
    if budget is None:
        return
    if budget.stages < FAILURE_FLOOR:
        words = f"at least {FAILURE_FLOOR:g}, the least that a stage is charged: less pays none"
        yield Problem("spec.budget.stages", show(budget.stages), words)
    if budget.deadline is not None and not re.search(r"[1-9]", budget.deadline):
        yield Problem("spec.budget.deadline", show(budget.deadline), "more than no time is needed")
    if parts.agent is None and (budget.agent_tokens or budget.agent_dollars):
        field = "agentTokens" if budget.agent_tokens else "agentDollars"
        value = budget.agent_tokens or budget.agent_dollars
        words = "without effect: there is no spec.agent, the rules cost nothing"
        yield Problem(f"spec.budget.{field}", show(value), words, warning=True)


def _cluster(parts: Parts) -> Iterator[Problem]:
    """What a pod would be refused for."""
    trainer = parts.trainer
    if trainer is not None:
        for section, amounts in trainer.resources.items():
            path = f"spec.trainer.resources.{section}"
            if section not in ("requests", "limits"):
                yield one_of(path, section, ("requests", "limits"))
                continue
            for name, amount in amounts.items():
                if isinstance(amount, bool) or not QUANTITY.match(str(amount)):
                    words = "a Kubernetes quantity is needed, like 1, 500m or 4Gi"
                    yield Problem(f"{path}.{name}", show(amount), words)
        if trainer.image is not None and re.search(r"\s", trainer.image):
            yield Problem("spec.trainer.image", show(trainer.image), "an image has no spaces")
        priority = trainer.priority_class_name
        if priority is not None and not DNS_SUBDOMAIN.match(priority):
            yield _no_name("spec.trainer.priorityClassName", priority)
    claim = parts.storage.claim_name if parts.storage is not None else None
    if claim is not None and not DNS_SUBDOMAIN.match(claim):
        yield _no_name("spec.storage.claimName", claim)


def _no_name(path: str, found: str) -> Problem:
    words = "the name of an object: lower-case letters, digits, dashes and dots"
    return Problem(path, show(found), words)
