"""A few worst and best answers go out with an evaluation, cut short, of the search split alone."""

from types import SimpleNamespace
from typing import Any

from llmzero.api.contract import EvalRecord
from llmzero.api.curve import Score
from llmzero.api.proposals import Sample
from llmzero.api.stage import StageStatus
from llmzero.search.observer import StageObserver
from llmzero_trainer.emit import _line
from llmzero_trainer.evaluate import SAMPLE_COMPLETION, SAMPLE_PROMPT, worst_and_best
from tests.unit.builders import NOW, stage


def row(value: float, text: str, reward: float | None = 0.5) -> dict[str, Any]:
    scores = {"accuracy": [value], "reward": [] if reward is None else [reward]}
    return {"scores": scores, "texts": [text, "another"]}


def questions(count: int, prompt: Any = None) -> Any:
    return [SimpleNamespace(prompt=prompt or f"question {i}") for i in range(count)]


def test_two_of_the_worst_and_two_of_the_best() -> None:
    rows = [row(v, f"answer {i}") for i, v in enumerate([0.5, 1, 0, 0.2, 0.9, 0.4])]
    found = worst_and_best(rows, questions(6), "accuracy")
    assert [s.completion for s in found] == ["answer 2", "answer 3", "answer 4", "answer 1"]
    assert found[0] == Sample(prompt="question 2", completion="answer 2", reward=0.5)


def test_few_questions_long_texts_chats_and_rewards_that_do_not_apply() -> None:
    chat = [{"role": "user", "content": "x" * 9000}]
    (found,) = worst_and_best([row(1, "\U0001f600" * 9000, None)], questions(1, chat), "accuracy")
    assert found.prompt == "x" * SAMPLE_PROMPT
    assert found.completion == "\U0001f600" * SAMPLE_COMPLETION
    assert found.reward is None


def record(step: int, text: str, attempt: int = 1, seq: int = 1) -> EvalRecord:
    score = Score(step=step, value=0.5, standard_error=0.1, questions=2)
    samples = [Sample(prompt="p", completion=text)] if text else []
    return EvalRecord(attempt=attempt, seq=seq, time=0, score=score, samples=samples)


def test_the_status_shows_those_of_the_last_step_whatever_the_order() -> None:
    observer = StageObserver()
    for one in (record(20, "late", seq=2), record(10, "early"), record(30, "", seq=3)):
        observer.take(one)
    found = observer.status(stage("0", StageStatus()), NOW).samples
    assert [s.completion for s in found] == ["late"]


def test_a_line_that_is_too_long_goes_out_without_them() -> None:
    whole = record(10, "a")
    many = {f"reward {i:04d} of a long list": 0.5 for i in range(900)}
    long = whole.with_(score=whole.score.with_(metrics=many))
    assert '"completion":"a"' in _line(whole)
    assert "completion" not in _line(long)
