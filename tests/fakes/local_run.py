"""Runs a search with the fake trainer, in a process of its own that a test may kill.

    python -m tests.fakes.local_run MANIFEST DIRECTORY

Exit codes as those of ``llmzero run``. FAKE_SEARCH_UID: the UID of a search elsewhere that is to be
compared (names, and what is drawn from them, come of the UID).
"""

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from llmzero.api.manifest import read_search
from llmzero.api.names import tag
from llmzero.api.proposals import Answered, VerdictAnswer
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.local import store
from llmzero.local.errors import RunError, UsageError
from llmzero.local.launch import FreshProcess
from llmzero.local.runner import Runner


class Printed:
    """Progress as lines on stdout."""

    def update(self, search: TrainingSearch, nodes: Mapping[str, StageNode]) -> None:
        return

    def started(self, node: StageNode) -> None:
        print(f"started {node.spec.path} {node.status.attempt_count}", flush=True)

    def ended(self, node: StageNode) -> None:
        print(f"ended {node.spec.path} {node.status.phase}", flush=True)

    def answered(self, node: StageNode, answer: Answered | VerdictAnswer) -> None:
        return

    def say(self, text: str) -> None:
        print(text, flush=True)


def main(manifest: str, directory: str) -> int:
    search = TrainingSearch.model_validate(read_search(Path(manifest).read_text()))
    uid = os.environ.get("FAKE_SEARCH_UID")
    if uid:
        store.search_uid = lambda manifest: uid
    try:
        run = store.open_run(Path(directory), search, datetime.now(UTC))
        os.environ["FAKE_TRAINER_TAG"] = tag(run.search.metadata.uid)
        runner = Runner(run, FreshProcess(run.stages, "tests.fakes.fake_trainer"), Printed())
        status = runner.run()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return {"Complete": 0, "Failed": 3}.get(status.phase, 130)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
