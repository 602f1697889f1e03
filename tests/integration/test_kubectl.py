"""``kubectl llmzero`` against a real API server: searches of the simulator, a kubelet that fakes."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from llmzero.api.proposals import Answered, BranchFrom, Proposal, ProposalAnswer
from llmzero.api.schedule import ScheduleDocument
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Phase, StageNode
from llmzero.cli.kubectl import app
from llmzero.controller import kube as controller
from llmzero.controller.jobs import Setting, stage_job
from llmzero.controller.labels import SEARCH_LABEL
from llmzero.kubectl.access import Access, find
from llmzero.search.expansion import with_answer
from tests.cluster.client import Kube
from tests.fakes.harness import ROOT
from tests.fakes.kubelet import NODE, FakeKubelet
from tests.fakes.operator import wait_for
from tests.fakes.simulated_search import simulated

pytestmark = pytest.mark.cluster
BIN = Path(sys.executable).parent


@dataclass
class Shelf:
    """A namespace with searches that no operator works on."""

    kube: Kube
    namespace: str
    kubeconfig: Path
    folder: Path

    def put(self, name: str, ended: int | None, **options: object) -> list[StageNode]:
        """A simulated search after so many completions (None: complete), and its stages."""
        search, nodes = simulated(name, ended, **options)
        return asyncio.run(self._put(search, nodes))

    async def _put(self, search: TrainingSearch, nodes: list[StageNode]) -> list[StageNode]:
        place = await find(Access(str(self.kubeconfig)))
        made: list[StageNode] = []
        async with controller.Kube(place.settings) as kube:

            async def store(body: dict[str, Any]) -> dict[str, Any]:
                body["metadata"] = {
                    **{k: body["metadata"][k] for k in ("name", "labels") if k in body["metadata"]},
                    "namespace": self.namespace,
                }
                kind, status = body["kind"], body.pop("status")
                await kube.create(kind, self.namespace, body)
                patch = {"status": status}
                return await kube.patch_status(
                    kind, self.namespace, body["metadata"]["name"], patch
                )

            uid = (await store(search.dump()))["metadata"]["uid"]
            for node in nodes:
                body = node.dump()
                body["spec"]["search"]["uid"] = uid
                body["metadata"]["labels"] = {SEARCH_LABEL: search.name}
                made.append(StageNode.model_validate(await store(body)))
        return made

    def node(self, name: str) -> StageNode:
        return StageNode.model_validate(self.kube.get("stagenode", name, "-n", self.namespace))

    def status(self, what: str, status: dict[str, Any]) -> None:
        where = ("-n", self.namespace, "--subresource=status", "--type=merge")
        self.kube.run("patch", what, *where, "-p", json.dumps({"status": status}))

    def call(self, *words: str | Path, config: Path | None = None) -> Result:
        """One command in this process."""
        environment = {"KUBECONFIG": str(config or self.kubeconfig)}
        return CliRunner().invoke(app, [str(w) for w in words], env=environment)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """One command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "llmzero.cli.plugin", *words],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def config_with(kube: Kube, file: Path, namespace: str, token: str | None = None) -> Path:
    config = json.loads(kube.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = namespace
    if token is not None:
        config["users"][0]["user"] = {"token": token}
    file.write_text(json.dumps(config))
    return file


@pytest.fixture(scope="module")
def shelf(kube_api: Kube, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """A complete search ``done`` and one under way, ``going``."""
    folder, namespace = tmp_path_factory.mktemp("kubectl"), f"kubectl-{os.getpid()}"
    kube_api.run("create", "namespace", namespace)
    kube_api.run("create", "serviceaccount", "default", "-n", namespace)
    config = config_with(kube_api, folder / "kubeconfig", namespace)
    made = Shelf(kube_api, namespace, config, folder)
    made.put("done", None)
    made.put("going", 6)
    return made


@pytest.fixture(scope="module")
def kubelet(kube_api: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKubelet]:
    with FakeKubelet(kube_api.kubeconfig, tmp_path_factory.mktemp("kubelet")) as made:
        yield made


def stages(shelf: Shelf, search: str) -> list[StageNode]:
    found = shelf.kube.get("stagenodes", "-n", shelf.namespace, "-l", f"{SEARCH_LABEL}={search}")
    return [StageNode.model_validate(i) for i in found["items"]]


# -- looking ----------------------------------------------------------------------------------


def test_searches_of_a_namespace_and_of_all(shelf: Shelf) -> None:
    said = shelf.call("list").output
    assert re.search(r"^NAME +STRATEGY +PHASE +STAGES +BUDGET +BEST +STAGE +AGE", said)
    assert re.search(
        r"^done +llmzero +Complete +\d+/\d+ +[\d.]+/12 +0\.\d{3} ± .* [\d-]+ +\d+s", said, re.M
    )
    assert re.search(r"^going +llmzero +Running", said, re.M)
    everywhere = shelf.call("-n", "elsewhere", "list", "-A").output
    assert re.search(rf"^{shelf.namespace} +going ", everywhere, re.M)
    none = shelf.call("list", "--namespace", "elsewhere")
    assert (none.exit_code, none.stdout) == (0, "")
    assert "no searches in namespace elsewhere" in none.stderr
    items = json.loads(shelf.call("list", "-o", "json").stdout)["items"]
    assert {i["metadata"]["name"] for i in items} >= {"done", "going"}


def test_tree_stage_and_strategy_as_on_one_machine(shelf: Shelf) -> None:
    tree = shelf.call("tree", "going")
    assert tree.exit_code == 0, tree.output
    assert "going  base model" in tree.output and "← best" in tree.output
    assert re.search(r"▶ [\d-]+  ━*╌* \d+/\d+", tree.output), "the running stage's progress"
    for format, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        objects = load(shelf.call("tree", "going", "-o", format).stdout)
        assert (objects["kind"], objects["items"][0]["kind"]) == ("List", "TrainingSearch")
        assert len(objects["items"]) == 1 + len(stages(shelf, "going"))
        assert "managedFields" not in objects["items"][0]["metadata"]
    one = shelf.call("show", "done", "0")
    assert re.search(r"phase +Succeeded", one.output) and "learning_rate" in one.output
    best = shelf.call("strategy", "done")
    assert "Best trajectory" in best.output and "Held-out confirmation" in best.output
    file = shelf.folder / "best.yaml"
    written = shelf.call("strategy", "export", "done", "-o", file)
    assert written.exit_code == 0, written.output
    assert ScheduleDocument.model_validate(yaml.safe_load(file.read_text())).name.startswith("done")


def test_the_report_is_the_page_of_the_search(shelf: Shelf) -> None:
    file = shelf.folder / "report.html"
    assert shelf.call("report", "done", "-o", file).exit_code == 0
    page = file.read_text()
    assert page.startswith("<!doctype html>") and '"search":"done"' in page
    nowhere = shelf.call("report", "done", "-o", shelf.folder / "no" / "report.html")
    assert nowhere.exit_code == 1 and "No such file" in nowhere.stderr


def test_what_is_not_there_is_answered_with_what_is(shelf: Shelf) -> None:
    search = shelf.call("tree", "gone")
    assert search.exit_code == 2
    assert (
        f"gone: no such search in namespace {shelf.namespace}; there are done, going"
        in search.stderr
    )
    other = shelf.call("stop", "going", "-n", "default")
    assert other.exit_code == 2
    assert f"There is one in namespace {shelf.namespace}: use -n" in other.stderr
    for command in ("show", "logs", "approve"):
        stage = shelf.call(command, "done", "9-9")
        assert stage.exit_code == 2
        assert "9-9: no such stage in search done; there are 0, " in stage.stderr


def test_a_watch_tells_what_starts_and_ends_until_the_search_does(shelf: Shelf) -> None:
    nodes = shelf.put("watched", 4)
    pending = next(n for n in nodes if not n.status.phase.final)
    result = next(n.status.result for n in nodes if n.status.result)
    assert result is not None
    shelf.status(f"sn/{pending.name}", {"phase": "Pending"})
    watching = shelf.start("tree", "watched", "--watch")
    try:
        shown = shelf.call("tree", "watched").output
        assert pending.spec.path in shown
        wait_for(lambda: _is_watched(shelf), 60, lambda: "the watch never began")
        shelf.status(f"sn/{pending.name}", {"phase": "Running"})
        shelf.status(f"sn/{pending.name}", {"phase": "Succeeded", "result": result.dump()})
        shelf.status("ts/watched", {"phase": "Complete", "message": "The winner is stage 0."})
        out, err = watching.communicate(timeout=60)
    finally:
        watching.kill()
    assert watching.returncode == 0, err
    assert re.search(rf"s  ✔ {pending.spec.path}  0\.\d+ ± .*budget", out)
    assert out.rstrip().endswith("Complete: The winner is stage 0.")
    assert shelf.call("tree", "watched", "-w", "-o", "json").exit_code == 2


def _is_watched(shelf: Shelf) -> bool:
    metrics = shelf.kube.run("get", "--raw", "/metrics").stdout
    found = re.findall(
        r'apiserver_longrunning_requests\{.*resource="stagenodes".*\} (\d+)', metrics
    )
    return any(int(n) for n in found)


# -- a person's word --------------------------------------------------------------------------


def test_proposals_are_approved_and_rejected_on_the_stage(shelf: Shelf) -> None:
    answer = ProposalAnswer(
        branch_from=BranchFrom(step=20),
        proposals=[Proposal(changes={"beta": 0.04}, rationale="hold [bold]it[/]")],
    )
    waiting = with_answer(None, Answered(request_id="q", answer=answer), manual=True)
    first, second, *_ = [n for n in stages(shelf, "going") if n.status.phase.final]
    for node in (first, second):
        shelf.status(f"sn/{node.name}", {"expansion": None})
        shelf.status(f"sn/{node.name}", {"expansion": waiting.dump()})
    listed = shelf.call("approve", "going").output
    for node in (first, second):
        path = node.spec.path
        assert f"stage {path}, from {path} step 20, rules: beta = 0.04 (hold [bold]it[/])" in listed
    assert (
        shelf.call("approve", "going", first.spec.path).output
        == f"stage {first.spec.path}: approved\n"
    )
    assert shelf.call("reject", "going", second.name).exit_code == 0
    words = [shelf.node(n.name).status.expansion for n in (first, second)]
    assert [w.approved for w in words if w] == [True, False]
    assert shelf.node(first.name).status.result == first.status.result
    running = next(n for n in stages(shelf, "going") if n.status.expansion is None)
    assert "has no proposals" in shelf.call("approve", "going", running.spec.path).stderr


def test_stop_and_resume_set_suspend(shelf: Shelf) -> None:
    def spec() -> tuple[bool, str]:
        found = shelf.kube.get("ts", "going", "-n", shelf.namespace)["spec"]
        return found["suspend"], found["suspendPolicy"]

    assert "running stages end first" in shelf.call("stop", "going").output
    assert spec() == (True, "Drain")
    assert "running stages are interrupted now" in shelf.call("stop", "going", "--now").output
    assert spec() == (True, "Stop")
    assert shelf.call("resume", "going").output == "going: not suspended\n"
    assert spec() == (False, "Stop")
    shelf.call("stop", "going", "--drain")
    assert spec() == (True, "Drain")
    shelf.call("resume", "going")
    assert "raise spec.budget" in shelf.call("resume", "done").output


# -- logs -------------------------------------------------------------------------------------


def pod_of(shelf: Shelf, search: str, node: StageNode, attempt: int) -> str:
    """The pod that the Job of an attempt would make, on the fake node."""
    owner = TrainingSearch.model_validate(shelf.kube.get("ts", search, "-n", shelf.namespace))
    spec = owner.spec.with_(storage=owner.spec.storage.with_(claim_name="checkpoints"))
    template = stage_job(owner.with_(spec=spec), node, attempt, Setting("fake"))["spec"]["template"]
    name = f"{node.name}-a{attempt}"
    labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
    metadata = {"name": name, "namespace": shelf.namespace, "labels": labels}
    shelf.kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {**template["spec"], "nodeName": NODE},
        }
    )
    return name


def test_logs_of_the_newest_attempt_followed_to_the_end(shelf: Shelf, kubelet: FakeKubelet) -> None:
    node = next(n for n in shelf.put("logged", 0) if n.status.phase is Phase.RUNNING)
    kubelet.hold = lambda name: True
    for attempt in (1, 2):
        pod_of(shelf, "logged", node, attempt)
    print_log = ("logs", "logged", node.spec.path)

    def attempts() -> set[int]:
        said = shelf.call(*print_log).stdout
        return {json.loads(line)["attempt"] for line in said.splitlines()}

    # A trainer that starts prints what is stored again: the first attempt's records, too.
    wait_for(lambda: 2 in attempts(), 60, lambda: shelf.call(*print_log).output)
    following = shelf.start(*print_log, "-f")
    try:
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        assert (first["type"], first["attempt"]) == ("attempt", 1)
        kubelet.hold = lambda name: False
        wait_for(lambda: _ended(shelf, node), 60, lambda: "the pod did not end")
        shelf.status(f"sn/{node.name}", {"phase": "Succeeded"})
        rest, err = following.communicate(timeout=60)
    finally:
        following.kill()
    assert following.returncode == 0, err
    told = [json.loads(line) for line in rest.splitlines()]
    assert (told[-1]["type"], told[-1]["attempt"]) == ("result", 2)
    assert len({(r["attempt"], r["seq"]) for r in [first, *told]}) == 1 + len(told)


def _ended(shelf: Shelf, node: StageNode) -> bool:
    pod = shelf.kube.get("pod", f"{node.name}-a2", "-n", shelf.namespace)
    return pod["status"].get("phase") == "Succeeded"


def test_a_stage_whose_pod_is_gone_says_what_is_stored(shelf: Shelf) -> None:
    gone = shelf.call("logs", "done", "0")
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert "stage 0: its pod is gone (a Job is deleted once its result is recorded)" in gone.stderr
    assert re.search(r"phase +Succeeded", gone.stderr) and re.search(r"value +0\.\d+", gone.stderr)


# -- rights -----------------------------------------------------------------------------------

READS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
  - {apiGroups: [llmzero.dev], resources: [trainingsearches, stagenodes], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: default}]
"""


@pytest.fixture(scope="module")
def reader(shelf: Shelf) -> Path:
    """A kubeconfig of somebody who may only look."""
    shelf.kube.run("apply", "-n", shelf.namespace, "-f", "-", stdin=READS)
    token = shelf.kube.run("create", "token", "default", "-n", shelf.namespace).stdout.strip()
    return config_with(shelf.kube, shelf.folder / "reader", shelf.namespace, token)


@pytest.mark.parametrize(
    ("words", "verb", "resource", "check"),
    [
        (("stop", "done"), "patch", "trainingsearches", "patch trainingsearches.llmzero.dev"),
        (
            ("approve", "done", "{expanded}"),
            "patch",
            "stagenodes/status",
            "patch stagenodes.llmzero.dev --subresource=status",
        ),
        (("logs", "done", "0"), "list", "pods", "list pods"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_missing_right_is_named_with_the_way_to_it(
    shelf: Shelf, reader: Path, words: tuple[str, ...], verb: str, resource: str, check: str
) -> None:
    answered = [
        n for n in stages(shelf, "done") if n.status.expansion and n.status.expansion.answers
    ]
    words = tuple(w.format(expanded=answered[0].spec.path) for w in words)
    said = shelf.call(*words, config=reader)
    assert said.exit_code == 1, said.output
    user = f"system:serviceaccount:{shelf.namespace}:default"
    assert f"{user} may not {verb} {resource} in namespace {shelf.namespace}" in said.stderr
    assert f"kubectl auth can-i {check} -n {shelf.namespace}\n" in said.stderr
    assert f'resources: ["{resource}"], verbs: ["{verb}"]' in said.stderr


def test_a_watch_needs_the_right_to_watch(shelf: Shelf, reader: Path) -> None:
    said = shelf.call("tree", "going", "-w", config=reader)
    assert said.exit_code == 1
    assert re.search(r"may not watch (trainingsearches|stagenodes) in namespace", said.stderr)


def test_the_roles_of_the_page_are_enough(shelf: Shelf, kubelet: FakeKubelet) -> None:
    page = (ROOT / "docs/kubectl.md").read_text()
    roles = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert roles is not None
    shelf.kube.run("apply", "-n", shelf.namespace, "-f", "-", stdin=roles[1])
    shelf.kube.run("create", "serviceaccount", "colleague", "-n", shelf.namespace)
    account = f"--serviceaccount={shelf.namespace}:colleague"
    for name in ("viewer", "editor"):
        role = ("rolebinding", name, f"--role=llmzero-{name}", account)
        shelf.kube.run("create", *role, "-n", shelf.namespace)
    token = shelf.kube.run("create", "token", "colleague", "-n", shelf.namespace).stdout.strip()
    config = config_with(shelf.kube, shelf.folder / "colleague", shelf.namespace, token)
    node = next(n for n in shelf.put("shared", 0) if n.status.phase is Phase.RUNNING)
    pod_of(shelf, "shared", node, 1)
    print_log = ("logs", "shared", node.spec.path)
    wait_for(
        lambda: shelf.call(*print_log, config=config).exit_code == 0, 60,
        lambda: shelf.call(*print_log, config=config).output,
    )  # fmt: skip
    answered = [
        n for n in stages(shelf, "done") if n.status.expansion and n.status.expansion.answers
    ]
    for words in (
        ("list",), ("tree", "done", "-w"), ("stop", "shared"), ("resume", "shared"),
        ("approve", "done", answered[0].spec.path),
    ):  # fmt: skip
        said = shelf.call(*words, config=config)
        assert said.exit_code == 0, said.output
    for kind in ("trainingsearches", "stagenodes"):
        may = ("auth", "can-i", "watch", f"{kind}.llmzero.dev", "-n", shelf.namespace)
        assert shelf.kube.run("--kubeconfig", str(config), *may).stdout == "yes\n"


def test_what_is_allowed_works_and_all_namespaces_are_not(shelf: Shelf, reader: Path) -> None:
    assert shelf.call("tree", "done", config=reader).exit_code == 0
    missing = shelf.call("tree", "gone", config=reader)
    assert (missing.exit_code, "there are done, going" in missing.stderr) == (2, True)
    everywhere = shelf.call("list", "-A", config=reader)
    assert everywhere.exit_code == 1
    assert "may not list trainingsearches in all namespaces" in everywhere.stderr
    assert "or name a namespace with -n" in everywhere.stderr


# -- through kubectl --------------------------------------------------------------------------


def test_kubectl_finds_the_plugin(shelf: Shelf) -> None:
    done = subprocess.run(
        [str(shelf.kube.program), "llmzero", "tree", "done", "-n", shelf.namespace],
        env={
            **os.environ,
            "KUBECONFIG": str(shelf.kube.kubeconfig),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == shelf.call("tree", "done").output
