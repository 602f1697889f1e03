"""A simulator of training dynamics, for statistics on planners. Nothing in here is a model.

A :class:`World` stands in for model, task and trainer: it answers a stage's settings with curves,
evaluations and failures. :class:`SimulatedEngine` runs a whole search in it, with the same plan,
life cycle and diagnosis as the real engines. What wins here wins in these equations; a gain in
here is never a model's gain.
"""

from llmzero.simulator.engine import SimulatedEngine, Trace
from llmzero.simulator.families import FAMILIES, SEEN, TUNED, UNSEEN, make_world
from llmzero.simulator.world import State, World

__all__ = [
    "FAMILIES",
    "SEEN",
    "TUNED",
    "UNSEEN",
    "SimulatedEngine",
    "State",
    "Trace",
    "World",
    "make_world",
]
