"""What stages will use of the limits that are known only afterwards: tokens and device seconds."""

import math
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from llmzero.api.spec import FAILURE_FLOOR, SettingsMap
from llmzero.api.stage import StageNode
from llmzero.search.budget import SLACK
from llmzero.search.request import grpo_settings
from llmzero.search.rows import Kind, Row
from llmzero.search.tree import Tree

GROUP: Final = 8
"""TRL's own num_generations."""
MOST_KNOWN: Final = 32
"""Newest stages that tell what one without an ended parent will use."""


class Forecast:
    """Each stage by its like, the stage that it goes on from: the same tokens an answer, but for
    answers that were cut off, which may grow to the new limit; and as many answers as its group is
    large. So the budget is neither overdrawn by larger groups nor left over by smaller ones."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        spec = tree.search.spec
        hours = spec.budget.gpu_hours
        self.limits = (spec.budget.tokens, None if hours is None else hours * 3600)
        told = (i for i in reversed(tree.stages) if _told(tree.rows[i]))
        self.known = list(islice(told, MOST_KNOWN)) if self.limited else []
        self.reserved = np.zeros(2)
        for index in np.flatnonzero(tree.of_kind(Kind.IN_FLIGHT)).tolist():
            self.added(tree.rows[index].node)

    @property
    def limited(self) -> bool:
        return any(limit is not None for limit in self.limits)

    def added(self, node: StageNode) -> None:
        """A stage was created: what it will use is no longer free."""
        rate = self._rate(node)
        if rate is not None:
            self.reserved += rate * node.spec.steps

    def fitting(self, node: StageNode) -> int:
        """Optimizer steps of a stage that the limits pay beside all that is under way: all of them,
        or as many whole evaluations as fit; 0 where less than a quarter stage does."""
        steps, stage = node.spec.steps, self.tree.search.spec.stage
        rate = self._rate(node)
        if rate is None:
            return steps
        account = self.tree.account
        for limit, used, held, step in zip(
            self.limits,
            (account.tokens.used, account.seconds.used),
            self.reserved.tolist(),
            rate.tolist(),
            strict=True,
        ):
            if limit is not None and step > 0:
                steps = min(steps, math.floor(max(limit - used - held, 0.0) / step + SLACK))
        if steps >= node.spec.steps:
            return node.spec.steps
        short = steps // stage.eval_every * stage.eval_every
        return short if short >= FAILURE_FLOOR * stage.steps else 0

    def _rate(self, node: StageNode) -> npt.NDArray[np.float64] | None:
        """Tokens and seconds a step; None without such limits, and while nothing has ended that
        could tell."""
        if not self.limited:
            return None
        index = None if node.spec.parent is None else self.tree.find(node.spec.parent)
        if index is None or not _told(self.tree.rows[index]):
            rates = [self._from(self.tree.rows[i], node) for i in self.known]
            return np.mean(rates, axis=0) if rates else None
        return self._from(self.tree.rows[index], node)

    def _from(self, like: Row, node: StageNode) -> npt.NDArray[np.float64]:
        cost, ran = like.node.status.cost, like.node.status.step
        prompts = self.tree.frame.prompts_per_step
        (group, limit), (new_group, new_limit) = (
            self._sizes(settings) for settings in (like.parameters, node.spec.parameters)
        )
        answer = cost.train_tokens / (ran * prompts * group)
        if new_limit > limit:
            answer += like.node.status.features.get("clipped_ratio_end", 0.0) * (new_limit - limit)
        trained = prompts * new_group * answer
        scored = cost.eval_tokens / ran
        seconds = cost.device_seconds / max(cost.train_tokens + cost.eval_tokens, 1)
        return np.array([trained + scored, (trained + scored) * seconds])

    def _sizes(self, settings: SettingsMap) -> tuple[float, float]:
        """Answers a group and tokens an answer at most."""
        grpo = grpo_settings(self.tree.search.spec, settings)
        length = grpo["max_completion_length"]
        return float(grpo.get("num_generations", GROUP)), math.inf if length is None else length


def _told(row: Row) -> bool:
    """Whether a stage ended after steps that say what one costs."""
    status = row.node.status
    return row.kind is not Kind.IN_FLIGHT and status.step > 0 and status.cost.train_tokens > 0
