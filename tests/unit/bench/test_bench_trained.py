"""The experiment with real training: the manifests it writes and the numbers it reads. The runs
themselves are tests/integration/test_bench_trained.py."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmzero.api.search import TrainingSearch
from llmzero.bench.methods import METHODS
from llmzero.bench.results import Results
from llmzero.bench.trained import POINTS, Run, Trained, area, best_so_far, curve
from llmzero.cli.main import app
from tests.fakes.simulated_search import simulated

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart.yaml"


def experiment(folder: Path, stages: float | None = None) -> Trained:
    return Trained.of([QUICKSTART], folder, stages)


@pytest.mark.parametrize("name", METHODS)
def test_methods_differ_in_their_strategy_alone(tmp_path: Path, name: str) -> None:
    trained = experiment(tmp_path, stages=6)
    ours = TrainingSearch.model_validate(trained.manifest(("quickstart", name, 3))).spec
    other = TrainingSearch.model_validate(trained.manifest(("quickstart", "random", 3))).spec
    assert ours.strategy.seed == 3 and ours.budget.stages == 6
    assert ours.with_(strategy=other.strategy) == other
    assert ours.strategy.max_depth == other.strategy.max_depth
    assert ours.strategy.parallelism == other.strategy.parallelism


def test_another_budget_is_another_protocol(tmp_path: Path) -> None:
    short = Trained.of([QUICKSTART], tmp_path, 20, 0.4)
    budget = TrainingSearch.model_validate(short.manifest(("quickstart", "tpe", 0))).spec.budget
    assert (budget.stages, budget.tokens) == (20, 400_000)
    for another in (short, Trained.of([QUICKSTART], tmp_path, None, 0.4)):
        assert another.protocol() != experiment(tmp_path).protocol()
        assert another.protocol()["tokens"] == 0.4


def test_results_of_a_changed_manifest_are_not_mixed_in(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    Results(experiment(tmp_path), file).write()
    Results(experiment(tmp_path), file)
    changed = tmp_path / "changed.yaml"
    changed.write_text(QUICKSTART.read_text().replace("steps: 40", "steps: 30"))
    with pytest.raises(ValueError, match="another protocol"):
        Results(Trained.of([changed], tmp_path), file)


def test_the_area_is_the_mean_of_the_best_so_far_over_the_budget() -> None:
    search, nodes = simulated()
    base, budget = 0.1, search.spec.budget.stages
    trained = sorted(
        (n for n in nodes if n.spec.steps and n.status.sequence is not None),
        key=lambda n: n.status.sequence or 0,
    )
    best, seen = base, []
    for node in trained:
        seen += [best] * round(node.status.cost.stages * 1000)
        best = max(best, node.status.result.value if node.status.result else best)
    seen += [best] * (round(budget * 1000) - len(seen))
    found = best_so_far(search, nodes, base)
    assert area(found) == pytest.approx(sum(seen) / len(seen), abs=2e-3)
    assert base < area(found) < best
    assert area(best_so_far(search, [], base)) == pytest.approx(base)
    drawn = curve(found)
    assert (len(drawn), drawn[0], drawn[-1]) == (POINTS, base, best)
    assert drawn == sorted(drawn)


def test_a_budget_of_tokens_is_what_the_curve_is_drawn_over() -> None:
    search, nodes = simulated()
    tokens = sum(n.status.cost.train_tokens + n.status.cost.eval_tokens for n in nodes)
    twice = search.with_(spec=search.spec.with_(budget=search.spec.budget.with_(tokens=2 * tokens)))
    shares = [share for share, _ in best_so_far(twice, nodes, 0.1)]
    assert shares == sorted(shares) and 0 < shares[-1] <= 0.5


def test_two_tasks_need_two_names(tmp_path: Path) -> None:
    words = ["bench", "--task", str(QUICKSTART), "--task", str(QUICKSTART), "--dir", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "is that of another task" in result.stderr


def test_a_wrong_manifest_is_told_before_anything_runs(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(QUICKSTART.read_text().replace("steps: 40", "steps: -1"))
    result = CliRunner().invoke(app, ["bench", "--task", str(wrong), "--dir", str(tmp_path / "r")])
    assert result.exit_code == 2 and "spec.stage.steps" in result.stderr
    assert not (tmp_path / "r").exists()


def test_the_table_says_that_models_were_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(self: Trained, key: tuple[str, str, int]) -> Run:
        score = 0.9 if key[1] == "llmzero" else 0.8
        return Run(score, 0.01, score / 2, 0.3, None, 3, 14, 1.0, 0.2, 60, 0.5, 1, 0)

    monkeypatch.setattr(Trained, "run", fake)
    words = ["bench", "--task", str(QUICKSTART), "--methods", "llmzero,random", "--seeds", "3"]
    result = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "results.json")])
    assert result.exit_code == 0, result.output
    assert "real GRPO runs" in result.output and "+12.5%" in result.output
    assert "early stopping ended 3 stages" in result.output
