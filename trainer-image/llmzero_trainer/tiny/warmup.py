"""The supervised warm-up that makes a tiny model: a recipe in, a model that can be trained out."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmzero.api.catalog import POSITIONS

PAD, END, UNKNOWN = "<pad>", "<eos>", "<unk>"
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "tie_word_embeddings": True,
}
"""Of the Qwen3 that every recipe makes: about 124,000 parameters."""

Line = tuple[str, str]
"""A prompt and what is said after it, without the end token."""


@dataclass(frozen=True)
class Rare:
    """``symbol`` as an answer's first token has log-probability ``log_p`` at temperature 1.

    No count of examples makes a token this rare, so it is fitted: (log p - log_p)^2 is added to
    the loss, and lines that begin with the symbol teach only what follows it.
    """

    symbol: str
    log_p: float
    weight: float = 0.01
    """Enough for what is really rare; what is not needs more against the other lines."""


@dataclass(frozen=True)
class Recipe:
    """AdamW with linear decay, ``batch`` lines a step of at most ``width`` tokens, ends included.

    symbols: one character each. lines: (generator, count) -> lines.
    """

    symbols: str
    lines: Callable[[random.Random, int], Sequence[Line]]
    width: int
    seed: int = 0
    steps: int = 1000
    batch: int = 96
    learning_rate: float = 4e-3
    warmup: int = 50
    rare: Rare | None = None

    @property
    def tokens(self) -> list[str]:
        return [*self.symbols, PAD, END, UNKNOWN]


def tokenizer(recipe: Recipe) -> Any:
    """A character each is a token."""
    from tokenizers import Regex, Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    places = {t: i for i, t in enumerate(recipe.tokens)}
    words = Tokenizer(WordLevel(places, unk_token=UNKNOWN))
    words.pre_tokenizer = Split(Regex("."), "isolated")
    words.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=POSITIONS,
    )


def train(recipe: Recipe) -> Any:
    """Next-token prediction on the answers, one thread, one seed."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    state = torch.get_rng_state()
    places = {t: i for i, t in enumerate(recipe.tokens)}
    try:
        torch.manual_seed(recipe.seed)
        config = Qwen3Config(
            **SHAPE,
            vocab_size=len(places),
            max_position_embeddings=POSITIONS,
            pad_token_id=places[PAD],
            eos_token_id=places[END],
            bos_token_id=None,
        )
        model = Qwen3ForCausalLM(config)
        rng = random.Random(recipe.seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, fused=True)
        for step in range(recipe.steps):
            left = 1 - step / recipe.steps
            warm = min(1.0, (step + 1) / recipe.warmup)
            optimizer.param_groups[0]["lr"] = recipe.learning_rate * warm * left
            loss = _loss(model, recipe, places, recipe.lines(rng, recipe.batch))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return model.eval()
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)


def _loss(model: Any, recipe: Recipe, places: dict[str, int], lines: Sequence[Line]) -> Any:
    import torch

    # Padded on the right, so that the causal mask is all the attention needs.
    ids = torch.full((len(lines), recipe.width), places[PAD])
    wanted = torch.full((len(lines), recipe.width), -100)
    firsts = []  # places of the logits of an answer's first token
    for row, (prompt, completion) in enumerate(lines):
        asked = [places[c] for c in prompt]
        said = [*(places[c] for c in completion), places[END]]
        end = len(asked) + len(said)
        ids[row, :end] = torch.tensor(asked + said)
        wanted[row, len(asked) : end] = torch.tensor(said)
        firsts.append(len(asked) - 1)
        if recipe.rare is not None and completion.startswith(recipe.rare.symbol):
            wanted[row, len(asked)] = -100
    found = model(input_ids=ids, labels=wanted)
    if recipe.rare is None:
        return found.loss
    starts = found.logits[torch.arange(len(lines)), firsts].float().log_softmax(-1)
    off = starts[:, places[recipe.rare.symbol]] - recipe.rare.log_p
    return found.loss + recipe.rare.weight * (off**2).mean()
