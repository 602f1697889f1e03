"""A person's word on waiting proposals: a file beside the run, taken up by whoever runs it.

The runner owns the files of the stages; another process that wrote them would be overwritten. So
``llmzero approve`` leaves a note, and the runner stores it on the stage, at once or at its start.
"""

import json
from pathlib import Path

from llmzero.api.stage import StageNode
from llmzero.local.files import make_folder, write_whole
from llmzero.local.store import RunDirectory

FOLDER = "approvals"


def leave(run: Path, node: StageNode, approved: bool) -> None:
    """Note the word on the proposals as they stand now. Raises RunError."""
    expansion = node.status.expansion
    make_folder(run / FOLDER)
    note = {"approved": approved, "answers": len(expansion.answers) if expansion else 0}
    write_whole(run / FOLDER / f"{node.name}.json", json.dumps(note))


def take(run: RunDirectory) -> bool:
    """Store what was noted; whether there was any. A word on fewer proposals than there are now
    is dropped: the person has not seen the newest."""
    came = False
    for file in sorted((run.path / FOLDER).glob("[!.]*.json")):
        node = run.nodes.get(file.stem)
        try:
            note = json.loads(file.read_text())
        except (OSError, ValueError):
            note = None
        expansion = node.status.expansion if node else None
        if node and expansion and isinstance(note, dict):
            approved = note.get("approved")
            if isinstance(approved, bool) and note.get("answers") == len(expansion.answers):
                told = expansion.with_(approved=approved)
                run.save_status(node.name, node.status.with_(expansion=told))
                came = True
        file.unlink(missing_ok=True)
    return came
