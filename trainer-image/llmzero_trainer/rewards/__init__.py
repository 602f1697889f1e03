"""Reward functions by name, guarded: what they return is a reward, or the stage ends."""

from llmzero_trainer.rewards.base import RewardSet, text_of

__all__ = ["RewardSet", "text_of"]
