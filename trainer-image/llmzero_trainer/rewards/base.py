"""The rewards of a stage as TRL calls them, and what they said about the last step."""

import asyncio
import inspect
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmzero.api.task import Reward, reward_names
from llmzero_trainer.errors import StageError, invalid, reward_failed
from llmzero_trainer.loading import load_function
from llmzero_trainer.rewards.exact_match import matches
from llmzero_trainer.rewards.math_verify import verified
from llmzero_trainer.tasks.base import LoadedTask, Question

RawReward = Callable[[Sequence[Question], list[Any], list[Any], dict[str, Any]], Any]
"""(questions asked, prompts, completions, what TRL adds) to rewards, not yet checked."""
ID_COLUMN = "llmzero_id"
"""The one column of the training rows beside the prompt: number of the question in the stage.

Answers and columns are looked up by it, so that reward functions get the values that the user
wrote: Arrow would make all rows of a column agree in type and fill in missing keys.
"""
ZERO_STD = 1e-8
"""Below this a group's rewards count as equal (torch.isclose, as TRL does it)."""
SHOWN = 400
"""Characters of an offending example that a message shows."""


def text_of(completion: Any) -> str:
    """Text of a completion as TRL hands it over: a string, or chat messages."""
    if isinstance(completion, str):
        return completion
    return "".join(str(m.get("content") or "") for m in completion)


@dataclass
class StepStats:
    """What was seen between two steps: generated tokens, and groups without a signal."""

    tokens: int = 0
    dead_groups: int = 0
    groups: int = 0

    @property
    def dead_fraction(self) -> float | None:
        return self.dead_groups / self.groups if self.groups else None


class RewardSet:
    """The reward functions of one stage.

    ``functions`` go to GRPOTrainer with ``weights``; each is guarded. After the last of them has
    answered, rows that no function scored end the stage, and groups whose summed rewards are
    equal are counted (TRL's own figure is batch-wide with ``scale_rewards=batch``).
    """

    def __init__(self, rewards: Sequence[Reward], task: LoadedTask, group_size: int) -> None:
        self._group = group_size
        self._stats = StepStats()
        self._answers: list[list[float | None]] = []
        self.names = reward_names(rewards)
        self.weights = [r.weight for r in rewards]
        self.questions: Sequence[Question] = []
        """The stage's training rows, by their number in ID_COLUMN."""
        self._raw = [_build(r, task) for r in rewards]
        self.functions = [self._training(i) for i in range(len(rewards))]

    def take_stats(self) -> StepStats:
        """Statistics since the last call."""
        stats, self._stats = self._stats, StepStats()
        return stats

    def score(
        self, asked: Sequence[Question], prompts: list[Any], completions: list[Any], ids: Any
    ) -> list[list[float | None]]:
        """Rewards outside of training: one list for each function. Raises StageError."""
        extras = {"completion_ids": ids, "trainer_state": None}
        extras |= {"log_extra": _ignore, "log_metric": _ignore}
        answers = [
            self._call(index, asked, prompts, completions, extras)
            for index in range(len(self._raw))
        ]
        self._refuse_unscored(answers, prompts, completions)
        return answers

    def total(self, values: Sequence[float | None]) -> float:
        """Weighted sum over the functions that applied."""
        pairs = zip(values, self.weights, strict=True)
        return sum(v * w for v, w in pairs if v is not None)

    def _training(self, index: int) -> Callable[..., list[float | None]]:
        def reward(prompts: list[Any], completions: list[Any], **extras: Any) -> list[float | None]:
            asked = [self.questions[i] for i in extras.pop(ID_COLUMN)]
            if index == 0:
                self._answers = []
            values = self._call(index, asked, prompts, completions, extras)
            self._answers.append(values)
            if index == len(self._raw) - 1:
                self._refuse_unscored(self._answers, prompts, completions)
                self._count(extras.get("completion_ids") or [])
            return values

        reward.__name__ = self.names[index]
        return reward

    def _call(
        self,
        index: int,
        asked: Sequence[Question],
        prompts: list[Any],
        completions: list[Any],
        extras: dict[str, Any],
    ) -> list[float | None]:
        name = self.names[index]
        try:
            given = self._raw[index](asked, prompts, completions, extras)
            if inspect.isawaitable(given):
                given = asyncio.run(_wait(given))
        except StageError:
            raise
        except Exception as error:
            raise reward_failed(
                f"reward {name} raised {type(error).__name__}: {error}; among "
                f"{_example(prompts[0], completions[0])}"
            ) from error
        return _checked(name, given, prompts, completions)

    def _refuse_unscored(
        self, answers: Sequence[Sequence[float | None]], prompts: list[Any], completions: list[Any]
    ) -> None:
        for row, values in enumerate(zip(*answers, strict=True)):
            if all(v is None for v in values):
                raise reward_failed(
                    f"every reward function returned None for one sample "
                    f"({', '.join(self.names)}); {_example(prompts[row], completions[row])}"
                )

    def _count(self, completion_ids: list[Any]) -> None:
        self._stats.tokens += sum(len(ids) for ids in completion_ids)
        totals = [self.total(values) for values in zip(*self._answers, strict=True)]
        for start in range(0, len(totals) - self._group + 1, self._group):
            self._stats.groups += 1
            group = totals[start : start + self._group]
            self._stats.dead_groups += statistics.pstdev(group) <= ZERO_STD


def columns_of(questions: Sequence[Question]) -> dict[str, list[Any]]:
    """The answer and all further columns; a row that lacks a column has None there."""
    names = sorted({name for q in questions for name in q.columns})
    columns: dict[str, list[Any]] = {n: [q.columns.get(n) for q in questions] for n in names}
    columns["answer"] = [q.answer for q in questions]
    return columns


def _build(reward: Reward, task: LoadedTask) -> RawReward:
    options = dict(reward.options)
    match reward.name:
        case "task":
            _refuse_options(reward, options, set())
            return _per_sample(task.score)
        case "exact-match":
            _refuse_options(reward, options, {"after", "ignore_case"})
            return _per_sample(lambda c, q: float(matches(c, str(q.answer), **options)))
        case "math-verify":
            _refuse_options(reward, options, set())
            return _per_sample(lambda c, q: verified(c, str(q.answer)))
        case name if ":" in name:
            return _own(load_function(name, "task.rewards.name"), options)
        case name:
            raise invalid(
                f"task.rewards.name: found {name!r}, allowed are task, exact-match, math-verify "
                "or module:function"
            )


def _per_sample(function: Callable[[str, Question], float | None]) -> RawReward:
    def scored(
        asked: Sequence[Question], _: list[Any], completions: list[Any], __: dict[str, Any]
    ) -> list[float | None]:
        pairs = zip(completions, asked, strict=True)
        return [function(text_of(c), q) for c, q in pairs]

    return scored


def _own(function: Callable[..., Any], options: dict[str, Any]) -> RawReward:
    """A function of the user's: TRL's signature, plus its options as keyword arguments."""

    def scored(
        asked: Sequence[Question],
        prompts: list[Any],
        completions: list[Any],
        extras: dict[str, Any],
    ) -> Any:
        columns = columns_of(asked)
        return function(prompts=prompts, completions=completions, **columns, **extras, **options)

    return scored


def _refuse_options(reward: Reward, options: dict[str, Any], allowed: set[str]) -> None:
    unknown = sorted(set(options) - allowed)
    if unknown:
        raise invalid(
            f"task.rewards.options.{unknown[0]}: reward {reward.name} does not know it, "
            f"allowed are {sorted(allowed)}"
        )


def _checked(
    name: str, given: Any, prompts: list[Any], completions: list[Any]
) -> list[float | None]:
    """Rewards as floats. Raises StageError (RewardFailed) for a wrong count or no number."""
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise reward_failed(f"reward {name} returned {type(given).__name__}, a list is needed")
    values = list(given)
    if len(values) != len(completions):
        raise reward_failed(
            f"reward {name} returned {len(values)} rewards for {len(completions)} completions"
        )
    for row, value in enumerate(values):
        if value is None:
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise reward_failed(
                f"reward {name} returned {value!r}, a finite number or None is needed; "
                f"{_example(prompts[row], completions[row])}"
            )
        values[row] = number
    return values


def _example(prompt: Any, completion: Any) -> str:
    asked = prompt if isinstance(prompt, str) else text_of(prompt[-1:])
    return f"prompt {asked[-SHOWN // 2 :]!r}, completion {text_of(completion)[:SHOWN]!r}"


async def _wait(awaitable: Any) -> Any:
    return await awaitable


def _ignore(*_: Any, **__: Any) -> None:
    """log_extra and log_metric outside of training."""
