"""Judging an answer: pure functions that say, in sentences, everything that is wrong with it.

The service quotes the sentences in its repair round; the client judges once more, because an
endpoint is a stranger too. What passes cannot leave the declared search space.
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping

from llmzero.api.base import Scalar
from llmzero.api.curve import CURVE_METRICS, PathologyKind
from llmzero.api.parameters import Parameter, Role, distance
from llmzero.api.proposals import (
    MAX_CHANGES,
    BranchFrom,
    Diagnosis,
    Proposal,
    ProposalAnswer,
    ProposalRequest,
    StageView,
)
from llmzero.api.spec import SettingsMap
from llmzero.client.steering import focus, steering_problems
from llmzero.rules.bounds import beyond_bounds
from llmzero.search.nodes import BASE_PATH

DUPLICATE = 0.02
"""Two settings closer than this in every dimension (unit coordinates) count as one [ours]."""
LARGEST = 1e18
"""Beyond it no hyperparameter lies, and an int may be too large for a float."""
_WORD = re.compile("[a-z]{2,}")
ANSWER_BYTES = 6 * 1024
"""Largest stored answer, as JSON: an expansion of 16 KB holds two and their origins."""


def settled(request: ProposalRequest, answer: ProposalAnswer) -> ProposalAnswer:
    """The same answer in plain form: whole numbers as int, changes that change nothing dropped,

    at most ``request.count`` proposals, text without control characters, at most 6 KB.
    """
    space = {p.name: p for p in request.parameters}
    proposals = []
    for proposal in answer.proposals[: request.count]:
        asked = focus(request, proposal.branch_from or answer.branch_from)
        parent = asked.path[-1].parameters if asked else {}
        proposals.append(proposal.with_(changes=_plain(space, parent, proposal.changes)))
    answer = answer.with_(proposals=proposals)
    for limit in (1024, 512, 256, 128, 64, 16, 0):
        cut = _with_text_cut(answer, limit)
        if len(cut.model_dump_json(by_alias=True).encode()) <= ANSWER_BYTES:
            break
    return cut


def problems(request: ProposalRequest, answer: ProposalAnswer) -> list[str]:
    """Every problem as a sentence that names the field, what was found, and what is allowed."""
    found = [*steering_problems(request, answer), *_diagnosis_problems(request, answer)]
    if request.mode == "expand":
        found += _branch_problems(request, answer.branch_from, "branchFrom.step")
    seen: dict[tuple[str, int], list[tuple[str, SettingsMap]]] = {}
    for index, proposal in enumerate(answer.proposals):
        where, start = f"proposals[{index}]", proposal.branch_from or answer.branch_from
        asked = focus(request, start)
        if asked is None:
            found.append(f"{where}.branchFrom.node: found {clean(start.node, 63)!r}, no such stage")
            continue
        own = list(_proposal_problems(asked, proposal, where, start.node != BASE_PATH))
        if request.mode == "steer":
            own += _branch_problems(asked, start, f"{where}.branchFrom.step")
        found += own
        if own:
            continue
        child = {**asked.path[-1].parameters, **proposal.changes}
        others = seen.setdefault((start.node, start.step), [])
        found += _place_problems(asked, start.step, child, where, others)
        others.append((where, child))
    return found


def branch_steps(stage: StageView) -> list[int]:
    """Steps that a child of the stage to expand may start from."""
    return sorted(stage.checkpoints) or [stage.steps]


def metric_names(request: ProposalRequest) -> set[str]:
    """Metric names that an answer may cite or make a forecast for."""
    stage = request.path[-1]
    names = {request.objective, *CURVE_METRICS, *request.curve.metrics, *stage.features}
    for score in (*stage.scores, *request.curve.scores):
        names |= set(score.metrics) | {f"eval/{name}" for name in score.metrics}
    return names


def memory_was_short(request: ProposalRequest) -> bool:
    """Whether the request itself shows an out-of-memory: the agent's word alone is not enough."""
    stages = (request.path[-1], *request.children)
    return (
        any(s.outcome == "OutOfMemory" for s in stages)
        or any(p.kind == PathologyKind.OUT_OF_MEMORY for p in request.path[-1].pathologies)
        or any(i.outcome == "OutOfMemory" for i in request.infeasible)
    )


def clean(text: str, limit: int) -> str:
    """Text for logs, terminals and statuses: printable, one line, at most ``limit`` characters."""
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    kept = " ".join(kept.split())
    return kept if len(kept) <= limit else kept[: max(limit - 1, 0)] + "…" * (limit > 0)


def _plain(
    space: Mapping[str, Parameter], parent: SettingsMap, changes: SettingsMap
) -> SettingsMap:
    plain: SettingsMap = {}
    for name, value in changes.items():
        parameter = space.get(name)
        if parameter is not None and not isinstance(value, bool | str):
            if abs(value) > LARGEST:
                pass
            elif parameter.type == "int" and value == value // 1:
                value = int(value)
            elif parameter.type == "float":
                value = float(value)
            elif parameter.choices is not None:
                value = next((c for c in parameter.choices if _same(c, value)), value)
        if name not in parent or not _same(parent[name], value):
            plain[name] = value
    return plain


def _same(a: Scalar, b: Scalar) -> bool:
    return isinstance(a, bool | str) == isinstance(b, bool | str) and a == b


def _with_text_cut(answer: ProposalAnswer, limit: int) -> ProposalAnswer:
    names = max(limit, 64)
    return answer.with_(
        diagnosis=[
            d.with_(evidence=clean(d.evidence, min(limit, 512)))
            for d in answer.diagnosis[: 16 if limit > 64 else 4]
        ],
        branch_from=answer.branch_from.with_(
            reason=clean(answer.branch_from.reason, min(limit, 512))
        ),
        proposals=[
            p.with_(
                rationale=clean(p.rationale, limit),
                justification=clean(p.justification, min(limit, 512)),
                expected={clean(k, names): v for k, v in p.expected.items()},
                branch_from=p.branch_from.with_(reason=clean(p.branch_from.reason, min(limit, 512)))
                if p.branch_from
                else None,
            )
            for p in answer.proposals
        ],
        stop=[o.with_(reason=clean(o.reason, min(limit, 512))) for o in answer.stop],
    )


def _branch_problems(request: ProposalRequest, start: BranchFrom, where: str) -> Iterator[str]:
    stage = request.path[-1]
    steps = branch_steps(stage) if request.mode == "expand" else sorted(stage.checkpoints)
    if start.step not in steps:
        yield f"{where}: found {start.step}, there are checkpoints at {steps}"


def _diagnosis_problems(request: ProposalRequest, answer: ProposalAnswer) -> Iterator[str]:
    names = metric_names(request)
    for index, diagnosis in enumerate(answer.diagnosis):
        if not _cites(diagnosis, names):
            yield (
                f"diagnosis[{index}].evidence: must cite a metric by its name and steps or values "
                f"as numbers, found {clean(diagnosis.evidence, 80)!r}"
            )


def _cites(diagnosis: Diagnosis, names: set[str]) -> bool:
    text = diagnosis.evidence.lower()
    if diagnosis.kind == PathologyKind.OUT_OF_MEMORY:
        return "memory" in text
    known = {"evaluation", *(w for n in names for w in _WORD.findall(n.lower()))} - {"completions"}
    return bool(re.search(r"\d", text)) and not known.isdisjoint(_WORD.findall(text))


def _proposal_problems(
    request: ProposalRequest, proposal: Proposal, where: str, bounded: bool
) -> Iterator[str]:
    """``bounded``: there is a stage before, from which a step may be too large."""
    space = {p.name: p for p in request.parameters}
    parent = request.path[-1].parameters
    if not proposal.changes and request.mode == "expand":
        yield f"{where}.changes: nothing changes; going on unchanged is always tried anyway"
    if bounded and len(proposal.changes) > MAX_CHANGES and not proposal.justification.strip():
        yield (
            f"{where}.changes: {len(proposal.changes)} parameters change, at most {MAX_CHANGES} "
            "are allowed without a justification"
        )
    for name, new in proposal.changes.items():
        at = f"{where}.changes.{clean(name, 63)}"
        parameter = space.get(name)
        if parameter is None:
            yield f"{at}: not a searched parameter; searched are {', '.join(sorted(space))}"
        elif problem := _value_problem(parameter, new):
            yield f"{at}: {problem}"
        elif bounded and name in parent:
            if problem := beyond_bounds(parameter, parent[name], new):
                yield f"{at}: {problem}"
            if _decreases(parameter, parent[name], new):
                yield from _decrease_problems(request, proposal, at)
    names = metric_names(request)
    for name, value in proposal.expected.items():
        if name not in names:
            yield (
                f"{where}.expected: {clean(name, 63)!r} is not a metric of this search; there are "
                f"{', '.join(sorted(names))}"
            )
        elif not math.isfinite(value):
            yield f"{where}.expected.{name}: found {value}, a finite number is needed"


def _value_problem(parameter: Parameter, value: Scalar) -> str | None:
    if isinstance(value, int | float) and abs(value) > LARGEST:
        return f"a number beyond {LARGEST:g}"
    problem = parameter.problem_with(value)
    if problem is None and parameter.name == "num_generations" and float(value) < 2:
        problem = f"found {value}, a group needs at least 2 completions"
    return clean(problem, 300) if problem else None


def _decreases(parameter: Parameter, old: Scalar, new: Scalar) -> bool:
    if parameter.role != Role.CAPACITY:
        return False
    if isinstance(old, int | float) and isinstance(new, int | float):
        return new < old
    return parameter.to_unit(new) < parameter.to_unit(old)


def _decrease_problems(request: ProposalRequest, proposal: Proposal, at: str) -> Iterator[str]:
    if not memory_was_short(request):
        yield f"{at}: capacity may shrink only where a stage ran out of memory, and none did"
    elif not proposal.justification.strip():
        yield f"{at}: capacity shrinks; say in 'justification' why memory makes it necessary"


def _place_problems(
    request: ProposalRequest,
    step: int,
    child: SettingsMap,
    where: str,
    seen: list[tuple[str, SettingsMap]],
) -> Iterator[str]:
    """Problems of the resulting settings as a whole: tried already, or known not to run."""
    parameters = [p for p in request.parameters if p.name in child]
    for sibling in request.children:
        if sibling.start_step in (None, step) and _near(parameters, child, sibling.parameters):
            yield f"{where}: within {DUPLICATE:g} of stage {sibling.path}, which was tried already"
    for other, settings in seen:
        if _near(parameters, child, settings):
            yield f"{where}: within {DUPLICATE:g} of {other}"
    for known in request.infeasible:
        if _near(parameters, child, known.parameters):
            yield f"{where}: within {DUPLICATE:g} of settings that ended {known.outcome}"
        elif known.outcome == "OutOfMemory" and _needs_as_much(parameters, child, known.parameters):
            yield f"{where}: needs at least the memory of settings that ended OutOfMemory"


def _near(parameters: list[Parameter], a: SettingsMap, b: SettingsMap) -> bool:
    return all(p.name in b for p in parameters) and distance(parameters, a, b) <= DUPLICATE


def _needs_as_much(parameters: list[Parameter], a: SettingsMap, b: SettingsMap) -> bool:
    sized = [p for p in parameters if p.role == Role.CAPACITY and p.name in b]
    return bool(sized) and all(p.to_unit(a[p.name]) >= p.to_unit(b[p.name]) for p in sized)
