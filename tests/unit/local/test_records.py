"""Following a stage's records while they are written."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from llmzero.api.contract import CheckpointRecord
from llmzero.local.process import log_file
from llmzero.local.records import RecordFile, last_words

LINES = [
    json.dumps({"type": "checkpoint", "attempt": 1, "seq": n, "time": 1.0, "step": n})
    for n in range(1, 6)
]


def steps(found: list[object]) -> list[int]:
    return [r.step for r in found if isinstance(r, CheckpointRecord)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12))
def test_records_come_once_however_the_bytes_arrive(cuts: list[int]) -> None:
    import tempfile

    data = ("\n".join(LINES) + "\n").encode()
    with tempfile.TemporaryDirectory() as folder:
        records, found, begin = RecordFile(Path(folder)), [], 0
        assert records.read() == []
        for cut in [*sorted(cuts), len(data)]:
            with (Path(folder) / "records.jsonl").open("ab") as stream:
                stream.write(data[begin:cut])
            begin = max(begin, cut)
            found += records.read()
        assert steps(found) == [1, 2, 3, 4, 5]
        assert records.read() == []


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    garbage = [
        "",
        "{",
        "null",
        "[]",
        "\x00\x01",
        '{"type": "step"}',
        '{"x": "' + "y" * 20000 + '"}',
    ]
    text = "\n".join([LINES[0], *garbage, LINES[1], '{"type": "checkp'])
    (tmp_path / "records.jsonl").write_text(text)
    assert steps(RecordFile(tmp_path).read()) == [1, 2]


def test_last_words_are_the_last_line_that_says_something(tmp_path: Path) -> None:
    log_file(tmp_path, 2).write_text("Traceback\n  x\nRuntimeError: no such thing\n\n")
    assert last_words(tmp_path, 2) == "RuntimeError: no such thing"
    assert last_words(tmp_path, 3) == ""
