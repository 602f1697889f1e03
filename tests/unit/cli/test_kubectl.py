"""``kubectl llmzero``: where it looks for a cluster, and what it says where one is in the way."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.config import incluster_config
from typer.testing import CliRunner, Result

from llmzero import __version__
from llmzero.api.proposals import Answered, BranchFrom, Proposal, ProposalAnswer
from llmzero.api.stage import Phase, StageNode, StageStatus
from llmzero.cli.kubectl import app
from llmzero.cli.views import age
from llmzero.kubectl import access, live
from llmzero.search.expansion import with_answer
from tests.unit.builders import search, stage

Answer = tuple[int, Any]
SEARCHES = "/apis/llmzero.dev/v1alpha1/namespaces/{}/trainingsearches"
STAGES = "/apis/llmzero.dev/v1alpha1/namespaces/{}/stagenodes"


class FakeApiServer:
    """Answers every ``METHOD /path`` from a table; what is not there is 404, as without CRDs."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | list[Answer]] = {}
        """A list is answered one after the other, its last for ever."""
        self.asked: list[tuple[str, Any]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                path, _, query = self.path.partition("?")
                verb = "WATCH" if "watch=true" in query else self.command
                length = int(self.headers.get("Content-Length") or 0)
                sent = json.loads(self.rfile.read(length)) if length else None
                fake.asked.append((f"{verb} {path}", sent))
                found = fake.answers.get(f"{verb} {path}", (404, "404 page not found"))
                if isinstance(found, list):
                    found = found.pop(0) if len(found) > 1 else found[0]
                status, body = found
                text = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PATCH = _answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FakeApiServer":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def holds(self, *nodes: StageNode, namespace: str = "research") -> None:
        """A search ``test`` and its stages."""
        found = search()
        self.answers |= {
            f"GET {SEARCHES.format(namespace)}": (200, listing(found.dump())),
            f"GET {SEARCHES.format(namespace)}/test": (200, found.dump()),
            f"GET {STAGES.format(namespace)}": (200, listing(*(n.dump() for n in nodes))),
            "GET /apis/llmzero.dev/v1alpha1/trainingsearches": (200, listing(found.dump())),
        }


def listing(*items: Any) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "7"}, "items": list(items)}


def refusal(code: int, message: str = "no") -> Answer:
    return code, {"kind": "Status", "code": code, "message": message}


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer() as made:
        yield made


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cluster of the machine's is found by accident."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "POD_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def kubeconfig(
    file: Path, url: str, context: str = "lab", current: str | None = "lab", **more: str
) -> Path:
    file.parent.mkdir(exist_ok=True)
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": "secret"}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": "me", **more}}],
    }
    if current:
        document["current-context"] = current
    file.write_text(json.dumps(document))
    return file


Kubectl = Callable[..., Result]


@pytest.fixture
def kubectl(home: Path, server: FakeApiServer) -> Kubectl:
    """``kubectl("tree", "test")`` on the fake API server, in the namespace ``research``."""
    kubeconfig(home / ".kube/config", server.url, namespace="research")
    return call


def call(*words: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words], env=environment)


# -- where the cluster is ---------------------------------------------------------------------


def test_the_version_needs_no_cluster() -> None:
    assert call("--version").output == f"llmzero {__version__}\n"


def test_without_the_libraries_it_says_how_to_get_them() -> None:
    script = (
        "import sys; sys.modules['kubernetes'] = None; from llmzero.cli.plugin import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    said = "kubectl llmzero needs the Python package kubernetes: pip install 'llmzero[operator]'\n"
    assert done.stderr == said


def test_without_a_cluster_it_says_where_it_looked(tmp_path: Path) -> None:
    said = call("list")
    assert said.exit_code == 1
    assert "there is no kubeconfig (~/.kube/config), and this is no pod" in said.stderr
    nowhere = call("list", KUBECONFIG=str(tmp_path / "none"))
    assert f"there is no kubeconfig ({tmp_path / 'none'})" in nowhere.stderr


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--kubeconfig", "none", "--kubeconfig: none is not there"),
        ("--context", "moon", "--context: moon is not in ~/.kube/config; it has lab"),
    ],
)
def test_a_flag_that_names_nothing_is_a_mistake(
    kubectl: Kubectl, flag: str, value: str, said: str
) -> None:
    for words in ((flag, value, "list"), ("list", flag, value)):
        result = kubectl(*words)
        assert result.exit_code == 2
        assert said in result.stderr


@pytest.mark.parametrize("text", ["", "[]", "{", "contexts: [1]", "just words"])
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    said = call("list", "--kubeconfig", file)
    assert said.exit_code == 1, said.output
    assert f"{file}: is no kubeconfig" in said.stderr


def test_a_kubeconfig_without_a_current_context_lists_its_contexts(
    tmp_path: Path, server: FakeApiServer
) -> None:
    file = kubeconfig(tmp_path / "config", server.url, current=None)
    said = call("list", "--kubeconfig", file)
    assert said.exit_code == 2
    assert "choose one with --context; it has lab" in said.stderr
    server.holds(namespace="default")
    assert call("list", "--kubeconfig", file, "--context", "lab").exit_code == 0


def test_the_namespace_is_the_flags_else_the_contexts(
    kubectl: Kubectl, server: FakeApiServer
) -> None:
    server.holds()
    assert kubectl("list").exit_code == 0
    for words in (("-n", "a", "list"), ("list", "-n", "a"), ("-n", "b", "list", "-n", "a")):
        kubectl(*words)
    asked = [path for path, _ in server.asked]
    assert asked == [f"GET {SEARCHES.format(n)}" for n in ("research", "a", "a", "a")]


def test_of_several_files_the_first_current_context_counts(
    tmp_path: Path, server: FakeApiServer
) -> None:
    first = kubeconfig(tmp_path / "one", "http://127.0.0.1:9", "one", None)
    second = kubeconfig(tmp_path / "two", server.url, "two", "two", namespace="research")
    third = kubeconfig(tmp_path / "three", "http://127.0.0.1:9", "three", "three")
    server.holds()
    files = ":".join(map(str, (first, tmp_path / "missing", second, third)))
    assert call("list", KUBECONFIG=files).exit_code == 0
    assert server.asked


def test_in_a_pod_its_service_account_asks_in_its_namespace(
    tmp_path: Path, server: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("token", "ca.crt", "namespace"):
        (tmp_path / name).write_text("research")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(access, "POD_NAMESPACE_FILE", tmp_path / "namespace")
    monkeypatch.setattr(incluster_config, "_join_host_port", lambda *_: "127.0.0.1:9")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "9")
    place = asyncio.run(access.find(access.Access()))
    assert (place.server, place.namespace) == ("https://127.0.0.1:9", "research")
    assert place.settings.api_key["BearerToken"] == "bearer research"
    assert asyncio.run(access.find(access.Access(namespace="other"))).namespace == "other"


# -- what is in the way -----------------------------------------------------------------------


def test_a_server_that_does_not_answer_is_named_with_its_context(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", "http://127.0.0.1:9")
    said = call("tree", "test", "--kubeconfig", file)
    assert said.exit_code == 1
    assert "the API server at http://127.0.0.1:9 (context lab) does not answer" in said.stderr


@pytest.mark.parametrize("words", [("list",), ("tree", "test"), ("stop", "test")])
def test_missing_crds_are_said_with_the_remedy(kubectl: Kubectl, words: tuple[str, ...]) -> None:
    said = kubectl(*words)
    assert said.exit_code == 1
    assert "CRDs are not installed" in said.stderr
    assert "kubectl apply --server-side -f crds/" in said.stderr


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(401, "Unauthorized"), "log in again"),
        (refusal(403, "by the webhook"), "the API server forbids it: by the webhook"),
        (refusal(500, "etcd is down"), "the API server refuses: 500: etcd is down"),
    ],
)
def test_a_refusal_is_one_line(
    kubectl: Kubectl, server: FakeApiServer, answer: Answer, words: str
) -> None:
    server.answers[f"GET {SEARCHES.format('research')}/test"] = answer
    said = kubectl("tree", "test")
    assert said.exit_code == 1
    assert words in said.stderr and "Traceback" not in said.output


def test_objects_of_another_version_are_said_to_be(kubectl: Kubectl, server: FakeApiServer) -> None:
    server.holds()
    newer = search().dump()
    newer["status"]["mood"] = "good"
    server.answers[f"GET {SEARCHES.format('research')}/test"] = (200, newer)
    said = kubectl("tree", "test")
    assert said.exit_code == 1
    assert "TrainingSearch test: status.mood" in said.stderr
    assert "different versions" in said.stderr


def test_stages_of_a_deleted_search_of_the_same_name_are_not_shown(
    kubectl: Kubectl, server: FakeApiServer
) -> None:
    mine, old = stage("0"), stage("1")
    old = old.with_(spec=old.spec.with_(search=old.spec.search.with_(uid="older")))
    server.holds(mine, old)
    items = json.loads(kubectl("tree", "test", "-o", "json").stdout)["items"]
    assert [i["metadata"]["name"] for i in items] == ["test", "test-0"]


# -- live -------------------------------------------------------------------------------------


def in_phase(phase: str) -> Answer:
    body = search().dump()
    body["metadata"]["resourceVersion"] = "7"
    body["status"]["phase"] = phase
    return 200, body


def event(kind: str, body: Any) -> str:
    return json.dumps({"type": kind, "object": body}) + "\n"


@pytest.fixture
def watched(kubectl: Kubectl, server: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    """A search whose watches end at once, each time."""
    monkeypatch.setattr(live, "AGAIN_SECONDS", 0.01)
    server.holds(stage("0", StageStatus(phase=Phase.RUNNING)))
    for path in (SEARCHES, STAGES):
        server.answers[f"WATCH {path.format('research')}"] = (200, "")
    server.answers[f"GET {SEARCHES.format('research')}/test"] = in_phase("Running")
    return kubectl


@pytest.mark.parametrize(("phase", "code"), [("Complete", 0), ("Failed", 3)])
def test_a_watch_that_is_cut_off_or_too_old_begins_anew(
    watched: Kubectl, server: FakeApiServer, phase: str, code: int
) -> None:
    stages = STAGES.format("research")
    older = event("ERROR", {"code": 410, "message": "too old resource version"})
    ended = stage("0", StageStatus(phase=Phase.SUCCEEDED)).dump()
    told = event("BOOKMARK", {}) + event("MODIFIED", ended)
    server.answers[f"WATCH {stages}"] = [refusal(503), (200, older), (200, told), (200, "")]
    before = server.answers[f"GET {stages}"]
    assert isinstance(before, tuple)
    server.answers[f"GET {stages}"] = [before] * 4 + [(200, listing(ended))]
    path = f"GET {SEARCHES.format('research')}/test"
    server.answers[path] = [in_phase("Running")] * 9 + [in_phase(phase)]
    said = watched("tree", "test", "-w")
    assert said.exit_code == code, said.output
    assert said.output.count("✔ 0") == 2, "said once, and in the tree at the end"
    assert f"{phase}: " in said.output


def test_a_watch_ends_when_the_search_is_deleted(watched: Kubectl, server: FakeApiServer) -> None:
    gone = event("DELETED", search().dump())
    server.answers[f"WATCH {SEARCHES.format('research')}"] = (200, gone)
    said = watched("tree", "test", "-w")
    assert said.exit_code == 1
    assert "test: the search was deleted" in said.stderr


# -- a word on proposals ----------------------------------------------------------------------


def proposing(answers: int) -> StageNode:
    answer = ProposalAnswer(
        branch_from=BranchFrom(step=20), proposals=[Proposal(changes={}, rationale="go on")]
    )
    expansion = None
    for number in range(answers):
        expansion = with_answer(expansion, Answered(request_id=f"q{number}", answer=answer), True)
    status = StageStatus(phase=Phase.SUCCEEDED, expansion=expansion)
    return stage("0", status)


def test_a_word_is_written_again_when_the_operator_wrote_meanwhile(
    kubectl: Kubectl, server: FakeApiServer
) -> None:
    node = proposing(1)
    server.holds(node)
    newer = node.dump()
    newer["metadata"]["resourceVersion"] = "8"
    target = f"{STAGES.format('research')}/test-0"
    server.answers[f"GET {target}"] = (200, newer)
    server.answers[f"PATCH {target}/status"] = [refusal(409), (200, newer)]
    assert kubectl("approve", "test", "0").output == "stage 0: approved\n"
    sent = [body for path, body in server.asked if path.startswith("PATCH")]
    assert [b["metadata"]["resourceVersion"] for b in sent] == [None, "8"]
    assert {b["status"]["expansion"]["approved"] for b in sent} == {True}


def test_what_a_person_has_not_seen_is_not_approved(
    kubectl: Kubectl, server: FakeApiServer
) -> None:
    server.holds(proposing(1))
    target = f"{STAGES.format('research')}/test-0"
    server.answers[f"GET {target}"] = (200, proposing(2).dump())
    server.answers[f"PATCH {target}/status"] = refusal(409)
    said = kubectl("approve", "test", "0")
    assert said.exit_code == 1
    assert "0: newer proposals came meanwhile" in said.stderr
    assert len([path for path, _ in server.asked if path.startswith("PATCH")]) == 1


# -- logs -------------------------------------------------------------------------------------


def pod(name: str, attempt: int, **status: Any) -> dict[str, Any]:
    labels = {"llmzero.dev/node": "test-0", "llmzero.dev/attempt": str(attempt)}
    return {"metadata": {"name": name, "labels": labels}, "status": status}


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "trainer", "state": state}]}


PODS = "/api/v1/namespaces/research/pods"
STARTED = container(running={"startedAt": "2026-01-02T03:04:05Z"})


def test_the_log_is_of_the_newest_attempt_not_of_a_helper(
    kubectl: Kubectl, server: FakeApiServer
) -> None:
    server.holds(stage("0", StageStatus(phase=Phase.RUNNING)))
    pods = [pod("a9", 9, **STARTED), pod("a10", 10, **STARTED), pod("report", 0, **STARTED)]
    server.answers[f"GET {PODS}"] = (200, listing(*pods))
    server.answers[f"GET {PODS}/a10/log"] = (200, "one\ntwo \x1b[0m\nlast")
    assert kubectl("logs", "test", "0").stdout == "one\ntwo \x1b[0m\nlast\n"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([], "stage 0 is Running: it has no pod"),
        (
            [
                pod(
                    "a1",
                    1,
                    **container(waiting={"reason": "ErrImagePull", "message": "no such tag"}),
                )
            ],
            "stage 0: pod a1 does not run yet: ErrImagePull: no such tag",
        ),
        ([pod("a1", 1, **STARTED)], "pod a1: 500: the node is away"),
    ],
)
def test_why_there_is_no_log(
    kubectl: Kubectl, server: FakeApiServer, found: list[Any], why: str
) -> None:
    server.holds(stage("0", StageStatus(phase=Phase.RUNNING)))
    server.answers[f"GET {PODS}"] = (200, listing(*found))
    server.answers[f"GET {PODS}/a1/log"] = refusal(500, "the node is away")
    said = kubectl("logs", "test", "0")
    assert (said.exit_code, said.stdout) == (1, "")
    assert why in said.stderr
    assert "This is stored:" in said.stderr and "test-0" in said.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (59, "59s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (9e5, "10d"),
    ],
)
def test_ages_read_as_kubectls(seconds: float, text: str) -> None:
    assert age(seconds) == text
