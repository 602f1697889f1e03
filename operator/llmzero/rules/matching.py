"""Training on easier samples than are scored: they are brought up to the evaluation's."""

from collections.abc import Mapping

from llmzero.api.proposals import StageView
from llmzero.api.spec import SettingsMap
from llmzero.rules.findings import Remedy
from llmzero.rules.moves import Position, Step, together

KNOWN = 0.35
"""Least train reward: what is hardly learnt yet is not made harder [ours]."""
LOST = 0.25
"""Share of the train reward that is missing in the evaluation from which on what is sampled is the
easier of the two [ours]."""
SURE = 2.0
"""Standard errors of the evaluation that the difference has to exceed."""


def easier(features: Mapping[str, float], error: float) -> bool:
    """Whether a stage earned clearly more on its own samples than in its last evaluation, by the
    same reward functions: what it trains on asks less than what it is scored on. ``error``: the
    standard error of its value."""
    trained, scored = (features.get(k) for k in ("reward_end", "eval_reward_last"))
    if trained is None or scored is None or trained < KNOWN:
        return False
    return trained - scored > max(LOST * trained, SURE * error)


def matching(position: Position, temperature: float | None) -> SettingsMap:
    """Harder questions and samples as hot as those of the evaluation (``temperature``); empty where
    nothing can be moved."""
    return together(position.grow_task(), _warmer(position, temperature))


def matched(stage: StageView, position: Position, temperature: float | None) -> Remedy | None:
    """The remedy where the stage trains on easier samples than it is scored by; None elsewhere, and
    where nothing can be moved."""
    found = stage.features
    if not easier(found, stage.standard_error or 0.0):
        return None
    changes = matching(position, temperature)
    why = (
        f"the train reward is {found['reward_end']:.3f}, the evaluation's {found['eval_reward_last']:.3f}"
        ": train on samples closer to those that are scored"
    )
    return Remedy(changes, why, {"reward": -0.05}) if changes else None


def _warmer(position: Position, temperature: float | None) -> Step:
    """Up to the evaluation's temperature; cooler samples than those are not harder ones."""
    old = position.value("temperature")
    if temperature is None or old is None or old >= temperature:
        return None
    return position.shift("temperature", temperature - old)
