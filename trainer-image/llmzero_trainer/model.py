"""Loading the policy, its tokenizer and its KL reference.

Weights are float32 in memory and on disk, whatever the arithmetic: transformers loads a
checkpoint in the dtype it was saved in, and bfloat16 weights at lr 1e-6 hardly move.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmzero.api.contract import StageRequest
from llmzero_trainer import tiny
from llmzero_trainer.directory import StageDirectory, remove, stage_path, write_json
from llmzero_trainer.errors import from_os_error, invalid, storage

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "config.json")
ADAPTER = ("adapter_model.safetensors", "adapter_config.json")


@dataclass
class Policy:
    """What is trained. ``lora`` is the peft config of a fresh adapter, for TRL to put on."""

    model: Any
    tokenizer: Any
    lora: Any = None


def base_path(request: StageRequest) -> str:
    """Directory or hub name of the base model; a builtin is made on first use."""
    if request.model.builtin is not None:
        return str(tiny.cached(request.model.builtin))
    assert request.model.path is not None
    return request.model.path


def start_path(root: Path, request: StageRequest) -> Path | None:
    """The checkpoint to start from; None is the base model. Raises StageError (Storage)."""
    if request.start_node is None:
        return None
    directory = StageDirectory(stage_path(root, request.search_uid, request.start_node), 1)
    path = directory.checkpoint(request.start_step or 0)
    if not path.is_dir():
        raise storage(f"{path}: the checkpoint to start from is not there")
    return path


def load_tokenizer(request: StageRequest) -> Any:
    """The base model's tokenizer, padding on the left."""
    from transformers import AutoTokenizer

    tokenizer = _loading(
        request,
        lambda where: AutoTokenizer.from_pretrained(
            where,
            revision=request.model.revision,
            trust_remote_code=request.model.trust_remote_code,
            padding_side="left",
            truncation_side="left",
        ),
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(request: StageRequest, start: Path | None) -> Policy:
    """A checkpoint (None: the base) in float32, ready to be trained (LoRA: adapter on the base)."""
    tokenizer = load_tokenizer(request)
    if request.model.peft is None:
        return Policy(_load_model(request, start), tokenizer)
    base = _load_model(request, None)
    if start is None:
        from peft import LoraConfig

        lora = LoraConfig(task_type="CAUSAL_LM", **request.model.peft.model_dump())
        return Policy(base, tokenizer, lora)
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(base, start, is_trainable=True)
    return Policy(adapted, tokenizer)


def load_scored(request: StageRequest, start: Path | None) -> Policy:
    """A checkpoint (None: the base) to evaluate, on the device that is there."""
    import torch

    policy = load_policy(request, start)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy.model.to(device).eval()
    return policy


def _load_model(request: StageRequest, checkpoint: Path | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    trust = request.model.trust_remote_code
    if checkpoint is not None:
        try:
            return AutoModelForCausalLM.from_pretrained(
                checkpoint, dtype=torch.float32, trust_remote_code=trust
            )
        except (OSError, ValueError) as error:
            raise storage(f"{checkpoint}: cannot be loaded: {error}") from error
    return _loading(
        request,
        lambda where: AutoModelForCausalLM.from_pretrained(
            where, dtype=torch.float32, revision=request.model.revision, trust_remote_code=trust
        ),
    )


def _loading(request: StageRequest, load: Any) -> Any:
    """Load from the base model's place. Raises StageError that names it."""
    where = base_path(request)
    local = os.path.isabs(where) or where.startswith(".")
    if local and not Path(where).is_dir():
        raise storage(f"model.path: {where}: no such directory")
    try:
        return load(where)
    except OSError as error:
        found = from_os_error(error, where)
        raise found or storage(f"model.path: {where}: cannot be loaded: {error}") from error
    except ValueError as error:
        raise invalid(f"model.path: {where}: {error}") from error


def keep_reference(root: Path, request: StageRequest, directory: StageDirectory) -> Path | None:
    """Store which weights the KL term refers to; their directory, or None for the base model.

    That is the parent (the checkpoint the stage starts from) or, carried, what the parent's
    stage referred to. Weights are hard links, so they outlive the pruning of the parent's
    checkpoint and take no space. A retry finds them in place.
    """
    kept = directory.path / "reference"
    note = kept / "reference.json"
    if not note.exists():
        source = _reference_source(root, request)
        made = directory.work / "reference"
        try:
            made.mkdir(parents=True, exist_ok=True)
            for name in _weight_files(source):
                _link(source / name, made / name)  # type: ignore[operator]
            write_json(made / "reference.json", {"base": source is None})
            if kept.exists():
                remove(kept)
            directory.publish(made, "reference")
        except OSError as error:
            raise from_os_error(error, made) or storage(f"{made}: {error}") from error
    return None if json.loads(note.read_text())["base"] else kept


def _reference_source(root: Path, request: StageRequest) -> Path | None:
    start = start_path(root, request)
    if start is None or not request.carry_reference:
        return start
    parents = start.parent / "reference"
    try:
        base = json.loads((parents / "reference.json").read_text())["base"]
    except FileNotFoundError as error:
        raise storage(f"{parents}: the parent's KL reference is not there") from error
    return None if base else parents


def set_adapter_reference(model: Any, reference: Path | None) -> None:
    """Put a carried KL reference into LoRA's adapter ``ref``, which TRL made from the parent."""
    import torch
    from safetensors.torch import load_file

    kept = load_file(reference / ADAPTER[0]) if reference is not None else {}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".ref." not in name:
                continue
            if reference is not None:
                weight.copy_(kept[name.replace(".ref.", ".")])
            elif ".lora_B." in name:
                weight.zero_()  # the base model: an adapter that adds nothing


def _weight_files(source: Path | None) -> list[str]:
    if source is None:
        return []
    names = [e.name for e in source.iterdir() if e.name in (*WEIGHTS, *ADAPTER)]
    return names + [e.name for e in source.glob("model-*-of-*.safetensors")]


def _link(source: Path, target: Path) -> None:
    if target.exists():
        target.unlink()
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
