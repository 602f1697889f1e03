"""The embedded proposer: from the pathologies of a stage to bounded, coordinated changes. Pure."""

from llmzero.rules.propose import propose

__all__ = ["propose"]
