"""The tools of the skill-based agent over one question: it reads here, and its wishes are judged.

Nothing happens while a turn lasts: what is accepted becomes one answer, which the caller stores
before anything follows from it.
"""

from collections.abc import Sequence

from llmzero.agent.focus import listed, metrics_of
from llmzero.agent.prompts import BYTES_PER_TOKEN, as_data
from llmzero.agent.shapes import Forecast, Setting, paired
from llmzero.api.proposals import (
    BranchFrom,
    Proposal,
    ProposalAnswer,
    ProposalRequest,
    StageView,
    StopStage,
)
from llmzero.client.judge import clean, problems, settled
from llmzero.client.steering import running
from llmzero.search.nodes import BASE_PATH

POINTS = 12
"""Points of a curve that one reading shows."""


class Refused(ValueError):
    """A call that breaks a rule; the message says which, for the model to correct."""


class Desk:
    """``tokens``: what all readings of the turn may take together."""

    def __init__(self, request: ProposalRequest, tokens: int) -> None:
        self._request = request
        self._left = int(tokens * BYTES_PER_TOKEN)
        self._answer = ProposalAnswer(branch_from=_default(request), proposals=[])
        self.refused = 0

    @property
    def answer(self) -> ProposalAnswer:
        """What was accepted so far."""
        return self._answer

    @property
    def problems(self) -> list[str]:
        """Why the turn cannot end yet."""
        return problems(self._request, self._answer)

    def list_stages(self) -> str:
        """List all stages: what changed, value with standard error, pathologies, checkpoints.

        A stage without an outcome still runs or waits.
        """
        lines: list[str] = []
        room = self._left // 2
        for stage in reversed(self._request.stages):  # those that run, then the newest
            line = as_data(listed(stage))
            room -= len(line.encode()) + 1
            if room < 0:
                left_out = len(self._request.stages) - len(lines)
                lines.append(f"{left_out} older stages are left out for length")
                break
            self._left -= len(line.encode()) + 1
            lines.append(line)
        return "\n".join(lines)

    def read_metrics(self, stage: str) -> str:
        """Read settings, features, scores and curve of one stage.

        Args:
            stage: Its name as list_stages gives it, like 0-1.
        """
        text = as_data(metrics_of(self._stage(stage), POINTS))
        if len(text.encode()) > self._left:
            raise self._refusal("there is no room left to read in this turn: act now")
        self._left -= len(text.encode())
        return text

    def start_stage(
        self,
        stage: str,
        step: int,
        changes: list[Setting],
        reset_optimizer: bool,
        reset_reference: bool,
        rationale: str,
        expected: list[Forecast] | None = None,
        justification: str = "",
    ) -> str:
        """Start a stage from a checkpoint.

        Args:
            stage: Whose checkpoint, as list_stages names it, or base for the base model.
            step: Step of that checkpoint; 0 for base.
            changes: Parameters with their new values; the others stay. Empty: go on unchanged.
            reset_optimizer: Start with fresh optimizer moments.
            reset_reference: Make the checkpoint the new KL reference.
            rationale: Why, in one to three sentences.
            expected: The change of metrics compared with going on unchanged.
            justification: For more than four changes or a capacity decrease.
        """
        if len(self._answer.proposals) >= self._request.count:
            raise self._refusal(f"only {self._request.count} may start in this turn: end it")
        node = BASE_PATH if stage == BASE_PATH else self._stage(stage).node
        try:
            proposal = Proposal(
                changes=paired([(c.parameter, c.value) for c in changes], "changes"),
                carry_optimizer=not reset_optimizer and node != BASE_PATH,
                carry_reference=not reset_reference and node != BASE_PATH,
                rationale=rationale[:1024],
                expected=paired([(f.metric, f.change) for f in expected or []], "expected"),
                justification=justification[:512],
                branch_from=BranchFrom(node=node, step=step),
            )
        except ValueError as error:
            raise self._refusal(clean(str(error), 300)) from None
        wanted = self._answer.with_(proposals=[*self._answer.proposals, proposal])
        self._take(settled(self._request, wanted))
        return f"accepted: {len(wanted.proposals)} of {self._request.count}"

    def stop_stage(self, stage: str, reason: str) -> str:
        """Stop a running stage.

        Args:
            stage: As list_stages names it.
            reason: Why it is not worth its budget, with metric and steps.
        """
        node = self._stage(stage).node
        if len(self._answer.stop) >= 8 or any(o.node == node for o in self._answer.stop):
            raise self._refusal("it is stopped already, or eight others are")
        order = StopStage(node=node, reason=clean(reason, 512))
        if node not in {s.node for s in running(self._request)}:
            raise self._refusal(f"{stage} has ended already")
        self._answer = self._answer.with_(stop=[*self._answer.stop, order])
        return "accepted"

    def finish(self, reason: str) -> None:
        """End the search: start nothing more, choose the winner."""
        where = self._answer.branch_from.with_(reason=clean(reason, 512))
        self._take(self._answer.with_(finish=True, branch_from=where))

    def end_turn(self, summary: str) -> None:
        """That is all for now."""
        where = self._answer.branch_from.with_(reason=clean(summary, 512))
        self._take(self._answer.with_(branch_from=where))

    def _take(self, wanted: ProposalAnswer) -> None:
        found = problems(self._request, wanted)
        if found:
            raise self._refusal(*found)
        self._answer = wanted

    def _refusal(self, *why: str) -> Refused:
        self.refused += 1
        return Refused("\n".join(why[:20]))

    def _stage(self, path: str) -> StageView:
        found = next((s for s in self._request.stages if s.path == path), None)
        if found is None:
            names = ", ".join(_names(self._request.stages))
            raise self._refusal(f"found {clean(path, 63)!r}, there are {names}, base")
        return found


def _names(stages: Sequence[StageView]) -> list[str]:
    return [s.path for s in stages][:64]


def _default(request: ProposalRequest) -> BranchFrom:
    stage = request.path[-1]
    return BranchFrom(node=stage.node, step=max(stage.checkpoints, default=0))
