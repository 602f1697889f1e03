"""Tables and the picture of the pages, from stored results; the pages hold what the results say."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmzero.bench import pictures, tables

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "benchmarks/simulator.json", *sorted((ROOT / "benchmarks/trained").glob("*.json"))]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKED = "Above.\n<!-- results: {} -->\nold\n<!-- end of results -->\nBelow.\n"


def columns(score: float, seeds: int = 4, first: int = 0) -> dict[str, list[Any]]:
    scores = [round(score + 0.01 * i, 3) for i in range(seeds)]
    return {
        "seed": list(range(first, first + seeds)),
        "score": scores,
        "area": [s / 2 for s in scores],
        "base": [0.25] * seeds,
        "train_tokens": [1.0] * seeds,
        "eval_tokens": [0.5] * seeds,
        "curve": [[0.25, s] for s in scores],
    }


def results(folder: Path) -> list[Path]:
    stored = {
        "trained": {
            "sums": {
                "llmzero": columns(0.9, 7),
                "random": columns(0.6, 6, 1),
                "grid": columns(0.92, 7),
            },
            "more": {"llmzero": columns(0.5), "random": columns(0.7)},
        },
        "simulated": {
            "world": {"llmzero": columns(0.5), "pbt": columns(0.4), "llmzero-random": columns(0.5)}
        },
    }
    files = []
    for kind, tasks in stored.items():
        for task, methods in tasks.items():
            files.append(folder / f"{task}.json")
            files[-1].write_text(json.dumps({"kind": kind, "results": {task: methods}}))
    return files


def page(folder: Path, what: str) -> str:
    return tables.filled(MARKED.format(what), tables.read(results(folder)))


def test_a_task_is_told_on_the_seeds_that_all_methods_have(tmp_path: Path) -> None:
    text = page(tmp_path, "trained sums")
    assert text.startswith("Above.") and text.endswith("Below.\n") and "old" not in text
    assert "Paired seeds: 6. The base model scores 0.250." in text
    # Seeds 1 to 6 of ours are .91 to .96; random's are .60 to .65.
    assert "| llmzero | .935 [" in text and "| random | .625 [" in text
    assert "**+50%" in text and "1.50 |" in text


def test_few_seeds_have_no_intervals(tmp_path: Path) -> None:
    text = page(tmp_path, "trained more")
    assert "Paired seeds: 4. Too few for intervals." in text
    assert "| random | .715 | .357 |  |  | 1.50 |" in text


def test_tasks_together_show_methods_that_all_of_them_have(tmp_path: Path) -> None:
    text = page(tmp_path, "trained")
    assert "sums (6 seeds)" in text and "more (4 seeds)" in text
    assert "| random |" in text and "| grid |" not in text


def test_simulated_worlds_and_ablations_are_apart(tmp_path: Path) -> None:
    assert "| pbt |" in page(tmp_path, "simulated")
    text = page(tmp_path, "ablations")
    assert "| llmzero-random | +0% [" in text and "pbt" not in text


def test_filling_twice_is_filling_once(tmp_path: Path) -> None:
    once = page(tmp_path, "trained sums")
    assert tables.filled(once, tables.read(results(tmp_path))) == once


def test_one_task_in_two_files_is_refused(tmp_path: Path) -> None:
    files = results(tmp_path)
    with pytest.raises(ValueError, match="in another file too"):
        tables.read([*files, files[0]])


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_a_page_says_what_the_results_say(path: Path) -> None:
    """`make tables` writes them anew."""
    text = path.read_text()
    assert tables.filled(text, tables.read(FILES)) == text


def test_the_picture_is_the_same_for_the_same_results(tmp_path: Path) -> None:
    drawn = []
    for name in ("one.svg", "two.svg"):
        pictures.draw(tables.read(results(tmp_path))["trained"], tmp_path / name)
        drawn.append((tmp_path / name).read_text())
    assert drawn[0] == drawn[1] and drawn[0].startswith("<?xml")


@pytest.mark.parametrize(
    ("value", "text"), [(0.9996, "1.00"), (0.9994, ".999"), (1.0, "1.00"), (0.0, ".000")]
)
def test_what_rounds_to_one_is_written_as_one(value: float, text: str) -> None:
    assert tables._number(value, 3) == text


def test_searches_that_began_with_other_base_models_are_not_compared() -> None:
    other = {**columns(0.5), "base": [0.25, 0.3, *columns(0.5)["base"][2:]]}
    with pytest.raises(ValueError, match="more than one base model"):
        tables.task_table("sums", {"llmzero": columns(0.5), "random": other})


def test_a_base_model_of_another_machine_is_told() -> None:
    ours, theirs = columns(0.9), columns(0.5)
    for found in (ours, theirs):
        found["base"] = [0.3, *found["base"][1:]]
    text = tables.task_table("sums", {"llmzero": ours, "random": theirs})
    count = len(ours["base"]) - 1
    assert f"scores 0.250 (on {count} of the seeds) and 0.300 (on 1 of the seeds)" in text
