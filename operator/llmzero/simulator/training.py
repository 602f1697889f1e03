"""One stage in a simulated world, from its first step to its end: what a trainer would report."""

import hashlib
import math
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Final

from llmzero.api.contract import ExitCode
from llmzero.api.curve import GRAD_NORM_MAX, Score
from llmzero.api.parameters import initial_point
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import SearchSpec, SettingsMap
from llmzero.api.stage import StageNode
from llmzero.search.request import SPLITS, grpo_settings
from llmzero.simulator.questions import evaluate
from llmzero.simulator.world import Settings, State, World

POINTS: Final = 6
"""Points of the curve between two evaluations."""


@dataclass(slots=True)
class Training:
    """What a stage will show, computed when it starts and told as time goes on."""

    steps: list[int] = field(default_factory=list)
    metrics: dict[str, list[float | None]] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)
    checkpoints: list[int] = field(default_factory=list)
    ran: int = 0
    exit_code: ExitCode = ExitCode.DONE
    seconds_a_step: float = 1.0
    tokens_a_step: float = 0.0


class SimulatedTrainer:
    """Computes whole stages of one search, and keeps the checkpoints that they leave."""

    def __init__(self, search: TrainingSearch, world: World) -> None:
        self.search, self.world = search, world
        self.states: dict[tuple[str, int], State] = {}
        """By name of the stage and step."""

    def accuracy(self, node: StageNode, step: int | None = None) -> float | None:
        """Exact accuracy of a stage's checkpoint, the newest by default; None where it has none."""
        if step is None:
            step = max(node.status.checkpoints, default=None)
        state = self.states.get((node.name, step)) if step is not None else None
        return None if state is None else self.world.accuracy(state)

    def train(self, node: StageNode) -> Training:
        """The whole stage at once: its curve, evaluations, checkpoints and how it ends."""
        spec, plan = node.spec, self.search.spec.stage
        settings = stage_settings(self.search.spec, spec.parameters)
        luck = self._luck(node)
        width = settings.num_generations * plan.prompts_per_step
        found = Training()
        if self.world.out_of_memory(settings):
            found.exit_code = ExitCode.OUT_OF_MEMORY
            return found
        state = self.begun(node)
        looks = [*range(0, spec.steps, plan.eval_every), spec.steps]
        found.scores.append(self._scored(state, 0, node, luck))
        lengths = 0.0
        speed = math.exp(luck.gauss(0, 0.12))
        """The luck of the whole stage: which rollouts it sees."""
        for begin_, end in pairwise(looks):
            for before, step in pairwise([begin_, *marks(begin_, end)]):
                drive = self.world.advance(state, settings, (step - before) * speed, luck)
                found.steps.append(step)
                if drive is None:
                    for name in found.metrics:
                        found.metrics[name].append(None)
                    found.ran, found.exit_code = step, ExitCode.DIVERGED
                    self._timed(found, lengths, width)
                    return found
                shown = self.world.metrics(state, drive, luck)
                shown[GRAD_NORM_MAX] = (shown["grad_norm"] or 0.0) * 1.2
                lengths += (shown["completions/mean_length"] or 0.0) * (step - before)
                for name, value in shown.items():
                    found.metrics.setdefault(name, []).append(value)
            found.ran = end
            found.scores.append(self._scored(state, end, node, luck))
            if end % plan.checkpoint_every == 0 or end == spec.steps:
                found.checkpoints.append(end)
                self.states[node.name, end] = state.copy()
        self._timed(found, lengths, width)
        return found

    def _timed(self, found: Training, lengths: float, width: int) -> None:
        """Tokens as generated; time in proportion to them, above a floor."""
        found.tokens_a_step = lengths / max(found.ran, 1) * width
        found.seconds_a_step = 0.5 + found.tokens_a_step / 20_000

    def begun(self, node: StageNode) -> State:
        """The checkpoint that a stage starts from, at its boundary."""
        spec = node.spec
        if spec.start is None:
            return self.world.base()
        state = self.states[spec.start.node, spec.start.step]
        return state.at_boundary(spec.carry_optimizer, spec.carry_reference)

    def score(self, node: StageNode) -> Training:
        start = node.spec.start
        state = self.states[start.node, start.step] if start else self.world.base()
        return Training(scores=[self._scored(state, 0, node, self._luck(node))])

    def _scored(self, state: State, step: int, node: StageNode, luck: Random) -> Score:
        splits, split = self.search.spec.task.splits, SPLITS[node.spec.purpose]
        count = {"search": splits.search, "promote": splits.promote, "heldOut": splits.held_out}
        score = evaluate(
            self.world.accuracy(state), step, count[split], self.world.seed, split, luck
        )
        seen = {
            "accuracy": score.value,
            "reward": self.world.reward(state, score.value),
            "entropy": state.entropy,
            "mean_length": state.length,
        }
        return score.with_(metrics=seen)

    def _luck(self, node: StageNode) -> Random:
        """Of one request: the same stage twice is the same; another setting is other luck."""
        spec = node.spec
        text = f"{self.world.seed}/{spec.purpose}/{spec.path}/{spec.rollout_seed}/{spec.steps}"
        text += f"/{sorted(spec.parameters.items())}"
        return Random(hashlib.sha256(text.encode()).digest())


def stage_settings(spec: SearchSpec, given: SettingsMap) -> Settings:
    """All that a world reads: what the stage was given, else initial and fixed values."""
    point = {**initial_point(spec.parameters), **given}
    return Settings.of({**point, **grpo_settings(spec, point)})


def marks(begin_: int, end: int) -> list[int]:
    """Steps of the points of the curve in an interval, the last at its end."""
    count = min(POINTS, end - begin_)
    return [begin_ + round((end - begin_) * (i + 1) / count) for i in range(count)]
