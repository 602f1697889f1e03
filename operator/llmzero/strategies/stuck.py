"""Stages that would learn nothing, or little of what is scored, from going on unchanged: they are
changed at once."""

from llmzero.api.curve import PathologyKind
from llmzero.api.spec import SearchSpec, SettingsMap
from llmzero.api.stage import StageStatus
from llmzero.rules.matching import easier, matching
from llmzero.rules.moves import Position
from llmzero.search.rows import Row

SPENT_GROUPS = 0.9
"""Share of dead groups from which a flat reward is taken for the end of what can be learnt [ours]."""
SOME_SUCCESS = 0.1
"""Mean reward below which dead groups still await a first success [ours]."""


def untrained(fixed: SettingsMap, parameters: SettingsMap, status: StageStatus) -> bool:
    """Whether all groups were dead at the stage's end and nothing else moves the weights: the same
    settings carried on would most likely leave them as they are."""
    settings = {**fixed, **parameters}
    return status.features.get("dead_groups_end", 0.0) >= 1.0 and not any(
        settings.get(name) for name in ("beta", "entropy_coef")
    )


def spent(status: StageStatus) -> bool:
    """Whether the reward stands still on groups that are nearly all alike, and not because a first
    success is still awaited (on transcribe stages with 97 % dead groups took off later): what is
    left to learn needs other settings. Seen on ramble, where easy answers were all right and hard
    ones all cut off."""
    flat = any(p.kind is PathologyKind.PLATEAU for p in status.pathologies)
    return (
        flat
        and status.features.get("dead_groups_end", 0.0) >= SPENT_GROUPS
        and status.features.get("reward_end", 0.0) >= SOME_SUCCESS
    )


def unmatched(spec: SearchSpec, row: Row) -> bool:
    """Whether a stage trained on easier samples than it is scored by, and they can be made harder:
    going on unchanged teaches little of what is scored."""
    error = 0.0 if row.goodness is None else row.variance**0.5
    if not easier(row.node.status.features, error):
        return False
    position = Position({p.name: p for p in spec.parameters}, row.parameters, spec.fixed)
    return bool(matching(position, spec.evaluation.temperature))
