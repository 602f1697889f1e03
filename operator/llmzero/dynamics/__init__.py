"""The eyes: curve → features → pathologies. Pure."""

from llmzero.dynamics.pathologies import diagnose

__all__ = ["diagnose"]
