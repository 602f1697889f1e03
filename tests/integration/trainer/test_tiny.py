"""Every tiny model can be made and trained on its task; its warm-up is cut short here."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from llmzero.api.catalog import BUILTIN_MODELS
from llmzero.api.spec import Evaluation
from llmzero.api.task import ModelSource, Reward, Splits, Task
from llmzero_trainer import tiny
from llmzero_trainer.tiny import recipe_module, warmup
from tests.integration.trainer.conftest import Bench, stage_request

REWARDS = {"imperfect-verifier": "llmzero_trainer.tasks.imperfect_verifier:verifier"}


@pytest.mark.parametrize("name", BUILTIN_MODELS)
def test_a_model_is_made_and_trained_on_its_task(name: str, bench: Bench, tmp_path: Path) -> None:
    short = SimpleNamespace(RECIPE=replace(recipe_module(name).RECIPE, steps=3))
    tiny.make(short, tmp_path / "model")  # type: ignore[arg-type]
    length = BUILTIN_MODELS[name]
    request = stage_request(
        "only",
        model=ModelSource(path=str(tmp_path / "model")),
        task=Task(
            name=name,
            splits=Splits(train=64, search=24, promote=2, held_out=2),
            rewards=[Reward(name=REWARDS.get(name, "task"))],
        ),
        evaluation=Evaluation(max_completion_length=length),
        grpo={"max_completion_length": length},
    )
    run = bench.run(request)
    assert run.code == 0, run.text
    assert run.result.questions == 24


def test_a_rare_beginning_becomes_as_rare_as_is_asked_for() -> None:
    """A tenth of the warm-up is enough, where that alone matters."""
    recipe = recipe_module("imperfect-verifier").RECIPE
    rare = replace(recipe.rare, weight=1.0)
    recipe = replace(recipe, steps=100, rare=rare)
    model = warmup.train(recipe)
    ids = torch.tensor(
        [[recipe.tokens.index(c) for c in prompt] for prompt in ("57+48=", "12+34=")]
    )
    with torch.no_grad():
        starts = model(input_ids=ids).logits[:, -1].log_softmax(-1)
    found = starts[:, recipe.tokens.index(rare.symbol)]
    assert (found - rare.log_p).abs().max() < 0.3
