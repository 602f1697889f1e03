"""The tiny base models: made here, deterministically, never downloaded."""

import fcntl
import hashlib
import importlib
import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Final

from llmzero.api.catalog import BUILTIN_MODELS
from llmzero.api.contract import ExitCode
from llmzero_trainer.directory import sync_tree
from llmzero_trainer.errors import (
    StageError,
    cannot_save,
    from_os_error,
    interrupted,
    invalid,
    out_of_memory,
    storage,
)

CACHE_ENV = "LLMZERO_CACHE"
AVX: Final = ("AVX2", "AVX512")
SAME_ROUNDING: Final = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"}
"""With AVX-512 sums round differently, and a thousand steps make another model of that."""
TOLD: Final = 3
"""Exit code of a making that said on its standard output why it ended."""


def cached(name: str) -> Path:
    """Directory of the model, made on first use. Raises StageError (InvalidRequest, Storage,
    Interrupted, OutOfMemory), RuntimeError."""
    module = recipe_module(name)
    root = Path(os.environ.get(CACHE_ENV) or Path.home() / ".cache" / "llmzero")
    target = root / "models" / f"{name}-{inputs_hash(module)}"
    try:
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.parent / f".{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two stages may start at once: one makes it
            if not target.exists():
                # What a making that was killed had begun.
                for left in target.parent.glob(f".making-*-{target.name}"):
                    shutil.rmtree(left)
                _make_apart(name, target, lock.fileno())
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


def recipe_module(name: str) -> ModuleType:
    """The module with the RECIPE of that model. Raises StageError (InvalidRequest)."""
    if name not in BUILTIN_MODELS:
        raise invalid(f"model.builtin: found {name!r}, allowed is {', '.join(BUILTIN_MODELS)}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def inputs_hash(module: ModuleType) -> str:
    """Hash of what decides the model: its recipe, what it is shown, the code of the warm-up."""
    from llmzero_trainer.tiny import warmup

    recipe = module.RECIPE
    shown = recipe.lines(random.Random(recipe.seed), 1000)
    plain = [repr(v) for k, v in vars(recipe).items() if k != "lines"]
    text = json.dumps([inspect.getsource(warmup), plain, shown, SAME_ROUNDING])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _make_apart(name: str, target: Path, lock: int) -> None:
    """:func:`make` in a process of its own, because torch reads how to round when it is loaded. That
    process has the lock as well: if this one dies, whoever comes next waits for the model.

    Raises StageError (Storage, Interrupted, OutOfMemory), RuntimeError.
    """
    import torch

    rounds = SAME_ROUNDING if torch.backends.cpu.get_cpu_capability() in AVX else {}
    command = [sys.executable, "-m", __name__, name, str(target)]
    done = subprocess.run(
        command, env={**os.environ, **rounds}, stdout=subprocess.PIPE, text=True, pass_fds=(lock,)
    )
    if done.returncode == TOLD:
        code, reason, message = json.loads(done.stdout)
        raise StageError(ExitCode(code), reason, message)
    if done.returncode in (-signal.SIGTERM, -signal.SIGINT):
        raise interrupted(f"{target}: told to stop while the model was made")
    if done.returncode == -signal.SIGKILL:
        raise out_of_memory(f"{target}: killed while the model was made")
    if done.returncode or not target.exists():
        raise RuntimeError(f"{target}: the model was not made, exit code {done.returncode}")


def make(module: ModuleType, target: Path) -> None:
    """Train and save the model at ``target``, which appears whole or not at all. Raises StageError
    (Storage)."""
    from llmzero_trainer.tiny import warmup

    began = time.monotonic()
    made = target.with_name(f".making-{os.getpid()}-{target.name}")
    model = warmup.train(module.RECIPE)
    try:
        model.save_pretrained(made)
        warmup.tokenizer(module.RECIPE).save_pretrained(made)
        sync_tree(made)
        os.rename(made, target)
    except Exception as error:  # safetensors has errors of its own
        raise cannot_save(error, made) from error
    print(f"made {target} in {time.monotonic() - began:.0f} s", file=sys.stderr)
