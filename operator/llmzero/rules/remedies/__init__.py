"""The table: pathology → coordinated, bounded changes, best first, with the reason in words.

Source of the pairs: the literature named in docs/pathologies.md; the sizes are ours. A transition
carries the optimizer's moments and the KL reference on, as `continue` does, so that the difference
to it is the change alone; where a reset is part of the cure, the remedy says so.
"""

from collections.abc import Callable, Iterator

from llmzero.api.curve import PathologyKind
from llmzero.rules.findings import Finding, Remedy
from llmzero.rules.remedies.breakdown import calm, memory
from llmzero.rules.remedies.policy import drift, entropy_down, entropy_up, over_constrained
from llmzero.rules.remedies.progress import hacking, overfit, plateau
from llmzero.rules.remedies.samples import clipping, dead_groups, length_hacking, stale, truncation

K = PathologyKind

_TABLE: dict[PathologyKind, Callable[[Finding], Iterator[Remedy]]] = {
    K.OUT_OF_MEMORY: memory,
    K.NON_FINITE: calm,
    K.GRADIENT_SPIKES: calm,
    K.REWARD_HACKING: hacking,
    K.POLICY_DRIFT: drift,
    K.OVER_CONSTRAINED: over_constrained,
    K.ENTROPY_COLLAPSE: entropy_up,
    K.ENTROPY_EXPLOSION: entropy_down,
    K.TRUNCATION: truncation,
    K.LENGTH_HACKING: length_hacking,
    K.ZERO_VARIANCE_GROUPS: dead_groups,
    K.CLIP_SATURATION: clipping,
    K.STALE_SAMPLER: stale,
    K.OVERFIT: overfit,
    K.PLATEAU: plateau,
}


def remedies(finding: Finding) -> Iterator[Remedy]:
    """The transitions for one finding, best first; those without a possible change are left out."""
    return (r for r in _TABLE[finding.pathology.kind](finding) if r.changes)
