"""The pathology bench: does a provider see what is ill, and turn the right knobs?

    python tests/bench/bench_agent.py                                   # the rules
    python tests/bench/bench_agent.py --provider openai --base-url http://127.0.0.1:8000/v1 --model m

Generated histories (tests/bench/histories.py) and real ones of the tiny model (tests/bench/real).
Prints tables and writes benchmarks/agent.json; exits with 1 where the rules stay below 90 %.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from llmzero.agent.decide import Decider
from llmzero.agent.llm import Llm
from llmzero.agent.metrics import Metrics
from llmzero.agent.prices import load_prices
from llmzero.agent.settings import AgentSettings
from llmzero.api.contract import ExitCode, ResultRecord, parse_record
from llmzero.api.curve import PathologyKind as K
from llmzero.api.proposals import Answered, Proposal, ProposalRequest
from llmzero.api.stage import Outcome
from llmzero.client.judge import problems
from tests.bench.histories import History, generated, question, space
from tests.bench.record_histories import CASES, FOLDER, GRPO

OUT = Path(__file__).parents[2] / "benchmarks" / "agent.json"
NEEDED = 0.9

Knob = tuple[str, int]
UP, DOWN, ANY = 1, -1, 0
RIGHT: dict[K, frozenset[Knob]] = {
    K.NON_FINITE: frozenset({("learning_rate", DOWN), ("max_grad_norm", DOWN)}),
    K.GRADIENT_SPIKES: frozenset({("learning_rate", DOWN), ("max_grad_norm", DOWN)}),
    K.OUT_OF_MEMORY: frozenset({("num_generations", DOWN), ("max_completion_length", DOWN)}),
    K.REWARD_HACKING: frozenset({("beta", UP), ("temperature", UP)}),
    K.POLICY_DRIFT: frozenset({("beta", UP), ("learning_rate", DOWN)}),
    K.OVER_CONSTRAINED: frozenset({("beta", DOWN)}),
    K.ENTROPY_COLLAPSE: frozenset({("temperature", UP), ("entropy_coef", UP), ("epsilon_high", UP)}),
    K.ENTROPY_EXPLOSION: frozenset({("temperature", DOWN), ("learning_rate", DOWN)}),
    K.TRUNCATION: frozenset({("max_completion_length", UP), ("temperature", DOWN)}),
    K.LENGTH_HACKING: frozenset({("loss_type", ANY), ("learning_rate", DOWN), ("beta", UP)}),
    K.ZERO_VARIANCE_GROUPS: frozenset({("num_generations", UP), ("temperature", UP)}),
    K.CLIP_SATURATION: frozenset({("learning_rate", DOWN), ("num_iterations", DOWN)}),
    K.STALE_SAMPLER: frozenset({("learning_rate", DOWN), ("num_iterations", DOWN)}),
    K.OVERFIT: frozenset({("beta", UP), ("learning_rate", DOWN)}),
    K.PLATEAU: frozenset({("learning_rate", ANY), ("temperature", ANY), ("max_completion_length", UP)}),
}  # fmt: skip
"""One of these must be in the first proposal. Source: the table of grpo-pathologies."""
WRONG: dict[K, frozenset[Knob]] = {
    K.NON_FINITE: frozenset({("learning_rate", UP)}),
    K.GRADIENT_SPIKES: frozenset({("learning_rate", UP)}),
    K.OUT_OF_MEMORY: frozenset({("num_generations", UP), ("max_completion_length", UP)}),
    K.REWARD_HACKING: frozenset({("beta", DOWN)}),
    K.POLICY_DRIFT: frozenset({("beta", DOWN), ("learning_rate", UP)}),
    K.OVER_CONSTRAINED: frozenset({("beta", UP)}),
    K.ENTROPY_COLLAPSE: frozenset({("temperature", DOWN)}),
    K.ENTROPY_EXPLOSION: frozenset({("temperature", UP)}),
    K.LENGTH_HACKING: frozenset({("max_completion_length", UP)}),
    K.ZERO_VARIANCE_GROUPS: frozenset({("num_generations", DOWN)}),
    K.CLIP_SATURATION: frozenset({("learning_rate", UP), ("num_iterations", UP)}),
    K.STALE_SAMPLER: frozenset({("num_iterations", UP)}),
}
"""None of these may be in the first proposal, unless it is a remedy of another injected kind."""


@dataclass(frozen=True)
class Scored:
    """One history and how a provider did on it."""

    name: str
    group: str
    injected: frozenset[K]
    found: frozenset[K]
    agrees: bool
    direction: bool
    valid: bool
    answered: Answered
    seconds: float


def knobs(parent: dict[str, Any], proposal: Proposal) -> set[Knob]:
    """The changes as directions; a change of anything without an order is ANY."""
    turned: set[Knob] = set()
    for name, new in proposal.changes.items():
        old = parent[name]
        turned.add((name, ANY))
        if isinstance(old, int | float) and isinstance(new, int | float):
            turned.add((name, UP if new > old else DOWN))
    return turned


def well_aimed(kinds: Iterable[K], parent: dict[str, Any], proposal: Proposal) -> bool:
    """Whether the proposal treats one of the kinds and turns no knob the wrong way."""
    turned = knobs(parent, proposal)
    if not kinds:
        return True
    remedies = set().union(*(RIGHT[k] for k in kinds))
    harm = set().union(*(WRONG.get(k, frozenset()) for k in kinds)) - remedies
    if K.REWARD_HACKING in kinds and {n for n, _ in turned} == {"learning_rate"}:
        return False
    return bool(turned & remedies) and not turned & harm


def real() -> list[tuple[str, frozenset[K], ProposalRequest]]:
    """The recorded stages: name, kinds any of which is a fair diagnosis, question."""
    cases = []
    for case in CASES:
        file = FOLDER / f"{case.name}.jsonl"
        lines = [parse_record(line) for line in file.read_text().splitlines()]
        result = lines[-1]
        assert isinstance(result, ResultRecord)
        diverged = result.exit_code == ExitCode.DIVERGED
        outcome = Outcome.DIVERGED if diverged else Outcome.SUCCEEDED
        settings = {**GRPO, **case.grpo}
        names = ("learning_rate", "beta", "temperature", "max_completion_length",
                 "num_generations", "num_iterations")  # fmt: skip
        searched = {**{n: settings[n] for n in names}, "loss_type": "dapo"}
        fixed = {k: v for k, v in settings.items() if k not in searched}
        parameters = [
            p.model_copy(update={"min": 0.05, "max": 4.0})
            if p.name == "temperature"
            else p.model_copy(update={"max": 8.0})
            if p.name == "beta"
            else p.model_copy(update={"choices": [2, 4, 8, 16]})
            if p.name == "num_generations"
            else p
            for p in space(searched, int(searched["max_completion_length"]))
        ]
        asked = question(
            f"real/{case.name}", lines, searched, outcome, case.steps, parameters, fixed
        )
        cases.append((case.name, frozenset(K(k) for k in case.kinds), asked))
    return cases


async def ask(decider: Decider, request: ProposalRequest) -> tuple[Answered, float]:
    started = time.perf_counter()
    answered = await decider.propose(request, decider.settings.timeout_seconds)
    return answered, time.perf_counter() - started


def valid(request: ProposalRequest, answered: Answered, rules: bool) -> bool:
    """After at most one repair; an answer that the rules had to give for a model is not."""
    own = answered.answered_by in (("rules",) if rules else ("agent", "repaired"))
    return own and not problems(request, answered.answer)


async def score(decider: Decider, histories: Sequence[History], rules: bool) -> list[Scored]:
    scored = []
    for h in histories:
        answered, seconds = await ask(decider, h.request)
        found = frozenset(d.kind for d in answered.answer.diagnosis)
        parent = dict(h.request.path[-1].parameters)
        scored.append(
            Scored(
                h.name,
                "tuning" if h.tuning else "kept out",
                h.injected,
                found,
                h.injected <= found <= h.injected | h.allowed,
                well_aimed(h.injected, parent, answered.answer.proposals[0]),
                valid(h.request, answered, rules),
                answered,
                seconds,
            )
        )
    return scored


async def score_real(decider: Decider, rules: bool) -> list[Scored]:
    scored = []
    for name, kinds, request in real():
        answered, seconds = await ask(decider, request)
        found = frozenset(d.kind for d in answered.answer.diagnosis)
        agrees = bool(found & kinds) if kinds else not found
        parent = dict(request.path[-1].parameters)
        hit = found & kinds or kinds
        aimed = well_aimed(hit, parent, answered.answer.proposals[0])
        ok = valid(request, answered, rules)
        scored.append(Scored(name, "real", kinds, found, agrees, aimed, ok, answered, seconds))
    return scored


def share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return sum(values) / len(values) if values else 0.0


def summary(scored: Sequence[Scored]) -> dict[str, Any]:
    seconds = sorted(s.seconds for s in scored)
    usage = [s.answered.usage for s in scored]
    return {
        "histories": len(scored),
        "agreement": round(share(s.agrees for s in scored), 4),
        "direction": round(share(s.direction for s in scored), 4),
        "valid": round(share(s.valid for s in scored), 4),
        "repaired": sum(s.answered.answered_by == "repaired" for s in scored),
        "inputTokens": round(statistics.mean(u.input_tokens for u in usage)),
        "outputTokens": round(statistics.mean(u.output_tokens for u in usage)),
        "dollars": round(statistics.mean(u.dollars for u in usage), 6),
        "p50Milliseconds": round(1000 * seconds[len(seconds) // 2], 2),
        "p99Milliseconds": round(1000 * seconds[int(0.99 * (len(seconds) - 1))], 2),
    }


def per_kind(scored: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """Recall and precision of each kind (precision does not count what is allowed beside)."""
    table: dict[str, dict[str, float]] = {}
    for kind in K:
        injected = [s for s in scored if kind in s.injected]
        found = [s for s in scored if kind in s.found]
        if injected or found:
            table[kind.value] = {
                "injected": len(injected),
                "found": len(found),
                "recall": round(share(kind in s.found for s in injected), 3),
                "direction": round(share(s.direction for s in injected), 3),
            }
    return table


def confusion(scored: Sequence[Scored]) -> dict[str, dict[str, int]]:
    """Injected (single kinds and healthy) to found, counts; nothing found is Healthy."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for s in scored:
        if len(s.injected) <= 1:
            row = next(iter(s.injected)).value if s.injected else "Healthy"
            for column in [k.value for k in s.found] or ["Healthy"]:
                table[row][column] += 1
    return {row: dict(sorted(columns.items())) for row, columns in sorted(table.items())}


def show(results: dict[str, Any]) -> None:
    head = ("", "histories", "agreement", "direction", "valid", "in", "out", "p50 ms")
    rows = [head] + [
        (name, str(r["histories"]), f"{r['agreement']:.1%}", f"{r['direction']:.1%}",
         f"{r['valid']:.1%}", str(r["inputTokens"]), str(r["outputTokens"]),
         f"{r['p50Milliseconds']:g}")
        for name, r in results["groups"].items()
    ]  # fmt: skip
    print_table(rows)
    print("\nper kind (generated)")
    print_table(
        [("", "injected", "found", "recall", "direction")]
        + [
            (k, str(r["injected"]), str(r["found"]), f"{r['recall']:.0%}", f"{r['direction']:.0%}")
            for k, r in results["kinds"].items()
        ]
    )
    print("\nconfusion (single injections): injected -> found, counts")
    for row, columns in results["confusion"].items():
        print(f"  {row:20} {', '.join(f'{k} {n}' for k, n in columns.items())}")
    print("\nreal histories")
    print_table(
        [("", "expected any of", "found", "agrees", "direction", "first proposal")]
        + [tuple(str(x) for x in row) for row in results["real"]]
    )
    if results["disagreements"]:
        print("\ngenerated histories that disagree: injected, found")
        for name, injected, found in results["disagreements"][:40]:
            print(f"  {name}: {injected or '-'} | {found or '-'}")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = zip(row, widths, strict=True)
        print("  " + "  ".join(cell.ljust(width) for cell, width in cells).rstrip())


def names(kinds: Iterable[K]) -> str:
    return ", ".join(sorted(k.value for k in kinds))


async def run(settings: AgentSettings, repeats: int, limit: int | None) -> dict[str, Any]:
    """All scores of one provider as JSON data."""
    rules = settings.provider == "rules"
    llm = None if rules else Llm(settings)
    decider = Decider(settings, llm, load_prices(settings.prices_file), Metrics())
    histories = list(generated(repeats=repeats))
    if limit is not None:
        histories = histories[:: max(len(histories) // limit, 1)]
    try:
        made = await score(decider, histories, rules)
        recorded = await score_real(decider, rules)
    finally:
        await decider.aclose()
    groups = {"generated": summary(made)}
    for group in ("tuning", "kept out"):
        groups[group] = summary([s for s in made if s.group == group])
    groups["real"] = summary(recorded)
    return {
        "provider": decider.provider,
        "groups": groups,
        "kinds": per_kind(made),
        "confusion": confusion(made),
        "real": [
            [s.name, names(s.injected) or "well", names(s.found) or "well", s.agrees, s.direction,
             ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
                       for k, v in s.answered.answer.proposals[0].changes.items())]
            for s in recorded
        ],
        "disagreements": [
            [s.name, names(s.injected), names(s.found)] for s in made if not s.agrees
        ],
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--provider", default="rules", choices=["rules", "openai", "anthropic"])
    parser.add_argument("--base-url")
    parser.add_argument("--model", default="")
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--prices-file", type=Path)
    parser.add_argument("--output-mode", default="auto")
    parser.add_argument("--no-vision", action="store_true")
    parser.add_argument("--repeats", type=int, default=3, help="noise seeds of each family")
    parser.add_argument("--limit", type=int, help="about so many generated histories")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    settings = AgentSettings.model_validate(
        {
            "provider": given.provider,
            "base_url": given.base_url,
            "model": given.model,
            "key_file": given.key_file,
            "prices_file": given.prices_file,
            "output_mode": given.output_mode,
            "vision": not given.no_vision,
        }
    )
    results = asyncio.run(run(settings, given.repeats, given.limit))
    show(results)
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(results, indent=1) + "\n")
    agreement = results["groups"]["generated"]["agreement"]
    if given.provider == "rules" and agreement < NEEDED:
        print(f"\nthe rules agree on {agreement:.1%}, at least {NEEDED:.0%} are needed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
