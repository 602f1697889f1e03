"""Which checkpoints are kept under ``storage.retention: best-path``.

While a search goes on, whatever may still be branched from keeps all its checkpoints. Once it is
complete, the paths of the winner and of the other candidates are kept. What something unfinished
starts from is never deleted.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from llmzero.api.spec import Retention
from llmzero.api.stage import StageNode
from llmzero.search.decisions import Prune
from llmzero.search.promotion import Evaluations, candidates
from llmzero.search.rows import Kind
from llmzero.search.tree import ROOT, Flags, Tree
from llmzero.search.values import Values


def prunes(
    tree: Tree,
    values: Values,
    evaluations: Evaluations,
    unfinished: Sequence[StageNode],
    done: bool,
) -> Iterator[Prune]:
    """Checkpoints to delete now, stage by stage in the tree's order."""
    if tree.search.spec.storage.retention is Retention.ALL:
        return
    needed: dict[str, set[int]] = {}
    for node in unfinished:
        if node.spec.start is not None:
            needed.setdefault(node.spec.start.node, set()).add(node.spec.start.step)
    best: set[int] = set()
    if done:
        for index in candidates(tree, values, evaluations):
            best.update(tree.path(index))
    columns = tree.columns
    due = (columns["checkpoints"] > 0) & ~tree.of_kind(Kind.IN_FLIGHT)
    if not done:
        due &= ~may_branch(tree)
        due &= (columns["checkpoints"] > 1) | ~tree.of_kind(Kind.VALUED)
    due[ROOT] = False
    for index in np.flatnonzero(due).tolist():
        row = tree.rows[index]
        assert row.tip is not None
        if done:
            keep = {row.tip} if index in best else set()
        else:
            keep = {row.tip} if row.kind is Kind.VALUED else set()
        keep |= needed.get(row.name, set())
        if done and index in best:
            keep |= {
                step
                for child in tree.children(index)
                if child in best and (step := tree.rows[child].start_step) is not None
            }
        kept = set(row.node.status.checkpoints)
        if not kept <= keep:
            yield Prune(row.name, tuple(sorted(keep & kept)))


def may_branch(tree: Tree) -> Flags:
    """Which ended stages children may still be created from."""
    found: Flags = tree.of_kind(Kind.VALUED, Kind.FAILED)
    return found & (tree.columns["tip"] >= 0) & (tree.columns["end"] < tree.horizon)
