"""Carry out one request: train or evaluate, down the out-of-memory ladder, to an exit code."""

import gc
import math
import sys
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from llmzero.api.contract import StageRequest
from llmzero.api.curve import Score
from llmzero_trainer import data_order, tasks
from llmzero_trainer.decoding import DEFAULT_LENGTH, prompt_of, tokenize
from llmzero_trainer.directory import StageDirectory, tree_bytes
from llmzero_trainer.emit import Emitter
from llmzero_trainer.errors import StageError, diverged, interrupted, invalid, out_of_memory
from llmzero_trainer.evaluate import Evaluator
from llmzero_trainer.grpo import Batching, check_fields, config, group_size, stage_batching
from llmzero_trainer.interrupt import Interrupt
from llmzero_trainer.model import (
    base_path,
    keep_reference,
    load_policy,
    load_scored,
    set_adapter_reference,
    start_path,
)
from llmzero_trainer.rewards import RewardSet
from llmzero_trainer.rewards.base import ID_COLUMN
from llmzero_trainer.tasks import LoadedTask

RUNGS = 2
"""Times that an attempt halves the micro-batch before it gives up."""
MEASURED_PROMPTS = 256
"""Prompts whose length is checked against the model's positions."""


@dataclass
class Ended:
    """How the stage ended well."""

    step: int
    score: Score | None


class Stage:
    """One attempt at one request."""

    def __init__(
        self,
        request: StageRequest,
        root: Path,
        directory: StageDirectory,
        emitter: Emitter,
        interrupt: Interrupt,
    ) -> None:
        self._request = request
        self._root = root
        self._directory = directory
        self._emitter = emitter
        self._interrupt = interrupt
        self.halvings = max(request.micro_batch_halvings, emitter.halvings)

    def run(self) -> Ended:
        """Raises StageError for every end that is not DONE."""
        quiet()
        check_fields(self._request.grpo)
        task = tasks.load(self._request.task, self._request.train_options)
        if self._request.mode == "evaluate":
            return self._evaluate(task)
        tries = 0
        while True:
            try:
                return self._train(task)
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                problem = _classify(error)
                if problem is not None:
                    raise problem from error
                if not _is_out_of_memory(error):
                    raise
                said = str(error)
            release_memory()
            tried, tries = self._cut(), tries + 1
            smaller = stage_batching(self._request, self.halvings + 1)
            if tries > RUNGS or smaller == tried:
                raise out_of_memory(
                    f"out of memory with micro-batches of {tried.micro} and {tried.generation} "
                    f"completions decoded at once, after {tries} tries: {said[:200]}"
                )
            self.halvings += 1
            print(f"out of memory, going on with {smaller}: {said[:200]}", file=sys.stderr)

    def _cut(self) -> Batching:
        return stage_batching(self._request, self.halvings)

    def _evaluate(self, task: LoadedTask) -> Ended:
        request = self._request
        step = request.start_step or 0
        self._say_attempt(None)
        policy = load_scored(request, start_path(self._root, request))
        rewards = RewardSet(request.task.rewards, task, 1)
        evaluator = self._evaluator(task, rewards, policy.tokenizer)
        self._check_positions(policy, task, evaluator)
        done = evaluator.evaluate(policy.model, step)
        self._emitter.evaluation(request.split, done.score, done.tokens, done.seconds, done.samples)
        return Ended(step, done.score)

    def _train(self, task: LoadedTask) -> Ended:
        request = self._request
        if request.steps < 1:
            raise invalid(f"steps: found {request.steps}, a stage of mode train needs at least 1")
        resume = self._resume_point()
        self._say_attempt(resume[0] if resume else None)
        rewards = RewardSet(request.task.rewards, task, group_size(request))
        if resume is not None and resume[0] >= request.steps:
            return self._score_trained(task, rewards, *resume)
        trainer = self._trainer(task, rewards, self._cut(), resumed=resume is not None)
        self._interrupt.check()
        if resume is None:
            trainer.train()
        else:
            trainer.restore(resume[1])
            trainer.train(resume_from_checkpoint=str(resume[1]))
        step = int(trainer.state.global_step)
        score = self._emitter.scores.get((request.split, step))
        if self._interrupt.requested and (step < request.steps or score is None):
            whole = self._directory.last_whole()
            kept = f"saved step {whole[0]}" if whole else "nothing was saved"
            raise interrupted(f"stopped by SIGTERM after step {step}, {kept}")
        return Ended(step, score)

    def _resume_point(self) -> tuple[int, Path] | None:
        """The furthest whole checkpoint; one that was due when SIGTERM came is made regular."""
        found = self._directory.last_whole()
        if found is None:
            return None
        step, path = found
        due = step >= self._request.steps or step % self._request.checkpoint_every == 0
        if due and path.name.startswith("resume-"):
            path = self._directory.promote_resume_point(step)
        if step in self._directory.checkpoints() and step not in self._emitter.checkpoints:
            self._emitter.checkpoint(step, tree_bytes(path))
        return step, path

    def _score_trained(self, task: LoadedTask, rewards: RewardSet, step: int, path: Path) -> Ended:
        """All steps are done; what an earlier attempt may have missed is the last evaluation."""
        score = self._emitter.scores.get((self._request.split, step))
        if score is None:
            policy = load_scored(self._request, path)
            done = self._evaluator(task, rewards, policy.tokenizer).evaluate(policy.model, step)
            self._emitter.evaluation(
                self._request.split, done.score, done.tokens, done.seconds, done.samples
            )
            score = done.score
        return Ended(step, score)

    def _trainer(self, task: LoadedTask, rewards: RewardSet, cut: Batching, resumed: bool) -> Any:
        from datasets import Dataset

        from llmzero_trainer.training import StageCallback, StageTrainer

        request = self._request
        on_cpu = not torch.cuda.is_available()
        arguments = config(request, self._directory.work, cut, rewards.weights, on_cpu)
        start = start_path(self._root, request)
        policy = load_policy(request, start)
        evaluator = self._evaluator(task, rewards, policy.tokenizer)
        self._check_positions(policy, task, evaluator)
        reference = keep_reference(self._root, request, self._directory)
        rows = self._rows(task, arguments.num_iterations)
        rewards.questions = rows
        prompts = [prompt_of(q, request, policy.tokenizer) for q in rows]
        data = Dataset.from_dict({"prompt": prompts, ID_COLUMN: range(len(rows))})
        carried = request.carry_optimizer and start is not None and not resumed
        callback = StageCallback(
            request,
            self._emitter,
            rewards,
            self._interrupt,
            start / "optimizer.pt" if carried and start else None,
        )
        if request.model.peft is None:
            # TRL loads the reference from where the policy says that it came from.
            policy.model.config._name_or_path = str(reference or base_path(request))
            if reference is None and request.model.revision is not None:
                arguments.model_init_kwargs = {"revision": request.model.revision}
        try:
            trainer = StageTrainer(
                model=policy.model,
                reward_funcs=rewards.functions,
                args=arguments,
                train_dataset=data,
                processing_class=policy.tokenizer,
                callbacks=[callback],
                peft_config=policy.lora,
                directory=self._directory,
                emitter=self._emitter,
                evaluator=evaluator,
                generation_rows=cut.generation,
            )
        except (NotImplementedError, TypeError, ValueError) as error:
            raise invalid(f"TRL refuses the stage: {error}") from error
        if request.model.peft is not None and start is not None and arguments.beta != 0:
            set_adapter_reference(trainer.model, reference)
        callback.trainer = trainer
        return trainer

    def _rows(self, task: LoadedTask, iterations: int) -> list[Any]:
        """The questions of this stage, in the order they are trained on."""
        request = self._request
        generations = math.ceil(request.steps / iterations)
        wanted = generations * request.prompts_per_step
        indices = data_order.order(request.order_seed, len(task.train), request.data_offset, wanted)
        return [task.train[i] for i in indices]

    def _evaluator(self, task: LoadedTask, rewards: RewardSet, tokenizer: Any) -> Evaluator:
        return Evaluator(self._request, task, rewards, tokenizer, self._directory, self._interrupt)

    def _check_positions(self, policy: Any, task: LoadedTask, evaluator: Evaluator) -> None:
        """Completions beyond the model's positions would be nonsense without any error."""
        request = self._request
        positions = getattr(policy.model.config, "max_position_embeddings", None)
        if positions is None:
            return
        asked = [*task.train[:MEASURED_PROMPTS], *evaluator.questions[:MEASURED_PROMPTS]]
        prompts = [prompt_of(q, request, policy.tokenizer) for q in asked]
        longest = max(map(len, tokenize(policy.tokenizer, prompts, request)))
        for field, length in (
            ("max_completion_length", int(request.grpo.get("max_completion_length") or 0)),
            (
                "evaluation.maxCompletionLength",
                request.evaluation.max_completion_length or DEFAULT_LENGTH,
            ),
        ):
            if longest + length > positions:
                raise invalid(
                    f"{field}: {length} tokens after a prompt of {longest} do not fit into the "
                    f"model's {positions} positions"
                )

    def _say_attempt(self, resumed_from: int | None) -> None:
        device = "cpu"
        if torch.cuda.is_available():
            device = torch.cuda.get_device_name(0)
        self._emitter.attempt(
            resumed_from=resumed_from,
            device=device,
            halvings=self.halvings,
            versions=versions(),
        )


def versions() -> dict[str, str]:
    """What the stage was made with, for whoever wants the same weights again."""
    found = {}
    for name in ("llmzero", "torch", "transformers", "trl"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def quiet() -> None:
    """No progress bars in a log that is followed."""
    import datasets
    from transformers.utils import logging

    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    logging.disable_progress_bar()
    datasets.disable_progress_bars()


def release_memory() -> None:
    """Give back what a dropped trainer held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return any(
        words in text
        for words in ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    )


def _classify(error: BaseException) -> StageError | None:
    """RuntimeErrors of torch that mean a stage's end of another kind."""
    if "probability tensor contains either" in str(error):
        return diverged(f"sampling failed, the policy's probabilities are not finite: {error}")
    return None
