"""What ships by name: models, tasks and rewards, with what can be said of them before they run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

POSITIONS = 128
"""Of every built-in model: prompt and answer together."""
BUILTIN_MODELS: Mapping[str, int] = {
    "scratchpad-addition": 16,
    "imperfect-verifier": 16,
    "ramble": 26,
    "transcribe": 26,
}
"""Models that the trainer makes itself, each for the task of its name, and the default of
max_completion_length for them: their answers are short."""
COMPLETION_LENGTH = 512
"""Default for any other model (TRL's own has changed between releases, so it is always set)."""

MODULE_FUNCTION = re.compile(r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")
"""A function of the user's, as tasks, rewards and scorers name one."""


@dataclass(frozen=True, slots=True)
class KnownTask:
    """Option names (None: any), those that are needed, those that cannot be searched (None: none
    of them can), those that are a share from 0 to 1, and tokens of the longest prompt."""

    options: tuple[str, ...] | None
    needed: tuple[str, ...] = ()
    not_searched: tuple[str, ...] | None = None
    shares: tuple[str, ...] = ()
    prompt: int | None = None

    def searchable(self, option: str) -> bool:
        if self.not_searched is None or option in self.not_searched:
            return False
        return self.options is None or option in self.options


_ROWS = ("path", "prompt_column", "answer_column", "scorer", "seed")
TASKS: Mapping[str, KnownTask] = {
    "scratchpad-addition": KnownTask(("digits",), not_searched=()),
    "imperfect-verifier": KnownTask((), prompt=6),
    "ramble": KnownTask(("hard",), not_searched=(), shares=("hard",), prompt=12),
    "transcribe": KnownTask((), prompt=25),
    "reasoning-gym": KnownTask(None, ("dataset",), not_searched=("dataset", "seed", "size")),
    "jsonl": KnownTask(_ROWS, ("path",)),
    "huggingface": KnownTask((*_ROWS, "name", "split", "revision"), ("path",)),
}
DIGITS = (1, 2, 3)
"""Allowed values of the option ``digits`` of scratchpad-addition."""
DEFAULT_DIGITS = 2

REWARDS: Mapping[str, tuple[str, ...]] = {
    "task": (),
    "exact-match": ("after", "ignore_case"),
    "math-verify": (),
}
"""Rewards by name, with their options."""


def completion_length(builtin: str | None) -> int:
    """Tokens of a completion where the manifest names no max_completion_length."""
    return BUILTIN_MODELS.get(builtin or "", COMPLETION_LENGTH)


def digit_pairs(digits: int) -> int:
    """Questions of scratchpad-addition in all."""
    return int(100**digits)


def digit_prompt(digits: int) -> int:
    """Tokens of its longest prompt, ``99+99=``."""
    return 2 * digits + 2
