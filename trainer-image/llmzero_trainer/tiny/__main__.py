"""``python -m llmzero_trainer.tiny NAME TARGET``: makes one model, for :func:`tiny.cached`.

Where it cannot be stored, that is said as ``[exit code, reason, message]`` on standard output.
"""

import json
import sys
from pathlib import Path

from llmzero_trainer.errors import StageError, from_os_error, storage
from llmzero_trainer.tiny import TOLD, make, recipe_module


def main(name: str, target: Path) -> int:
    try:
        make(recipe_module(name), target)
    except StageError as error:
        told = error
    except OSError as error:
        told = from_os_error(error, target) or storage(f"{target}: {error}")
    else:
        return 0
    print(json.dumps([int(told.code), told.reason, told.message]))
    return TOLD


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
