"""Manifests are read as kubectl reads them."""

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmzero.api.manifest import (
    MANIFEST_BYTES,
    ManifestError,
    read_bounded,
    read_documents,
    read_search,
    to_yaml,
)

HEAD = "apiVersion: llmzero.dev/v1alpha1\nkind: TrainingSearch\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-7", 1e-7),
        ("1.0e-7", 1e-7),
        ("-3", -3),
        ("+2", 2),
        (".5", 0.5),
        ("1E3", 1000.0),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("true", True),
        ("no", False),
        ("null", None),
        ("2026-01-01", "2026-01-01"),
        ("12:30", "12:30"),
        ("'5'", "5"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    found = read_documents(f"a: {text}")[0]["a"]
    assert found == value or (isinstance(value, str) and str(found) == value)
    if isinstance(value, float):
        assert isinstance(found, float)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2", "line 2, column 1: key 'a' stands twice"),
        ("a: &x 1\nb: *x", "aliases"),
        ("a: [", "line"),
        ("- 1", "a mapping is needed"),
        ("1: a", "not text"),
        ("a: 1e999", "finite"),
        ("x: " + "[" * 200 + "]" * 200, "deep"),
        ("a: " + "x" * (1024 * 1024 + 1), "larger than"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(ManifestError, match=says.replace("[", "\\[")):
        read_documents(text)


def test_one_search_is_needed() -> None:
    with pytest.raises(ManifestError, match="found 0 among ConfigMap"):
        read_search("kind: ConfigMap")
    with pytest.raises(ManifestError, match="found 2"):
        read_search(f"{HEAD}---\n{HEAD}")
    assert read_search(f"kind: ConfigMap\n---\n{HEAD}")["kind"] == "TrainingSearch"


def test_a_list_is_looked_into() -> None:
    text = "kind: List\nitems:\n- {kind: StageNode}\n- {kind: TrainingSearch, a: 1}"
    assert read_search(text)["a"] == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=20),
        lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=5), c, max_size=3),
        max_leaves=10,
    )
)
@example({"0E0": "1e5", "a": "0x1f", "b": "1:30", "c": "2026-01-01", "d": "on", "e": "1_000"})
def test_what_is_written_is_read_again(value: object) -> None:
    assert read_documents(to_yaml({"v": value}))[0]["v"] == value


@given(st.text(max_size=200))
def test_any_text_gives_documents_or_a_clear_error(text: str) -> None:
    try:
        found = read_documents(text)
    except ManifestError:
        return
    assert all(isinstance(d, dict) for d in found)


def test_a_stream_is_read_no_further_than_a_manifest_may_be_long() -> None:
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size: int = -1) -> bytes:
            assert 0 <= size <= MANIFEST_BYTES + 1
            self.asked += size
            return b"\0" * size

    endless = Endless()
    with pytest.raises(ManifestError, match="too large: no manifest may be larger than 1048576"):
        read_bounded(endless)  # type: ignore[arg-type]
    assert endless.asked == MANIFEST_BYTES + 1
    assert len(read_bounded(io.BytesIO(b" " * MANIFEST_BYTES))) == MANIFEST_BYTES
