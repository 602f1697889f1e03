"""The fixed evaluation: one decoder for every stage, whatever it trains with.

Temperature, length, prompts and the random generator are the protocol's own; the generators of
the training run are put back afterwards, so that training does not notice being evaluated.
"""

import hashlib
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from llmzero.api.contract import StageRequest
from llmzero.api.curve import Score
from llmzero.api.proposals import Sample
from llmzero_trainer.decoding import DEFAULT_LENGTH, EntropyMeter, end_tokens, generate, prompt_of
from llmzero_trainer.directory import StageDirectory, write_whole
from llmzero_trainer.errors import from_os_error, invalid, storage
from llmzero_trainer.interrupt import Interrupt
from llmzero_trainer.rewards import RewardSet
from llmzero_trainer.tasks import LoadedTask
from llmzero_trainer.tasks.base import Question

RIGHT = 1.0 - 1e-6
"""Score from which on an answer counts as right for eval/accuracy."""
DIGITS_LIMIT = 4096
SHOWN = 16
"""Questions whose completions are kept in the file, shortened to SHOWN_CHARACTERS."""
SHOWN_CHARACTERS = 2000
SAMPLE_PROMPT, SAMPLE_COMPLETION = 160, 320
"""Characters of the samples that an agent may see."""


@dataclass
class Outcome:
    """A score and what it cost."""

    score: Score
    tokens: int
    seconds: float
    samples: list[Sample]


class Evaluator:
    """Scores models on one split."""

    def __init__(
        self,
        request: StageRequest,
        task: LoadedTask,
        rewards: RewardSet,
        tokenizer: Any,
        directory: StageDirectory,
        interrupt: Interrupt,
    ) -> None:
        self._request = request
        self._task = task
        self._rewards = rewards
        self._tokenizer = tokenizer
        self._directory = directory
        self._interrupt = interrupt
        self.split = request.split
        self.questions = task.split(request.split)
        known = {"accuracy", "reward", *rewards.names}
        self._objective = request.objective_metric.removeprefix("eval/")
        if self._objective not in known:
            raise invalid(
                f"objective.metric: found {request.objective_metric!r}, allowed are "
                f"{sorted('eval/' + name for name in known)}"
            )

    def evaluate(self, model: Any, step: int) -> Outcome:
        """Decode and score every question; the answers go to questions-<split>-<step>.jsonl.

        Raises StageError: RewardFailed, Interrupted, Storage.
        """
        began = time.monotonic()
        rows: list[dict[str, Any]] = []
        entropy = EntropyMeter()
        was_training = model.training
        model.eval()
        try:
            with own_randomness(self._request.split), torch.no_grad():
                for batch in self._batches():
                    self._interrupt.check()
                    rows += self._decode_in_memory(model, batch, entropy)
        finally:
            model.train(was_training)
        score = self._score(rows, step, entropy)
        self._store(rows, step)
        tokens = sum(sum(r["lengths"]) for r in rows)
        # What the other splits ask must steer nothing.
        search = self._request.split == "search"
        samples = worst_and_best(rows, self.questions, self._objective) if search else []
        return Outcome(score, tokens, time.monotonic() - began, samples)

    def _batches(self) -> Iterator[Sequence[Question]]:
        size = self._request.evaluation.batch_size
        for start in range(0, len(self.questions), size):
            yield self.questions[start : start + size]

    def _decode_in_memory(
        self, model: Any, batch: Sequence[Question], entropy: EntropyMeter
    ) -> list[dict[str, Any]]:
        """Decode a batch, in halves where it does not fit; greedy answers stay the same."""
        try:
            return self._decode(model, batch, entropy)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        entropy.drop_batch()
        torch.cuda.empty_cache()
        half = len(batch) // 2
        rows = self._decode_in_memory(model, batch[:half], entropy)
        return rows + self._decode_in_memory(model, batch[half:], entropy)

    def _decode(
        self, model: Any, batch: Sequence[Question], entropy: EntropyMeter
    ) -> list[dict[str, Any]]:
        samples = self._request.evaluation.samples
        asked = [q for q in batch for _ in range(samples)]
        prompts = [prompt_of(q, self._request, self._tokenizer) for q in asked]
        texts, ids = generate(
            model, self._tokenizer, prompts, self._generation(), self._request, entropy
        )
        conversational = not isinstance(prompts[0], str)
        said = [[{"role": "assistant", "content": t}] if conversational else t for t in texts]
        answers = self._rewards.score(asked, prompts, said, ids)
        ends = set(end_tokens(model, self._tokenizer))
        rows = []
        for place, question in enumerate(batch):
            mine = range(place * samples, (place + 1) * samples)
            scores = [self._task.score(texts[i], question) for i in mine]
            rows.append(
                {
                    "scores": {
                        "accuracy": [float(s >= RIGHT) for s in scores],
                        "reward": [self._rewards.total([a[i] for a in answers]) for i in mine],
                        **{
                            name: [a[i] for i in mine if a[i] is not None]
                            for name, a in zip(self._rewards.names, answers, strict=True)
                        },
                    },
                    "lengths": [len(ids[i]) for i in mine],
                    "clipped": [float(ids[i][-1] not in ends) for i in mine],
                    "texts": [texts[i] for i in mine],
                }
            )
        return rows

    def _generation(self) -> GenerationConfig:
        chosen = self._request.evaluation
        sampling: dict[str, Any] = {"do_sample": False}
        if chosen.temperature > 0:
            sampling = {"do_sample": True, "temperature": chosen.temperature}
            sampling |= {"top_p": chosen.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=chosen.max_completion_length or DEFAULT_LENGTH,
            pad_token_id=self._tokenizer.pad_token_id,
            disable_compile=True,
            **sampling,
        )

    def _score(self, rows: list[dict[str, Any]], step: int, entropy: EntropyMeter) -> Score:
        each = [_mean(r["scores"][self._objective]) for r in rows]
        if any(v is None for v in each):
            missing = each.index(None)
            raise invalid(
                f"objective.metric: eval/{self._objective} has no value for question {missing} "
                f"of split {self._request.split} (the reward was not applicable)"
            )
        values = [v for v in each if v is not None]
        metrics = {
            name: value
            for name in ("accuracy", "reward", *self._rewards.names)
            if (value := _mean([v for r in rows for v in r["scores"][name]])) is not None
        }
        lengths = [n for r in rows for n in r["lengths"]]
        metrics["mean_length"] = statistics.fmean(lengths)
        metrics["clipped_ratio"] = statistics.fmean(v for r in rows for v in r["clipped"])
        metrics["entropy"] = entropy.mean()
        unit = all(0 <= v <= 1 for v in values) and len(values) <= DIGITS_LIMIT
        return Score(
            step=step,
            value=round(statistics.fmean(values), 7),
            standard_error=round(statistics.stdev(values) / len(values) ** 0.5, 7),
            questions=len(values),
            metrics={k: round(v, 6) for k, v in metrics.items()},
            per_question="".join(f"{round(v * 15):x}" for v in values) if unit else "",
        )

    def _store(self, rows: list[dict[str, Any]], step: int) -> None:
        lines = []
        for place, row in enumerate(rows):
            texts = [t[:SHOWN_CHARACTERS] for t in row["texts"]] if place < SHOWN else None
            shown = {k: v for k, v in row.items() if k != "texts"}
            if texts is not None:
                asked = self.questions[place]
                shown |= {"prompt": asked.prompt, "answer": asked.answer, "completions": texts}
            lines.append(json.dumps({"question": place, **shown}, ensure_ascii=False, default=str))
        path = self._directory.path / f"questions-{self._request.split}-{step}.jsonl"
        self._directory.check_fence()
        try:
            write_whole(path, "\n".join(lines) + "\n")
        except OSError as error:
            raise from_os_error(error, path) or storage(f"{path}: {error}") from error


def worst_and_best(
    rows: Sequence[dict[str, Any]], questions: Sequence[Question], objective: str
) -> list[Sample]:
    """The first answers to the two questions with the lowest objective and the two with the
    highest, cut short."""
    order = sorted(range(len(rows)), key=lambda i: (_mean(rows[i]["scores"][objective]) or 0.0, i))
    chosen = order if len(order) <= 4 else [*order[:2], *order[-2:]]
    found = []
    for place in chosen:
        prompt = questions[place].prompt
        text = prompt if isinstance(prompt, str) else str(prompt[-1].get("content", ""))
        reward = _mean(rows[place]["scores"]["reward"])
        answer = rows[place]["texts"][0]
        found.append(
            Sample(
                prompt=text[:SAMPLE_PROMPT],
                completion=answer[:SAMPLE_COMPLETION],
                reward=None if reward is None else round(reward, 6),
            )
        )
    return found


@contextmanager
def own_randomness(name: str) -> Iterator[None]:
    """Seed every generator by ``name``; put the states of before back afterwards."""
    seed = int.from_bytes(hashlib.sha256(f"llmzero-evaluation-{name}".encode()).digest()[:4])
    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)


def _mean(values: Sequence[float | None]) -> float | None:
    found = [v for v in values if v is not None]
    return statistics.fmean(found) if found else None
