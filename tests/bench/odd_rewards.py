"""Rewards that invite harm, for histories of reward hacking and length hacking."""

from typing import Any


def longer(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    """More tokens, more reward: nothing to do with the answer."""
    return [min(len(completion) / 24, 1.0) for completion in completions]


def greater_signs(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    """Rewards the scratchpad's sign, whatever follows it."""
    return [min(completion.count(">") / 4, 1.0) for completion in completions]
