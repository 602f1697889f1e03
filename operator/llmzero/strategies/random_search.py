"""Random search: independent full-length runs, each with one setting drawn from the space."""

from typing import ClassVar

from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Provenance, StageNode
from llmzero.rules.space import draw
from llmzero.search.nodes import train_node
from llmzero.search.tree import ROOT
from llmzero.strategies.options import Options, boolean
from llmzero.strategies.runs import RunsStrategy

TRIES = 64


class RandomSearch(RunsStrategy):
    """With ``perStage: true`` every stage of a run draws new settings."""

    OPTIONS: ClassVar[Options] = {"perStage": boolean}

    def setting(self, run: int) -> tuple[SettingsMap, Provenance] | None:
        parameters = self.search.spec.parameters
        taken = [self.tree.rows[i].parameters for i in self.tree.children(ROOT)]
        for attempt in range(TRIES):
            point = draw(parameters, self.seed, "run", run, attempt)
            if point not in taken:
                return point, Provenance(proposer="random", rationale="drawn from the space")
        return None

    def following(self, index: int) -> StageNode:
        if not self.options.get("perStage", False):
            return super().following(index)
        row = self.tree.rows[index]
        assert row.tip is not None
        return train_node(
            self.search,
            parent=row.node,
            number=self.tree.next_number(index),
            steps=self.child_steps(row.begin + row.tip),
            parameters=draw(self.search.spec.parameters, self.seed, "stage", row.path),
            provenance=Provenance(proposer="random", rationale="drawn anew for this stage"),
            segment="tree",
            start_step=row.tip,
        )
