"""The tiny base models: made here, deterministically, never downloaded."""

import fcntl
import hashlib
import importlib
import inspect
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Final

from llmzero.api.catalog import BUILTIN_MODELS
from llmzero_trainer.directory import sync_tree
from llmzero_trainer.errors import from_os_error, invalid, storage

CACHE_ENV = "LLMZERO_CACHE"
SAME_ROUNDING: Final = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"}
"""With AVX-512 sums round differently, and a thousand steps make another model of that."""
FAILED: Final = 255
"""Exit code of the making where no OSError ended it; else it is the error's number."""


def cached(name: str) -> Path:
    """Directory of the model, made on first use. Raises StageError (InvalidRequest, Storage)."""
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
                _make_apart(name, target)
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


def _make_apart(name: str, target: Path) -> None:
    """:func:`make` in a process of its own: torch reads how to round when it is loaded. Raises
    OSError as it does, RuntimeError where it fails otherwise."""
    command = [sys.executable, "-m", __name__, name, str(target)]
    # Standard output may be the record of a stage: what it says goes to standard error.
    done = subprocess.run(command, env={**os.environ, **SAME_ROUNDING}, stdout=2)
    if done.returncode == FAILED or done.returncode < 0:
        raise RuntimeError(f"{target}: the model was not made, exit code {done.returncode}")
    if done.returncode:
        raise OSError(done.returncode, os.strerror(done.returncode), str(target))


def make(module: ModuleType, target: Path) -> None:
    """Train and save the model at ``target``, which appears whole or not at all."""
    from llmzero_trainer.tiny import warmup

    began = time.monotonic()
    made = target.with_name(f".making-{os.getpid()}-{target.name}")
    shutil.rmtree(made, ignore_errors=True)
    model = warmup.train(module.RECIPE)
    model.save_pretrained(made)
    warmup.tokenizer(module.RECIPE).save_pretrained(made)
    sync_tree(made)
    os.rename(made, target)
    print(f"made {target} in {time.monotonic() - began:.0f} s", file=sys.stderr)
