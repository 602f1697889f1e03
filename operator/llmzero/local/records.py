"""Reading a stage's records as they are written."""

from pathlib import Path

from llmzero.api.contract import LINE_BYTES, Record, parse_record
from llmzero.local.process import log_file


class RecordFile:
    """Follows ``records.jsonl`` of one stage; a torn last line waits for its end."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "records.jsonl"
        self._offset = 0

    def read(self) -> list[Record]:
        """Records that are new since the last call; lines that are none are passed over."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return []
        whole, newline, _ = data.rpartition(b"\n")
        if not newline:
            return []
        self._offset += len(whole) + 1
        found: list[Record] = []
        for line in whole.split(b"\n"):
            if not line or len(line) > LINE_BYTES:
                continue
            try:
                found.append(parse_record(line))
            except ValueError:
                continue
        return found


def last_words(folder: Path, attempt: int, limit: int = 300) -> str:
    """The end of an attempt's log: what a crash said last."""
    try:
        with log_file(folder, attempt).open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(stream.tell() - 4096, 0))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[-limit:] for line in reversed(lines) if line.strip()), "")
