"""``python -m llmzero_trainer.tiny NAME TARGET``: makes one model, for :func:`tiny.cached`.

Where it cannot be stored, that is said as ``[exit code, reason, message]`` on standard output.
"""

import json
import sys
from pathlib import Path

from llmzero_trainer.errors import StageError
from llmzero_trainer.tiny import TOLD, make, recipe_module


def main(name: str, target: Path) -> int:
    try:
        make(recipe_module(name), target)
    except StageError as error:
        print(json.dumps([int(error.code), error.reason, error.message]))
        return TOLD
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
