"""GRPOTrainer as a stage needs it: whole checkpoints, our evaluation, records, honest ends."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.grpo_trainer import GRPOTrainer

from llmzero.api.contract import ExitCode, StageRequest
from llmzero_trainer.directory import StageDirectory, tree_bytes
from llmzero_trainer.emit import Emitter
from llmzero_trainer.errors import StageError, cannot_save, diverged, storage
from llmzero_trainer.evaluate import Evaluator
from llmzero_trainer.interrupt import Interrupt
from llmzero_trainer.rewards import RewardSet

ROLLOUT = "rollout.pt"
"""Completions that further steps still train on (num_iterations > 1), kept with a checkpoint."""
REFERENCE = "reference_model"
"""The KL reference's weights in a checkpoint, where it moves (sync_ref_model)."""
SAVE_WORTH = 3.0
"""On SIGTERM a checkpoint is worth its time if this many times as much work would be lost."""


class StageTrainer(GRPOTrainer):  # type: ignore[misc]
    """One stage's trainer.

    Overridden of TRL 1.16 and transformers 5: ``evaluate`` (public), ``_save_checkpoint``,
    ``create_model_card`` and ``_generate_single_turn``; tests hold each of them.
    """

    def __init__(
        self,
        *args: Any,
        directory: StageDirectory,
        emitter: Emitter,
        evaluator: Evaluator,
        generation_rows: int,
        **keywords: Any,
    ) -> None:
        self.directory = directory
        self.emitter = emitter
        self.evaluator = evaluator
        self.generation_rows = generation_rows
        self.resumable_only = False
        self.saved_at = time.monotonic()
        self.save_seconds = 1.0
        super().__init__(*args, **keywords)
        self.remove_callback(PrinterCallback)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """No model card in a stage's checkpoint."""

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Our protocol in place of TRL's own, which uses the stage's sampling settings."""
        self.control.should_evaluate = False
        try:
            self.evaluate_now()
        except StageError as error:
            if error.code is not ExitCode.INTERRUPTED:
                raise
            self.stop_soon()  # the next attempt evaluates this step
        return {}

    def stop_soon(self) -> None:
        """SIGTERM: stop after this step; save where much work would be lost."""
        lost = time.monotonic() - self.saved_at
        self.control.should_save = lost > SAVE_WORTH * self.save_seconds
        self.control.should_training_stop = True
        self.resumable_only = True

    def evaluate_now(self) -> None:
        """Score the policy at this step and say so."""
        model = self.accelerator.unwrap_model(self.model)
        done = self.evaluator.evaluate(model, self.state.global_step)
        self.emitter.evaluation(
            self.evaluator.split, done.score, done.tokens, done.seconds, done.samples
        )

    def _generate_single_turn(
        self, prompt_ids: list[Any], images: Any, multimodal_fields: Any, *args: Any, **kw: Any
    ) -> tuple[Any, Any]:
        """Decode in parts on the lower rungs of the out-of-memory ladder."""
        rows = self.generation_rows
        if rows >= len(prompt_ids) or images or multimodal_fields or self.use_vllm:
            given: tuple[Any, Any] = super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, *args, **kw
            )
            return given
        completions: list[Any] = []
        for start in range(0, len(prompt_ids), rows):
            part = prompt_ids[start : start + rows]
            ids, _ = super()._generate_single_turn(part, images, multimodal_fields, *args, **kw)
            completions += ids
        return completions, None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """A checkpoint that appears whole, behind the fence, or not at all."""
        began = time.monotonic()
        step = self.state.global_step
        self._refuse_broken_weights(step)
        made = Path(self.args.output_dir) / f"checkpoint-{step}"
        try:
            super()._save_checkpoint(model, trial)
            self._save_rollout(made)
            if self.args.sync_ref_model:
                self.ref_model.save_pretrained(made / REFERENCE)
            name = f"{'resume' if self.resumable_only else 'checkpoint'}-{step}"
            target = self.directory.publish(made, name)
        except (StageError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise cannot_save(error, made) from error
        if not self.resumable_only:
            self.directory.drop_resume_points(step)
            self.emitter.checkpoint(step, tree_bytes(target))
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - began

    def _refuse_broken_weights(self, step: int) -> None:
        for name, weight in self.model.named_parameters():
            if weight.requires_grad and not torch.isfinite(weight).all():
                raise diverged(f"weight {name} is not finite at step {step}")

    def _save_rollout(self, made: Path) -> None:
        if self.args.num_iterations > 1 and self._buffered_inputs is not None:
            torch.save({"inputs": self._buffered_inputs, "step": self._step}, made / ROLLOUT)

    def restore(self, checkpoint: Path) -> None:
        """What transformers does not restore: rollouts in use, and a reference that moves."""
        step = int(checkpoint.name.rsplit("-", 1)[1])
        self._step = step * self.args.gradient_accumulation_steps
        rollout = checkpoint / ROLLOUT
        if rollout.exists():
            kept = torch.load(rollout, map_location=self.accelerator.device, weights_only=True)
            if len(kept["inputs"]) == self.args.steps_per_generation:  # else: on another rung
                self._buffered_inputs, self._step = kept["inputs"], kept["step"]
        if self.args.sync_ref_model:
            from safetensors.torch import load_file

            weights = load_file(checkpoint / REFERENCE / "model.safetensors")
            self.accelerator.unwrap_model(self.ref_model).load_state_dict(weights, strict=False)


class StageCallback(TrainerCallback):  # type: ignore[misc]
    """Says what happens, decides when to evaluate, save and stop."""

    def __init__(
        self,
        request: StageRequest,
        emitter: Emitter,
        rewards: RewardSet,
        interrupt: Interrupt,
        moments: Path | None,
    ) -> None:
        self._request = request
        self._emitter = emitter
        self._rewards = rewards
        self._interrupt = interrupt
        self._moments = moments
        self.trainer: StageTrainer | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        self._emitter.expect(state.max_steps - state.global_step)
        if self._moments is not None:
            carry_moments(keywords["optimizer"], self._moments)
        assert self.trainer is not None
        # Nobody else scores the base model on this split; a resumed step may lack its score.
        due = self._due(state) if state.global_step else self._request.start_node is None
        if due and (self._request.split, state.global_step) not in self._emitter.scores:
            self.trainer.evaluate_now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        assert self.trainer is not None
        control.should_log = True
        if self._interrupt.requested:
            self.trainer.stop_soon()
            return control
        last = state.global_step >= state.max_steps
        control.should_evaluate = self._due(state)
        control.should_save = last or state.global_step % self._request.checkpoint_every == 0
        return control

    def _due(self, state: Any) -> bool:
        """Whether this step is to be evaluated."""
        step: int = state.global_step
        return step >= state.max_steps or step % self._request.eval_every == 0

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return  # the summary at the end of training
        stats = self._rewards.take_stats()
        metrics = {k: v for k, v in logs.items() if isinstance(v, int | float) or v is None}
        if stats.dead_fraction is not None:
            metrics["frac_reward_zero_std"] = stats.dead_fraction
        self._emitter.step(state.global_step, metrics, stats.tokens)
        for name in ("loss", "grad_norm"):
            value = metrics.get(name)
            if value is not None and not math.isfinite(value):
                raise diverged(f"{name} is {value} at step {state.global_step}")


def carry_moments(optimizer: Any, file: Path) -> None:
    """The parent's Adam moments under this stage's own learning rate and other settings.

    Raises StageError (Storage) where the file is missing or was written by another optimizer.
    """
    if not file.exists():
        raise storage(f"{file}: the parent's optimizer state is not there")
    kept = torch.load(file, map_location="cpu", weights_only=True)
    own = optimizer.state_dict()
    if [len(g["params"]) for g in kept["param_groups"]] != [
        len(g["params"]) for g in own["param_groups"]
    ]:
        raise storage(f"{file}: holds the state of other parameters than this stage trains")
    optimizer.load_state_dict({"state": kept["state"], "param_groups": own["param_groups"]})
