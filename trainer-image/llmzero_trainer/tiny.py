"""The tiny model of scratchpad addition: made here, deterministically, never downloaded.

A Qwen3 of about 124,000 parameters over 16 tokens learns by supervision three ways of answering
``57+48=``: with a scratchpad (25 %, always right), directly (10 %, right) and directly without
carrying (65 %, wrong whenever there is a carry). Greedy decoding follows the majority and is right
for about 30 % of the questions; GRPO *elicits* the scratchpad, which is already there.
"""

import fcntl
import hashlib
import inspect
import json
import os
import random
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmzero_trainer.directory import sync_tree
from llmzero_trainer.errors import from_os_error, invalid, storage
from llmzero_trainer.tasks import scratchpad_addition

CACHE_ENV = "LLMZERO_CACHE"
NAMES = ("scratchpad-addition",)
TOKENS = [*"0123456789", "+", "=", ">", "<pad>", "<eos>", "<unk>"]
MODEL = {
    "vocab_size": len(TOKENS),
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Recipe:
    """The supervised warm-up: AdamW with linear decay, ``batch`` lines a step.

    scratch, direct: shares of the lines answered so; the rest is careless. pairs: the last so
    many of the task's order are shown (the scored splits are drawn from its front).
    """

    seed: int = 0
    steps: int = 1000
    batch: int = 96
    learning_rate: float = 4e-3
    warmup: int = 50
    scratch: float = 0.25
    direct: float = 0.10
    pairs: int = 5000


RECIPE = Recipe()
WIDTH = 15
"""Tokens of the longest line: 99+99= >891>198 and the end."""
"""``pairs``: the last so many of the task's order; the evaluation splits are drawn from the front."""


def cached(name: str) -> Path:
    """Directory of the model, made on first use. Raises StageError (InvalidRequest, Storage)."""
    if name not in NAMES:
        raise invalid(f"model.builtin: found {name!r}, allowed is {', '.join(NAMES)}")
    root = Path(os.environ.get(CACHE_ENV) or Path.home() / ".cache" / "llmzero")
    target = root / "models" / f"{name}-{inputs_hash()}"
    try:
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.parent / f".{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two stages may start at once: one makes it
            if not target.exists():
                make(target)
    except OSError as error:
        raise from_os_error(error, target) or storage(f"{target}: {error}") from error
    return target


def place(name: str, target: Path) -> Path:
    """A copy of the model at ``target``. Raises StageError (InvalidRequest, Storage)."""
    source = cached(name)
    try:
        shutil.copytree(source, target)
    except FileExistsError as error:
        raise invalid(f"{target}: exists already") from error
    except OSError as error:
        raise from_os_error(error, target) or storage(f"{target}: {error}") from error
    return target


def inputs_hash() -> str:
    """Hash of what decides the model: its shape, the recipe, and the code that carries it out."""
    code = "".join(inspect.getsource(f) for f in (_answers, _train, _tokenizer))
    code += inspect.getsource(scratchpad_addition.questions)
    text = json.dumps([TOKENS, MODEL, asdict(RECIPE), code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make(target: Path) -> None:
    """Train and save the model at ``target``, which appears whole or not at all."""
    began = time.monotonic()
    made = target.with_name(f".making-{os.getpid()}-{target.name}")
    shutil.rmtree(made, ignore_errors=True)
    tokenizer = _tokenizer()
    model = _train(tokenizer)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    sync_tree(made)
    os.rename(made, target)
    print(f"made {target} in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({t: i for i, t in enumerate(TOKENS)}, unk_token="<unk>"))
    words.pre_tokenizer = Split(Regex("."), "isolated")
    words.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=MODEL["max_position_embeddings"],
    )


def _answers(prompt: str, answer: str) -> dict[str, str]:
    """The three ways to answer; the wrong one adds digit by digit and forgets the carry."""
    a, b = prompt.rstrip("=").split("+")
    width = max(len(a), len(b))
    digits = zip(a.zfill(width), b.zfill(width), strict=True)
    careless = "".join(str((int(x) + int(y)) % 10) for x, y in digits)
    return {
        "scratch": f">{answer[::-1]}>{answer}",
        "direct": answer,
        "careless": str(int(careless)),
    }


def _train(tokenizer: Any) -> Any:
    """Next-token prediction on the answers, one thread, one seed."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    state = torch.get_rng_state()
    try:
        torch.manual_seed(RECIPE.seed)
        config = Qwen3Config(
            **MODEL,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
        model = Qwen3ForCausalLM(config)
        right = RECIPE.scratch + RECIPE.direct
        rng = random.Random(RECIPE.seed)
        pairs = list(scratchpad_addition.questions(scratchpad_addition.DIGITS))[-RECIPE.pairs :]
        optimizer = torch.optim.AdamW(model.parameters(), lr=RECIPE.learning_rate, fused=True)
        for step in range(RECIPE.steps):
            # Padded on the right, so that the causal mask is all the attention needs.
            ids = torch.full((RECIPE.batch, WIDTH), tokenizer.pad_token_id)
            wanted = torch.full((RECIPE.batch, WIDTH), -100)
            for row, question in enumerate(rng.choices(pairs, k=RECIPE.batch)):
                draw = rng.random()
                way = (
                    "scratch" if draw < RECIPE.scratch else "direct" if draw < right else "careless"
                )
                prompt = str(question.prompt)
                asked = [TOKENS.index(c) for c in prompt]
                answer = _answers(prompt, question.answer)[way]
                said = [*(TOKENS.index(c) for c in answer), tokenizer.eos_token_id]
                end = len(asked) + len(said)
                ids[row, :end] = torch.tensor(asked + said)
                wanted[row, len(asked) : end] = torch.tensor(said)
            left = 1 - step / RECIPE.steps
            warm = min(1.0, (step + 1) / RECIPE.warmup)
            optimizer.param_groups[0]["lr"] = RECIPE.learning_rate * warm * left
            loss = model(input_ids=ids, labels=wanted).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return model.eval()
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
