"""The strategy llmzero: screen the root, search the tree by UCT, finish the best, replicate.

The budget's segments decide the order: rungs of a quarter stage with the top quarter continued,
then UCT, then the two best lines continued to the horizon; a leading transition is repeated with
another seed before two more stages are spent below it. A free slot is never left idle while any
stage can be afforded.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from llmzero.api.stage import Provenance, StageNode
from llmzero.rules.findings import acts
from llmzero.rules.space import hopeless
from llmzero.search.budget import SHARES, SLACK, WARM, segments
from llmzero.search.decisions import Create
from llmzero.search.nodes import train_node
from llmzero.search.protocol import Proposed
from llmzero.search.rows import REPLICA, Kind
from llmzero.search.selection import Selection
from llmzero.search.tree import ROOT, Flags, Tree
from llmzero.search.values import Values
from llmzero.search.widening import root_width
from llmzero.strategies.finishing import ends_of_lines, in_segment, likeliest
from llmzero.strategies.options import Options, boolean, division, one_of, share
from llmzero.strategies.proposing import ProposingStrategy
from llmzero.strategies.replicas import repetition, to_repeat
from llmzero.strategies.schedule import source_option
from llmzero.strategies.screening import KEPT_RUNGS, SCREEN_MOST, root_setting, rung, rung_count
from llmzero.strategies.stuck import spent, unmatched, untrained
from llmzero.strategies.warm import SCHEDULE, WarmStart

LINES = 2
"""Paths that are finished to the horizon."""
DEFAULT_EXPLORE = 0.2
MOST_FRUITLESS = 8
"""Stages tried in vain for another transition, in one plan, before only those that were never
continued are looked at: where most of the space failed, a plan stays quick."""


class LLMZero(ProposingStrategy):
    """Options ``explore``: share of random transitions among the changed children; ``replicas``:
    share of the budget for repeating leading transitions with other rollouts (in simulation it
    cost more than it gave, so none by default); ``warmStart``: a schedule document or the name of
    a preset, whose line is tried first, to its end or until a stage of it fails; ``shares``: how
    screen, tree and finish divide the budget.
    ``branch: last`` and ``inFlight: false`` switch a part off, for ablations."""

    OPTIONS: ClassVar[Options] = {
        "explore": share,
        "replicas": share,
        WARM: source_option,
        SHARES: division(("screen", "tree", "finish")),
        "branch": one_of("chosen", "last"),
        "inFlight": boolean,
    }

    def __init__(self, tree: Tree, values: Values) -> None:
        super().__init__(tree, values)
        spec = tree.search.spec
        self.explore = float(self.options.get("explore", DEFAULT_EXPLORE))
        self.replicas = float(self.options.get("replicas", 0.0))
        warm = self.options.get(WARM)
        self.warm = None if warm is None else WarmStart(warm, spec)
        self.rung_steps = rung(tree.stage_steps, spec.stage.eval_every)
        stages = tree.account.expected
        width = root_width(stages, spec.strategy.max_depth, spec.strategy.parallelism)
        self.shares = segments(spec)
        length = self.rung_steps / tree.stage_steps
        self.rungs = rung_count(stages, length, width, self.shares["screen"])
        self.in_flight = bool(self.options.get("inFlight", True))
        self.branches = self.options.get("branch") != "last"
        self._fruitless_tries = 0
        self._tired = False
        self._seen = len(tree)
        self._choice: Selection | None = None

    def propose(self) -> Sequence[Proposed]:
        repeated = to_repeat(self.tree, self.values, self.replicas)
        if repeated is not None:
            return (Create(repetition(self.tree, repeated)),)
        return self._known_line() or self._screened() or self._finishing() or self._selected()

    def questions(self) -> Sequence[Proposed]:
        """Ahead of need, about stages whose first children are under way: their answers are there
        when the next child is chosen, and no slot waits for them."""
        if not self.asks_agent:
            return ()
        tree, found = self.tree, []
        able = self.branchable()
        for index in np.unique(tree.parent[tree.of_kind(Kind.IN_FLIGHT)]).tolist():
            if index != ROOT and able[index]:
                question = self.question_ahead(index)
                if question is not None:
                    found.append(question)
        return found

    # A schedule to begin with ---------------------------------------------------------------

    def _known_line(self) -> Sequence[Proposed]:
        """The next stage on the line of the schedule that the search starts from."""
        tree = self.tree
        line = [] if self.warm is None or self.manual else self.warm.line(tree)
        if self.warm is None or not line or not self.can_branch(line[-1]):
            return ()
        row = tree.rows[line[-1]]
        assert row.tip is not None
        end = row.begin + row.tip
        part = self.warm.at(end)
        if part is None or hopeless(self.search.spec.parameters, part.settings, self.failures):
            return ()
        # Elsewhere the schedule's stage was cut in two, and goes on as if it were one.
        begins = end == part.begin
        carried = not begins or part.leg.carry_optimizer, not begins or part.leg.carry_reference
        goes_on = all(carried) and part.settings == row.parameters
        if goes_on and tree.continued[line[-1]]:
            return ()
        why = f"stage {part.leg.place} of the schedule {self.warm.name}"
        node = train_node(
            self.search,
            parent=row.node,
            # Number 0 is kept for going on unchanged.
            number=0 if goes_on else max(tree.next_number(line[-1]), 1),
            steps=min(self.child_steps(end), part.end - end),
            parameters=dict(part.settings),
            provenance=Provenance(
                proposer=SCHEDULE, rationale="; ".join([why, *part.leg.notes])[:2048]
            ),
            segment="tree",
            start_step=row.tip,
            carry_optimizer=carried[0],
            carry_reference=carried[1],
        )
        return (Create(node),)

    # Screening ------------------------------------------------------------------------------

    def _screened(self) -> Sequence[Proposed]:
        """The next rung; once they have ended, the top quarter continued to a full stage, or
        changed where going on would train nothing."""
        tree = self.tree
        rungs = [i for i in tree.children(ROOT) if tree.rows[i].proposer != REPLICA]
        if len(rungs) < self._wanted() and (node := self._rung()) is not None:
            return (Create(node),)
        if self.rung_steps == tree.stage_steps:
            return ()
        ended = [i for i in rungs if tree.rows[i].kind is not Kind.IN_FLIGHT]
        count = len(rungs) * KEPT_RUNGS
        kept = math.ceil(count) if len(ended) == len(rungs) else int(len(ended) * KEPT_RUNGS)
        for index in self._by_promise(ended)[:kept]:
            if not tree.continued[index] and self.can_branch(index):
                if self._stuck(index):
                    if tree.children(index):
                        continue
                    if changed := self._changed_now(index):
                        return changed
                why = "among the best rungs: continued to a full stage"
                return (Create(self.going_on(index, "continue", why, "screen")),)
        return ()

    def _wanted(self) -> int:
        """Rungs at the root: beside the initial settings, those that a schedule begins with."""
        return self.rungs if self.warm is None else max(self.rungs, 2)

    def _stuck(self, index: int) -> bool:
        """Whether the same settings carried on would most likely teach nothing, or little of what
        is scored."""
        row = self.tree.rows[index]
        status = row.node.status
        idle = spent(status) or untrained(self.search.spec.fixed, row.parameters, status)
        return idle or self._unmatched(index)

    def _changed_now(self, index: int) -> Sequence[Proposed]:
        """Where the cause is known, no transition is drawn at random."""
        return self.transition_now(index, explores=not self._unmatched(index))

    def _unmatched(self, index: int) -> bool:
        return unmatched(self.search.spec, self.tree.rows[index])

    def _rung(self) -> StageNode | None:
        """The next child of the root: initial, then a move around it and two of an even spread, in
        turn."""
        if not self.affords(self.rung_steps):
            return None
        found = root_setting(self.tree, self.warm, self.failures)
        if found is None:
            return None
        point, provenance = found
        return self.root_stage(point, provenance, self.rung_steps, "screen")

    def _by_promise(self, indices: Sequence[int]) -> list[int]:
        """Best first, by value and by what the features say of what is still to come: a quarter
        stage shows more in its own dynamics than in the evaluation."""
        promise = {i: float(self.values.mean[i] + self.values.outlook[i]) for i in indices}
        return sorted((i for i in indices if promise[i] == promise[i]), key=lambda i: -promise[i])

    # Finishing ------------------------------------------------------------------------------

    def _finishing(self) -> Sequence[Proposed]:
        """The line with the best outlook goes on, once screen and tree are paid for: as it is
        where it is healthy, treated where its last stage shows a pathology."""
        tree, account = self.tree, self.tree.account
        begun = self.shares["screen"] + self.shares["tree"]
        repeated = account.by_segment["promote"] / account.limit
        if account.progress - repeated + SLACK < begun:
            return ()
        finishing = in_segment(tree, "finish")
        if (finishing & tree.of_kind(Kind.IN_FLIGHT)).sum() >= LINES:
            return ()
        ends = ends_of_lines(tree, self.branchable(), finishing)
        # Where the known remedy was taken, another change would only be a guess.
        free = [i for i in ends.tolist() if not (self._followed(i) and self._unmatched(i))]
        ends = np.array(free, dtype=np.intp) if free else ends
        if not len(ends):
            return ()
        best = likeliest(tree, self.values, ends)
        why = "the best outlook at the full horizon"
        return self._treated(best) or (Create(self.going_on(best, "finish", why, "finish")),)

    def _treated(self, index: int) -> Sequence[Proposed]:
        """A changed child where the stage shows a pathology that asks for one, or trained on
        easier samples than it is scored by."""
        ill = any(acts(p) for p in self.tree.rows[index].node.status.pathologies)
        if not ill and not self._unmatched(index):
            return ()
        return [_paid_by_finish(step) for step in self._changed_now(index)]

    def _followed(self, index: int) -> bool:
        """Whether a child of it runs, or ended with a value."""
        kinds = [self.tree.rows[c].kind for c in self.tree.children(index)]
        return Kind.IN_FLIGHT in kinds or Kind.VALUED in kinds

    # The tree -------------------------------------------------------------------------------

    def _selected(self) -> Sequence[Proposed]:
        while (index := (choice := self._selection()).choose()) is not None:
            step = self._expanded(index)
            if not any(isinstance(d, Create) for d in step):
                choice.block(index)
                self._fruitless_tries += 1
            if step:
                return step
        return self._last_resort()

    def _selection(self) -> Selection:
        if self._choice is None or (self._fruitless_tries >= MOST_FRUITLESS and not self._tired):
            able = self.branchable()
            self._tired = self._fruitless_tries >= MOST_FRUITLESS
            if self._tired:
                able &= ~self.tree.continued
            self._choice = Selection(self.tree, self.values, able, self._eager(), self.in_flight)
        else:
            for index in range(self._seen, len(self.tree)):
                self._choice.added(index)
        self._seen = len(self.tree)
        return self._choice

    def _eager(self) -> Flags:
        """Not a rung that the screening left behind, not a diverged stage: they are better than an
        idle slot, and no more. The root's width is spent on its rungs."""
        tree = self.tree
        left_behind = (tree.columns["end"] < tree.stage_steps) & ~tree.continued
        found: Flags = tree.of_kind(Kind.VALUED) & ~left_behind
        return found

    def _last_resort(self) -> Sequence[Proposed]:
        """Another rung, where no stage can take a child: as long as half of the budget is left to
        the depth, or nothing is under way that could use it."""
        account = self.tree.account
        left = account.left - self.rung_steps / self.tree.stage_steps
        under_way = self.tree.of_kind(Kind.IN_FLIGHT).any()
        if under_way and left + SLACK < SCREEN_MOST * account.limit:
            return ()
        node = self._rung()
        return () if node is None else (Create(node),)

    def _expanded(self, index: int) -> Sequence[Proposed]:
        if not self.branchable()[index]:
            return ()  # what was affordable when the plan began no longer is
        if self._stuck(index) and (changed := self.transition(index, not self._unmatched(index))):
            return changed
        if self.tree.rows[index].kind is Kind.VALUED and not self.tree.continued[index]:
            why = "the same settings carried on: what every change is compared with"
            return (Create(self.going_on(index, "continue", why, "tree")),)
        return self.transition(index)


def _paid_by_finish(step: Proposed) -> Proposed:
    if not isinstance(step, Create):
        return step
    return Create(step.node.with_(spec=step.node.spec.with_(segment="finish")))
