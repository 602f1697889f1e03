"""Which line is carried on to the horizon, once screen and tree are paid for."""

import math

import numpy as np

from llmzero.search.rows import SEGMENT_NAMES, Kind
from llmzero.search.tree import Flags, Floats, Ints, Tree
from llmzero.search.values import Values

TREATMENTS = 2
"""Remedies that are tried on one end of a line before another line is finished [ours]."""
SEEN = 2.0
"""Standard errors above the base model from which on a line is known to have learnt something."""
NEAR = 1.0
"""Standard errors within which lines are not told apart by their evaluations [ours]."""


def in_segment(tree: Tree, name: str) -> Flags:
    """Which stages a segment of the budget paid for."""
    found: Flags = tree.columns["segment"] == SEGMENT_NAMES.index(name)
    return found


def ends_of_lines(tree: Tree, able: Flags, finishing: Flags) -> Ints:
    """Stages that ran to their end, were not continued and not treated in vain; ``able``: which
    stages may take a child, ``finishing``: which were paid for by the finish."""
    found = able & tree.of_kind(Kind.VALUED) & ~tree.continued
    found &= np.bincount(tree.parent[finishing], minlength=len(found)) < TREATMENTS
    return np.flatnonzero(found)


def likeliest(tree: Tree, values: Values, ends: Ints) -> int:
    """The end with the best outlook. While none is seen above the base model, evaluations do not
    tell them apart: of those within their noise, the one whose training reward rose most."""
    outlook = _outlook(tree, values, ends)
    best = int(np.argmax(outlook))
    if _seen(values, int(ends[best])):
        return int(ends[best])
    near = outlook >= outlook[best] - NEAR * math.sqrt(values.variance[ends[best]])
    gains = [_learnt(tree, index) for index in ends[near].tolist()]
    return int(ends[near][np.argmax(gains)])


def _outlook(tree: Tree, values: Values, ends: Ints) -> Floats:
    """The values that stages are expected to reach with what is left of the budget."""
    end = tree.columns["end"][ends]
    reach = np.minimum(end + int(tree.account.left * tree.stage_steps), tree.horizon)
    return values.mean[ends] + values.expected(reach) - values.expected(end)


def _seen(values: Values, index: int) -> bool:
    """Whether a stage is above the base model beyond the noise; unknown counts as seen."""
    if values.base is None:
        return True
    base, error = values.base
    lead = float(values.mean[index]) - base
    return lead > SEEN * math.sqrt(values.variance[index] + error)


def _learnt(tree: Tree, index: int) -> float:
    """What the training reward gained on a path under unchanged settings, each run of them from its
    begin to its end. Jumps between them are not in it: other settings are paid otherwise for the
    same skill."""
    found, start, end = 0.0, 0.0, 0.0
    for row in (tree.rows[i] for i in tree.path(index)):
        features = row.node.status.features
        if not row.constant:
            found, start = found + end - start, features.get("reward_start", 0.0)
        end = features.get("reward_end", end)
    return found + end - start
