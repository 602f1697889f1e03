"""``python -m llmzero_trainer.tiny NAME TARGET``: makes one model, for :func:`tiny.cached`."""

import signal
import sys
import traceback
from pathlib import Path

from llmzero_trainer.tiny import FAILED, make, recipe_module


def main(name: str, target: str) -> int:
    # Whoever waits for it decides when a stage ends; the model is wanted by the next one too.
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, signal.SIG_IGN)
    try:
        make(recipe_module(name), Path(target))
    except OSError as error:
        return error.errno or FAILED
    except Exception:
        traceback.print_exc()
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
