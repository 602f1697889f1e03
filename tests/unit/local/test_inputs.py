"""What is not on this machine is told, what may be right is not."""

from pathlib import Path
from typing import Any

import pytest

from llmzero.api.search import TrainingSearch
from llmzero.local.functions import function_problem, search_folders
from llmzero.local.inputs import input_problems
from tests.unit.builders import manifest


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(**spec: Any) -> list[str]:
    search = TrainingSearch.model_validate(manifest(**spec))
    return [str(p) for p in input_problems(search.spec)]


def of_model(path: str, **more: str) -> list[str]:
    return told(model={"path": path, **more})


@pytest.mark.parametrize(
    "path", ["/no/such/model", "./model", "../model", "~/model", "~", "models/of/mine"]
)
def test_a_model_directory_that_is_not_there_is_told(here: Path, path: str) -> None:
    (here / "made").mkdir()
    (problem,) = of_model(path)
    assert problem.startswith(f"spec.model.path: found {path!r}; no such directory")


@pytest.mark.parametrize("path", ["Qwen/Qwen3-0.6B", "gpt2"])
def test_a_name_on_the_hub_is_left_to_the_hub(path: str) -> None:
    assert of_model(path) == []


def test_a_folder_named_like_an_owner_does_not_hide_the_hub(here: Path) -> None:
    (here / "Qwen").mkdir()
    search = TrainingSearch.model_validate(manifest(model={"path": "Qwen/Qwen3-0.6B"}))
    (problem,) = input_problems(search.spec)
    assert "though Qwen is one" in str(problem)
    assert problem.warning, "a folder of that name is no reason to refuse"


def test_a_model_that_is_there_is_fine_and_a_file_is_none(here: Path) -> None:
    (here / "models" / "tiny").mkdir(parents=True)
    (here / "weights.gguf").touch()
    assert of_model("models/tiny") == of_model("./models/tiny") == of_model(str(here)) == []
    assert "a directory is needed" in of_model("./weights.gguf")[0]


def questions(path: Any, name: str = "jsonl") -> list[str]:
    return told(task={"name": name, "options": {"path": path}})


def test_a_file_of_questions_must_be_there(here: Path) -> None:
    (here / "q.jsonl").touch()
    assert questions("q.jsonl") == questions(str(here / "q.jsonl")) == []
    assert "no such file in the working directory" in questions("p.jsonl")[0]
    assert "~ is not expanded" in questions("~/q.jsonl")[0]
    assert "a JSONL file is needed" in questions(".")[0]
    assert "text is needed" in questions(5)[0]


def test_a_data_set_may_be_on_the_hub() -> None:
    assert questions("openai/gsm8k", "huggingface") == []
    assert "no such directory" in questions("./gsm8k", "huggingface")[0]
    assert questions(".", "huggingface") == []


SOURCE = """
import os.path
from json import loads as parsed
try:
    from math_verify import verify
except ImportError:
    verify = None
if os.path.exists("/"):
    def inside_if(): ...
first, (second, *rest) = 1, (2, 3)
annotated: object = print
class Made:
    def method(self): ...
async def coroutine(): ...
def outer():
    global later
    later = inner = 1
"""


@pytest.mark.parametrize(
    "name",
    [
        "os",
        "parsed",
        "verify",
        "inside_if",
        "first",
        "rest",
        "annotated",
        "Made",
        "coroutine",
        "later",
        "outer",
    ],
)
def test_a_name_that_the_module_binds_is_found(here: Path, name: str) -> None:
    (here / "bound_here.py").write_text(SOURCE)
    assert function_problem(f"bound_here:{name}", search_folders()) is None


@pytest.mark.parametrize("name", ["method", "inner", "loads", "nothing", "self"])
def test_a_name_that_it_does_not_bind_is_told(here: Path, name: str) -> None:
    (here / "bound_here.py").write_text(SOURCE)
    problem = function_problem(f"bound_here:{name}", search_folders())
    assert problem is not None
    assert f"module bound_here ({here}/bound_here.py) has no {name}" in problem


def test_a_near_name_is_offered(here: Path) -> None:
    (here / "near.py").write_text("def last_number(): ...\n")
    problem = function_problem("near:last_numbr", search_folders())
    assert problem is not None and problem.endswith("; did you mean last_number?")


@pytest.mark.parametrize(
    "source",
    [
        "from os.path import *",
        "def __getattr__(name): ...",
        "globals()['f'] = print",
        "import sys\nsetattr(sys.modules[__name__], 'f', print)",
        "exec('def f(): ...')",
        "def f(:",
    ],
)
def test_what_only_running_would_tell_is_not_judged(here: Path, source: str) -> None:
    (here / "open_ended.py").write_text(source)
    assert function_problem("open_ended:f", search_folders()) is None


def test_modules_are_looked_for_where_the_trainer_does(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("one", "two"):
        (here / folder).mkdir()
    (here / "two" / "on_the_path.py").write_text("def f(): ...\n")
    problem = function_problem("on_the_path:f", search_folders())
    assert problem is not None and f"the working directory ({here}) or on PYTHONPATH" in problem
    monkeypatch.setenv("PYTHONPATH", f"{here / 'one'}:two")
    assert function_problem("on_the_path:f", search_folders()) is None


@pytest.mark.parametrize("name", ["json:loads", "math:sqrt", "sys:exit", "yaml.loader:SafeLoader"])
def test_what_is_installed_is_found(name: str) -> None:
    assert function_problem(name, search_folders()) is None


def test_packages_are_looked_into_without_being_imported(here: Path) -> None:
    deep = here / "plain_folder" / "deeper"
    deep.mkdir(parents=True)
    (deep / "rewards.py").write_text("def f(): ...\n")
    package = here / "a_package"
    package.mkdir()
    (package / "__init__.py").write_text("def f(): ...\n")
    folders = search_folders()
    assert function_problem("plain_folder.deeper.rewards:f", folders) is None
    assert function_problem("a_package:f", folders) is None
    for name, words in (
        ("plain_folder.deeper:f", "is a folder without __init__.py"),
        ("plain_folder.other:f", "no module plain_folder.other"),
        ("a_package.other:f", "no module a_package.other"),
        ("a_package.:f", "no module a_package."),
        ("plain_folder.deeper.rewards.f:f", "no module plain_folder.deeper.rewards.f"),
    ):
        problem = function_problem(name, folders)
        assert problem is not None and words in problem, name
    (package / "__init__.py").write_text("import sys\nsys.modules['a_package.other'] = sys\n")
    assert function_problem("a_package.other:f", folders) is None
