"""The tiny tasks: what is right, what the base model is shown, and the limits they stand on."""

from random import Random

import pytest

from llmzero.api.catalog import BUILTIN_MODELS, POSITIONS, TASKS
from llmzero.api.task import Splits, Task
from llmzero_trainer import tasks
from llmzero_trainer.errors import StageError
from llmzero_trainer.tasks import imperfect_verifier, ramble, transcribe
from llmzero_trainer.tasks.base import LoadedTask, Question
from llmzero_trainer.tiny import inputs_hash, recipe_module
from llmzero_trainer.tiny.ramble import LETTERS
from llmzero_trainer.tiny.transcribe import SLIPS

SIZES = Splits(train=400, search=50, promote=50, held_out=100)


def load(name: str, **options: object) -> LoadedTask:
    return tasks.load(Task(name=name, options=options, splits=SIZES))


@pytest.mark.parametrize("name", BUILTIN_MODELS)
def test_a_recipe_shows_lines_that_fit_and_can_be_written(name: str) -> None:
    recipe = recipe_module(name).RECIPE
    shown = recipe.lines(Random(7), 2000)
    assert len(shown) == 2000
    for prompt, said in shown:
        assert set(prompt + said) <= set(recipe.symbols)
        assert len(prompt) + len(said) < recipe.width
        assert len(prompt) <= (TASKS[name].prompt or 6)
    assert recipe.width <= POSITIONS
    assert inputs_hash(recipe_module(name)) == inputs_hash(recipe_module(name))


@pytest.mark.parametrize("name", BUILTIN_MODELS)
def test_the_right_answer_fits_the_default_length_and_is_right(name: str) -> None:
    task = load(name)
    for split in ("train", "search", "promote", "heldOut"):
        for question in task.split(split):
            assert task.score(str(question.answer), question) == 1
            assert len(str(question.answer)) < BUILTIN_MODELS[name]


def test_no_scored_question_was_shown() -> None:
    for name in ("scratchpad-addition", "imperfect-verifier", "transcribe"):
        shown = {prompt for prompt, _ in recipe_module(name).RECIPE.lines(Random(7), 20_000)}
        task = load(name)
        for split in ("search", "promote", "heldOut"):
            assert not shown & {q.key for q in task.split(split)}


@pytest.mark.parametrize(
    ("said", "score"),
    [
        (">501>105,>111>111", 1.0),
        (LETTERS + ">501>105,>111>111", 1.0),
        (">501>105,>111>112", 0.0),
        (">105", 0.0),
        ("", 0.0),
    ],
)
def test_what_is_said_before_the_first_mark_costs_tokens_alone(said: str, score: float) -> None:
    pairs = [(57, 48), (12, 99)]
    assert ramble.asked(pairs) == "57+48,12+99="
    assert ramble.score(said, Question(ramble.asked(pairs), ramble.answered(pairs))) == score


def test_no_limit_is_short_enough_for_brevity_and_long_enough_for_the_hard() -> None:
    """What ramble stands on: a limit that leaves rambling unrewarded cuts hard answers off."""
    easy, hard = len(ramble.answered([(1, 2)])), len(ramble.answered([(1, 2), (3, 4)]))
    assert easy < len(LETTERS) + easy < hard < BUILTIN_MODELS["ramble"] < len(LETTERS) + hard


def test_the_share_of_hard_questions() -> None:
    assert not any("," in q.key for q in load("ramble", hard=0).search)
    assert all("," in q.key for q in load("ramble", hard=1).search)
    with pytest.raises(StageError, match=r"task\.options\.hard: found 2, allowed is 0 to 1"):
        load("ramble", hard=2)


def test_a_transcript_is_right_where_every_digit_is() -> None:
    digits = "012345678901234567890123"
    asked = Question(f"{digits}=", digits)
    said = [digits, f" {digits} ", digits.replace("3", "4"), digits[:-1], ""]
    assert [transcribe.score(s, asked) for s in said] == [1, 1, 0, 0, 0]


def test_the_transcriber_is_shown_slips_of_every_kind_at_every_place() -> None:
    lines = recipe_module("transcribe").RECIPE.lines(Random(7), 5000)
    for place in range(transcribe.DIGITS):
        wrong = [said[place] for asked, said in lines if said[place] != asked[place]]
        assert len(wrong) / len(lines) == pytest.approx(0.9 * SLIPS, abs=0.03)
        assert set(wrong) == set("0123456789")


def test_the_verifier_can_be_fooled_and_the_score_cannot() -> None:
    asked = Question("57+48=", "105")
    said = ["105", ">501>105", "?95", "95", "?"]
    assert imperfect_verifier.verifier(said, ["105"] * 5) == [1, 1, 1, 0, 1]
    assert [load("imperfect-verifier").score(s, asked) for s in said] == [1, 1, 0, 0, 0]
