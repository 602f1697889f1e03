"""From questions to completions: prompts as TRL makes them, one batch decoded, its entropy metered."""

from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from llmzero.api.contract import StageRequest
from llmzero_trainer.errors import invalid
from llmzero_trainer.tasks.base import Question

DEFAULT_LENGTH = 512


class EntropyMeter(LogitsProcessor):  # type: ignore[misc]
    """Mean entropy of the next token in nats at temperature 1, over the tokens decoded.

    transformers calls it before the temperature is applied; it changes nothing.
    """

    def __init__(self) -> None:
        self._first = True
        self._batches: list[torch.Tensor] = []
        self._open = torch.ones(0, dtype=torch.bool)
        self._eos = torch.ones(0, dtype=torch.long)

    def begin(self, rows: int, eos: list[int], device: torch.device) -> None:
        """A new batch starts: every row is open until it has said ``eos``."""
        self._open = torch.ones(rows, dtype=torch.bool, device=device)
        self._eos = torch.tensor(eos, dtype=torch.long, device=device)
        self._batches.append(torch.zeros(2, dtype=torch.float64, device=device))
        self._first = True

    def drop_batch(self) -> None:
        """Forget the batch that was begun last."""
        self._batches.pop()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not self._first:
            self._open &= ~torch.isin(input_ids[:, -1], self._eos)
        self._first = False
        logs = torch.log_softmax(scores.float(), dim=-1)
        entropy = -(logs.exp() * logs).nan_to_num(0.0).sum(-1)
        self._batches[-1] += torch.stack([(entropy * self._open).sum(), self._open.sum()])
        return scores

    def mean(self) -> float:
        """Nats; read once at the end, for on a GPU every look waits for the device."""
        total, count = torch.stack(self._batches).sum(0).tolist()
        return float(total / max(count, 1))


def prompt_of(question: Question, request: StageRequest, tokenizer: Any) -> Any:
    """The prompt as TRL takes it: chat messages where the model has a chat template, else text."""
    system = request.task.system_prompt
    prompt = question.prompt
    if tokenizer.chat_template is None:
        if not isinstance(prompt, str):
            raise invalid("task: prompts are chat messages, but the model has no chat template")
        return f"{system}\n\n{prompt}" if system else prompt
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return [{"role": "system", "content": system}, *messages] if system else messages


def tokenize(tokenizer: Any, prompts: list[Any], request: StageRequest) -> list[list[int]]:
    """Token ids as GRPOTrainer makes them."""
    if isinstance(prompts[0], str):
        return list(tokenizer(text=prompts)["input_ids"])
    return list(
        tokenizer.apply_chat_template(
            conversation=prompts,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **(request.grpo.get("chat_template_kwargs") or {}),
        )["input_ids"]
    )


def generate(
    model: Any,
    tokenizer: Any,
    prompts: list[Any],
    decoding: GenerationConfig,
    request: StageRequest,
    entropy: EntropyMeter,
) -> tuple[list[str], list[list[int]]]:
    """Texts and token ids (up to and with the end token) of one completion for each prompt."""
    ids = tokenize(tokenizer, prompts, request)
    width = max(map(len, ids))
    padded = torch.tensor([[tokenizer.pad_token_id] * (width - len(r)) + r for r in ids])
    mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in ids])
    device = next(model.parameters()).device
    eos = end_tokens(model, tokenizer)
    decoding.eos_token_id = eos
    entropy.begin(len(ids), eos, device)
    autocast = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=request.model.dtype == "bfloat16"
    )
    with autocast:
        out = model.generate(
            input_ids=padded.to(device),
            attention_mask=mask.to(device),
            generation_config=decoding,
            logits_processor=LogitsProcessorList([entropy]),
        )
    ends = set(eos)
    completions = []
    for row in out[:, width:].tolist():
        end = next((i for i, t in enumerate(row) if t in ends), len(row) - 1)
        completions.append(row[: end + 1])
    return tokenizer.batch_decode(completions, skip_special_tokens=True), completions


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """All tokens that end a completion: the model's and the tokenizer's."""
    found = model.generation_config.eos_token_id
    found = [] if found is None else [found] if isinstance(found, int) else list(found)
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in found:
        found = [tokenizer.eos_token_id, *found]
    return found
