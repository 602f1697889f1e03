"""Tasks: four splits that share nothing, the same on every machine; scorers."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmzero.api.task import Splits, Task
from llmzero_trainer import tasks
from llmzero_trainer.errors import StageError
from llmzero_trainer.tasks.base import LoadedTask, Question

SIZES = Splits(train=40, search=10, promote=10, held_out=20)
SPLITS = ("train", "search", "promote", "heldOut")


def load(name: str, sizes: Splits = SIZES, train: Any = None, **options: Any) -> LoadedTask:
    return tasks.load(Task(name=name, options=options, splits=sizes), train)


def prompts(task: LoadedTask, split: str) -> list[str]:
    return [q.key for q in task.split(split)]


def assert_disjoint(task: LoadedTask) -> None:
    everything = [key for split in SPLITS for key in prompts(task, split)]
    assert len(everything) == len(set(everything))


@given(st.integers(1, 400), st.integers(2, 200), st.integers(2, 200), st.integers(2, 200))
def test_addition_splits_are_disjoint_and_held_out_stands_still(
    train: int, search: int, promote: int, held_out: int
) -> None:
    sizes = Splits(train=train, search=search, promote=promote, held_out=held_out)
    task = load("scratchpad-addition", sizes)
    assert_disjoint(task)
    assert [len(task.split(s)) for s in SPLITS] == [train, search, promote, held_out]
    other = load("scratchpad-addition", sizes.with_(train=train + 5, search=search + 3))
    assert prompts(other, "heldOut") == prompts(task, "heldOut")
    assert prompts(other, "promote") == prompts(task, "promote")


def test_the_order_of_questions_is_the_same_on_every_machine() -> None:
    task = load("scratchpad-addition")
    assert prompts(task, "heldOut")[:3] == ["10+20=", "38+20=", "24+6="]


def test_addition_has_ten_thousand_questions() -> None:
    with pytest.raises(StageError, match=r"task\.splits\.search: 9990 questions are asked for"):
        load("scratchpad-addition", SIZES.with_(search=9990))
    sizes = SIZES.with_(train=50_000)
    assert len(load("scratchpad-addition", sizes).train) == 10_000 - 40


@pytest.mark.parametrize(
    ("said", "score"),
    [("105", 1.0), (">501>105", 1.0), (">501>106", 0.0), ("", 0.0), (">105>", 0.0), ("1 05", 0.0)],
)
def test_what_follows_the_last_mark_counts(said: str, score: float) -> None:
    task = load("scratchpad-addition")
    assert task.score(said, Question("57+48=", "105")) == score


def test_train_options_leave_the_scored_questions_alone() -> None:
    plain = load("scratchpad-addition")
    easy = load("scratchpad-addition", train={"digits": 1})
    for split in SPLITS[1:]:
        assert prompts(easy, split) == prompts(plain, split)
    assert all(len(p) == 4 for p in prompts(easy, "train"))
    assert_disjoint(easy)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"digits": 4}, "task.options.digits: found 4, allowed is 1 to 3"),
        ({"digits": True}, "task.options.digits: found True"),
        ({"digit": 2}, "task.options.digit: scratchpad-addition does not know it"),
    ],
)
def test_unknown_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(StageError) as caught:
        load("scratchpad-addition", **options)
    assert words in caught.value.message


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"{i} / 2?", "answer": f"{i}/2", "level": i % 3} for i in range(100)]
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    return file


def test_jsonl_rows_become_questions(rows: Path) -> None:
    task = load("jsonl", path=str(rows))
    assert_disjoint(task)
    question = task.train[0]
    number = int(str(question.prompt).split()[0])
    assert (question.answer, dict(question.columns)) == (f"{number}/2", {"level": number % 3})
    assert [q.key for q in load("jsonl", path=str(rows)).train] == prompts(task, "train")
    assert [q.key for q in load("jsonl", path=str(rows), seed=1).train] != prompts(task, "train")


def test_jsonl_rows_that_stand_twice_are_in_one_split(rows: Path) -> None:
    rows.write_text(rows.read_text() * 3)
    assert_disjoint(load("jsonl", path=str(rows)))


def test_math_verify_scores_equal_numbers(rows: Path) -> None:
    task = load("jsonl", path=str(rows), scorer="math-verify")
    half = Question("1 / 2?", "1/2")
    assert task.score("The answer is $\\frac{1}{2}$.", half) == 1.0
    assert task.score("0.5", half) == 1.0
    assert task.score("2", half) == 0.0
    exact = load("jsonl", path=str(rows))
    assert exact.score("0.5", half) == 0.0 and exact.score(" 1/2\n", half) == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"prompt": "a", "answer": "b"}\n{"prompt": ', "rows.jsonl:2: not JSON"),
        ('["a"]\n', "rows.jsonl:1: a JSON object is needed"),
        ('{"question": "a"}\n', "rows.jsonl:1: no column 'prompt', found ['question']"),
        ('{"prompt": 7}\n', "rows.jsonl:1: prompt must be text or a list of chat messages"),
        ('{"prompt": "a", "completions": 1}\n', "column 'completions' has a name that TRL uses"),
        ("\n", "rows.jsonl: no rows"),
        ('{"prompt": "a", "answer": "b"}\n', "task.splits.heldOut: 20 questions are asked for, 1"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(rows: Path, text: str, words: str) -> None:
    rows.write_text(text)
    with pytest.raises(StageError) as caught:
        load("jsonl", path=str(rows))
    assert words in caught.value.message


def test_a_missing_file_can_be_mended(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no such file") as caught:
        load("jsonl", path=str(tmp_path / "gone.jsonl"))
    assert caught.value.reason == "Storage"
    with pytest.raises(StageError, match=r"task\.options\.path: missing"):
        load("jsonl")


def test_chat_messages_are_prompts_too(rows: Path) -> None:
    lines = [
        {"prompt": [{"role": "user", "content": f"{i}?"}], "answer": str(i)} for i in range(90)
    ]
    rows.write_text("\n".join(json.dumps(line) for line in lines))
    task = load("jsonl", path=str(rows))
    assert_disjoint(task)
    assert isinstance(task.train[0].prompt, list)


def test_a_task_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_task.py").write_text(
        "def rows(size, bonus=0):\n"
        "    for i in range(size):\n"
        "        yield {'prompt': f'{i + bonus}', 'answer': i, 'unit': 'm'}\n"
        "def score(completion, answer, unit):\n"
        "    return float(completion == f'{answer} {unit}')\n"
        "def too_good(completion, answer):\n"
        "    return 2\n"
        "def trips(completion, answer):\n"
        "    return 1 / 0\n"
        "def broken(size):\n"
        "    yield 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    task = load("own_task:rows", size=100, scorer="own_task:score")
    assert_disjoint(task)
    question = task.search[0]
    assert task.score(f"{question.answer} m", question) == 1.0
    harder = load("own_task:rows", size=100, train={"bonus": 1000})
    assert all(int(p) >= 1000 for p in prompts(harder, "train"))
    assert prompts(harder, "search") == prompts(task, "search")
    for name, options, words in (
        ("own_task:gone", {}, "module 'own_task' has no 'gone'"),
        ("no_such_module:rows", {}, "module 'no_such_module' cannot be imported"),
        ("own_task:broken", {"size": 9}, "row 0: a dict with prompt and answer is needed"),
        ("own_task:rows", {"length": 9}, "unexpected keyword argument 'length'"),
    ):
        with pytest.raises(StageError) as caught:
            load(name, **options)
        assert words in caught.value.message
    for scorer, words in (("too_good", "returned 2"), ("trips", "raised ZeroDivisionError")):
        wild = load("own_task:rows", size=100, scorer=f"own_task:{scorer}")
        with pytest.raises(StageError, match=words):
            wild.score("x", wild.train[0])


def test_reasoning_gym_by_name() -> None:
    task = load("reasoning-gym", dataset="chain_sum", max_terms=3)
    assert_disjoint(task)
    question = task.search[0]
    assert task.score(str(question.answer), question) == 1.0
    assert task.score(f"so <answer> {question.answer} </answer>", question) == 1.0
    assert task.score("no idea", question) < 1.0
    assert json.loads(question.columns["metadata"])["source_dataset"] == "chain_sum"
    again = load("reasoning-gym", dataset="chain_sum", max_terms=3, train={"max_terms": 9})
    assert prompts(again, "search") == prompts(task, "search")
    assert prompts(again, "train") != prompts(task, "train")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "task.options.dataset: missing"),
        ({"dataset": "chain_some"}, "reasoning-gym refuses 'chain_some'"),
        ({"dataset": "chain_sum", "terms": 1}, "unexpected keyword argument 'terms'"),
        ({"dataset": "chain_sum", "seed": "x"}, "task.options.seed: found 'x'"),
    ],
)
def test_reasoning_gym_refusals(options: dict[str, Any], words: str) -> None:
    with pytest.raises(StageError) as caught:
        load("reasoning-gym", **options)
    assert words in caught.value.message


def test_a_hugging_face_data_set_from_disk(tmp_path: Path) -> None:
    from datasets import Dataset

    rows = {"question": [f"q{i}" for i in range(90)], "solution": [str(i) for i in range(90)]}
    Dataset.from_dict({**rows, "extra": list(range(90))}).save_to_disk(str(tmp_path / "set"))
    task = load(
        "huggingface",
        path=str(tmp_path / "set"),
        prompt_column="question",
        answer_column="solution",
    )
    assert_disjoint(task)
    assert set(task.train[0].columns) == {"extra"}
    with pytest.raises(StageError, match="gone"):
        load("huggingface", path=str(tmp_path / "gone"))
