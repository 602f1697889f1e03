"""LLMZero: tree search over RL post-training trajectories."""

__version__ = "0.1.0"
