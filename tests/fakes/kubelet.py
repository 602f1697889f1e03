"""A fake kubelet: a Node whose pods run nothing. It fakes **pod statuses and logs**, no more.

Everything else is real: API server, Job controller, scheduler, garbage collector. Each trainer
pod bound to the node speaks the stage contract through its log and its termination message, with
the objective of :mod:`tests.fakes.fake_trainer`. ``faults`` maps a stage's path (or "*") to a list
of ``{"attempt": 1, "pod": 1, "kind": ..., "step": n, "code": n}``, kinds:

* exit     says a result with ``code``, ``reason`` and ``text`` at ``step`` and exits with it
* crash    exit code 1, no result
* oom      the container is killed over its limit: 137, OOMKilled
* mute     exits 0, the termination message and the result record are missing
* deaf     its log cannot be read
* hang     says nothing more and does not end
* evict    DisruptionTarget, then Failed without a container's word (a drain)
* wait     never leaves Pending: ``reason`` and ``text`` stand in its status; ``mounted: false``: its
           volumes are not there
"""

import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.fakes.fake_trainer import grown

NODE = "fake-node"
DONE, INTERRUPTED = 0, 68
Object = dict[str, Any]


@dataclass
class StageFolder:
    """What lies on the volume of one stage."""

    records: list[str] = field(default_factory=list)
    checkpoints: dict[int, float] = field(default_factory=dict)
    seqs: Counter[int] = field(default_factory=Counter)
    result: Object | None = None


@dataclass
class FakePod:
    body: Object
    log: bytearray = field(default_factory=bytearray)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    readable: bool = True
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """Its deletion was asked for."""
    work: "asyncio.Task[None] | None" = None


class FakeKubelet:
    """Use as a context; it lives in a thread of its own."""

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        *,
        seconds: float = 0.0,
        faults: dict[str, list[Object]] | None = None,
    ) -> None:
        self.seconds = seconds
        """Time of a step."""
        self.faults = faults or {}
        self.folders: dict[tuple[str, str], StageFolder] = {}
        self.trained: Counter[tuple[str, int]] = Counter()
        """How often each step of a stage was trained."""
        self.most_at_once: Counter[str] = Counter()
        """Most pods of a stage that ran at the same time."""
        self.pruned: dict[str, list[int]] = {}
        self.ended_at: dict[str, float] = {}
        """When (monotonic) the last pod of a stage was about to be shown as ended."""
        self.hold: Callable[[str], bool] = lambda node: False
        """Stages whose pods shall not end yet."""
        self._folder = folder
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self._server: str = cluster["server"]
        self._authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._token: str = config["users"][0]["user"]["token"]
        self._pods: dict[str, FakePod] = {}
        self._pod_numbers: Counter[tuple[str, int]] = Counter()
        self._running: Counter[str] = Counter()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fake-kubelet", daemon=True)

    def __enter__(self) -> "FakeKubelet":
        self._thread.start()
        assert self._ready.wait(60)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert self._failure is None, self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        trust = ssl.create_default_context(cadata=self._authority)
        headers = {"Authorization": f"Bearer {self._token}"}
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        async with aiohttp.ClientSession(
            self._server, headers=headers, connector=connector, read_bufsize=2**21
        ) as self._api:
            serving = web.AppRunner(self._logs_server(), access_log=None)
            await serving.setup()
            site = web.TCPSite(serving, "127.0.0.1", 0, ssl_context=self._certificate())
            await site.start()
            port = serving.addresses[0][1]
            await self._register(port)
            tasks = [asyncio.create_task(w) for w in (self._heartbeat(), self._watch())]
            self._ready.set()
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            for task in (*tasks, *(p.work for p in self._pods.values() if p.work)):
                task.cancel()
            await serving.cleanup()

    def _certificate(self) -> ssl.SSLContext:
        key, certificate = self._folder / "kubelet.key", self._folder / "kubelet.crt"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", f"/CN={NODE}", "-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    # -- the node -----------------------------------------------------------------------------

    async def _register(self, port: int) -> None:
        with contextlib.suppress(FileExistsError):
            labels = {"kubernetes.io/hostname": NODE}
            await self._call(
                "POST", "/api/v1/nodes", {"metadata": {"name": NODE, "labels": labels}}
            )
        room = {"cpu": "1000", "memory": "1Ti", "pods": "1000", "ephemeral-storage": "1Ti"}
        status = {
            "capacity": room,
            "allocatable": room,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "FakeKubelet",
                    "message": "fakes pod statuses",
                    "lastHeartbeatTime": now(),
                    "lastTransitionTime": now(),
                }
            ],
        }
        await self._patch(f"/api/v1/nodes/{NODE}/status", {"status": status})

    async def _heartbeat(self) -> None:
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {"holderIdentity": NODE, "leaseDurationSeconds": 40}
        while True:
            moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            body = {"metadata": {"name": NODE}, "spec": {**spec, "renewTime": moment}}
            try:
                await self._patch(f"{leases}/{NODE}", body)
            except KeyError:
                with contextlib.suppress(FileExistsError, KeyError):
                    await self._call("POST", leases, body)
            await asyncio.sleep(5)

    async def _watch(self) -> None:
        query = {"fieldSelector": f"spec.nodeName={NODE}"}
        while True:
            found = await self._call("GET", "/api/v1/pods", query=query)
            for body in found["items"]:
                self._see("ADDED", body)
            version = found["metadata"]["resourceVersion"]
            more = {**query, "watch": "true", "resourceVersion": version}
            timeout = aiohttp.ClientTimeout(total=None)
            with contextlib.suppress(aiohttp.ClientError):
                async with self._api.get("/api/v1/pods", params=more, timeout=timeout) as stream:
                    async for line in stream.content:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            break
                        self._see(event["type"], event["object"])

    def _see(self, kind: str, body: Object) -> None:
        uid = body["metadata"]["uid"]
        if kind == "DELETED":
            pod = self._pods.pop(uid, None)
            if pod is not None and pod.work is not None:
                pod.work.cancel()
            return
        if uid not in self._pods:
            if body.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                return
            pod = self._pods[uid] = FakePod(body)
            pod.work = asyncio.create_task(self._live(pod))
        pod = self._pods[uid]
        if "deletionTimestamp" in body["metadata"] and not pod.told.is_set():
            pod.told.set()
            if pod.over:
                asyncio.create_task(self._remove(pod))  # noqa: RUF006

    # -- one pod ------------------------------------------------------------------------------

    async def _live(self, pod: FakePod) -> None:
        metadata = pod.body["metadata"]
        container = next(c for c in pod.body["spec"]["containers"] if c["name"] == "trainer")
        env = {e["name"]: e.get("value", "") for e in container["env"]}
        arguments, node = container.get("args", []), metadata["labels"]["llmzero.dev/node"]
        if arguments:
            await self._help(pod, node, arguments)
        else:
            self._running[node] += 1
            self.most_at_once[node] = max(self.most_at_once[node], self._running[node])
            try:
                await self._train(pod, node, env)
            finally:
                self._running[node] -= 1
        if pod.told.is_set():
            await self._remove(pod)

    async def _help(self, pod: FakePod, node: str, arguments: list[str]) -> None:
        """Report and prune."""
        uid = arguments[1].split("/")[-2]
        folder = self.folders.setdefault((uid, node), StageFolder())
        await self._status(pod, "Running", {"running": {"startedAt": now()}})
        if arguments[0] == "prune":
            keep = {int(s) for s in arguments[2].partition("=")[2].split(",") if s}
            gone = [s for s in folder.checkpoints if s not in keep]
            for step in gone:
                del folder.checkpoints[step]
            self.pruned.setdefault(node, []).extend(gone)
        else:
            for record in folder.records:
                self._print(pod, record)
        await self._end(pod, DONE, "")

    async def _train(self, pod: FakePod, node: str, env: dict[str, str]) -> None:
        request = json.loads(base64.b64decode(env["LLMZERO_STAGE_REQUEST"]))
        attempt, uid = int(env["LLMZERO_ATTEMPT"]), request["searchUid"]
        self._pod_numbers[node, attempt] += 1
        folder = self.folders.setdefault((uid, node), StageFolder())
        stage = FakeStage(self, pod, node, request, attempt, folder)
        faults = self._faults(node, attempt, self._pod_numbers[node, attempt])
        waits = next((f for f in faults if f["kind"] == "wait"), None)
        if waits is not None:
            waiting = {"reason": waits["reason"], "message": waits.get("text", "")}
            mounted = waits.get("mounted", True)
            await self._status(pod, "Pending", {"waiting": waiting}, mounted=mounted)
            await pod.told.wait()
            await self._end(pod, INTERRUPTED, "")
            return
        await self._status(pod, "Running", {"running": {"startedAt": now()}})
        pod.readable = not any(f["kind"] == "deaf" for f in faults)
        await stage.run(faults)

    def _faults(self, node: str, attempt: int, number: int) -> list[Object]:
        path = node.split("-", 2)[2] if node.count("-") > 1 else node
        found = self.faults.get(path, []) + self.faults.get("*", [])
        return [
            f
            for f in found
            if f.get("attempt", attempt) == attempt and f.get("pod", number) == number
        ]

    async def _status(
        self, pod: FakePod, phase: str, state: Object, *more: Object, mounted: bool = True
    ) -> None:
        metadata = pod.body["metadata"]
        sandbox = {"type": "PodReadyToStartContainers", "status": str(mounted)}
        status = {
            "phase": phase,
            "startTime": pod.body.setdefault("started", now()),
            "conditions": [{**sandbox, "lastTransitionTime": now()}, *more],
            "containerStatuses": [
                {
                    "name": "trainer",
                    "image": "fake",
                    "imageID": "fake",
                    "ready": phase == "Running",
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        with contextlib.suppress(KeyError):
            await self._patch(f"{path}/status", {"status": status})

    async def _end(self, pod: FakePod, code: int, message: str, reason: str = "") -> None:
        pod.over = True
        pod.more.set()
        terminated = {
            "exitCode": code,
            "message": message,
            "reason": reason or ("Completed" if code == DONE else "Error"),
            "startedAt": pod.body.get("started", now()),
            "finishedAt": now(),
        }
        phase = "Succeeded" if code == DONE else "Failed"
        self.ended_at[pod.body["metadata"]["labels"]["llmzero.dev/node"]] = time.monotonic()
        await self._status(pod, phase, {"terminated": terminated})

    async def evict(self, pod: FakePod) -> None:
        pod.over = True
        pod.more.set()
        metadata = pod.body["metadata"]
        target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        status = {
            "phase": "Failed",
            "reason": "Evicted",
            "conditions": [{**target, "lastTransitionTime": now()}],
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        await self._patch(f"{path}/status", {"status": status})

    async def _remove(self, pod: FakePod) -> None:
        metadata = pod.body["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        with contextlib.suppress(KeyError):
            await self._call("DELETE", path, {"gracePeriodSeconds": 0})

    def _print(self, pod: FakePod, line: str) -> None:
        pod.log += line.encode() + b"\n"
        pod.more.set()

    # -- logs ---------------------------------------------------------------------------------

    def _logs_server(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._log)
        return app

    async def _log(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info
        found = [
            p
            for p in self._pods.values()
            if p.body["metadata"]["name"] == names["pod"]
            and p.body["metadata"]["namespace"] == names["namespace"]
        ]
        if not found or not found[0].readable:
            return web.Response(status=404, text="no such container")
        pod, response, sent = found[0], web.StreamResponse(), 0
        await response.prepare(request)
        follow = request.query.get("follow") == "true"
        with contextlib.suppress(ConnectionError):
            while True:
                pod.more.clear()
                if len(pod.log) > sent:
                    chunk, sent = bytes(pod.log[sent:]), len(pod.log)
                    await response.write(chunk)
                    continue
                if pod.over or not follow:
                    break
                await pod.more.wait()
        return response

    # -- the API server -----------------------------------------------------------------------

    async def _patch(self, path: str, body: Object) -> Object:
        return await self._call("PATCH", path, body)

    async def _call(
        self, method: str, path: str, body: Object | None = None, query: Object | None = None
    ) -> Object:
        """Raises KeyError for 404 and FileExistsError for 409."""
        kind = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
        for attempt in range(20):
            try:
                async with self._api.request(
                    method, path, json=body, params=query, headers={"Content-Type": kind}
                ) as answer:
                    text = await answer.text()
                    if answer.status == 404:
                        raise KeyError(path)
                    if answer.status == 409 and method == "POST":
                        raise FileExistsError(path)
                    if answer.status < 400:
                        found: Object = json.loads(text)
                        return found
                    if answer.status < 500 and answer.status not in (409, 429):
                        raise RuntimeError(f"{method} {path}: {answer.status} {text}")
            except aiohttp.ClientError:
                if attempt == 19:
                    raise
            await asyncio.sleep(0.2)
        raise RuntimeError(f"{method} {path}: {answer.status} {text}")


class FakeStage:
    """What a trainer would say, step by step."""

    def __init__(
        self,
        kubelet: FakeKubelet,
        pod: FakePod,
        node: str,
        request: Object,
        attempt: int,
        folder: StageFolder,
    ) -> None:
        self.kubelet, self.pod, self.node = kubelet, pod, node
        self.request, self.attempt, self.folder = request, attempt, folder

    async def run(self, faults: list[Object]) -> None:
        folder, request = self.folder, self.request
        for record in folder.records:
            self.kubelet._print(self.pod, record)
        if folder.result is not None:
            await self.kubelet._end(self.pod, DONE, json.dumps(folder.result))
            return
        start = self._start()
        if request["mode"] == "evaluate":
            if await self._fault(faults, 0):
                return
            self._evaluate(request.get("startStep") or 0, start)
            await self._result(DONE, start, faults)
            return
        begun = max(folder.checkpoints, default=0)
        self._say(type="attempt", device="fake", resumedFrom=begun or None)
        if not begun:
            self._evaluate(0, start)
        value = start
        for step in range(begun + 1, request["steps"] + 1):
            if await self._fault(faults, step):
                return
            if self.pod.told.is_set():
                await self._result(INTERRUPTED, None, faults, step=begun)
                return
            if self.kubelet.seconds:
                await asyncio.sleep(self.kubelet.seconds)
            self.kubelet.trained[self.node, step] += 1
            value = grown(request, step, start)
            metrics = {"reward": value, "reward_std": 0.2, "entropy": 1.0, "grad_norm": 0.1}
            self._say(type="step", step=step, metrics=metrics, tokens=10)
            last = step == request["steps"]
            if last or step % request["checkpointEvery"] == 0:
                folder.checkpoints[step] = value
                self._say(type="checkpoint", step=step, bytes=1)
            if last or step % request["evalEvery"] == 0:
                self._evaluate(step, value)
        while self.kubelet.hold(self.node) and not self.pod.told.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.pod.told.wait(), 0.1)
        await self._result(DONE, value, faults)

    def _start(self) -> float:
        node, step = self.request.get("startNode"), self.request.get("startStep")
        if node is None:
            return 0.2
        return self.kubelet.folders[self.request["searchUid"], node].checkpoints[step]

    def _evaluate(self, step: int, value: float) -> None:
        score = {"step": step, "value": value, "standardError": 0.01, "questions": 100}
        self._say(type="eval", split=self.request["split"], score=score, tokens=5)

    async def _fault(self, faults: list[Object], step: int) -> bool:
        """Whether the pod ended here."""
        for fault in faults:
            if fault.get("step", 0) != step:
                continue
            match fault["kind"]:
                case "exit":
                    text = f"fake fault at step {step}"
                    why, reason = fault.get("text", text), fault.get("reason", "")
                    await self._result(fault["code"], None, [], why, step, reason)
                    return True
                case "crash":
                    await self.kubelet._end(self.pod, 1, "")
                    return True
                case "oom":
                    await self.kubelet._end(self.pod, 137, "", "OOMKilled")
                    return True
                case "evict":
                    await self.kubelet.evict(self.pod)
                    return True
                case "hang":
                    await self.pod.told.wait()
                    await self.kubelet._end(self.pod, 137, "")
                    return True
        return False

    async def _result(
        self,
        code: int,
        value: float | None,
        faults: list[Object],
        message: str = "",
        step: int | None = None,
        reason: str = "",
    ) -> None:
        if any(f["kind"] == "mute" for f in faults):
            await self.kubelet._end(self.pod, code, "")
            return
        said: Object = {
            "type": "result",
            "exitCode": code,
            "reason": reason,
            "message": message,
            "step": self.request["steps"] if step is None else step,
            "deviceSeconds": 1.0,
        }
        if value is not None:
            said |= {"value": value, "standardError": 0.01, "questions": 100}
        record = self._say(**said)
        if code == DONE:
            self.folder.result = record
        await self.kubelet._end(self.pod, code, json.dumps(record))

    def _say(self, **fields: Any) -> Object:
        self.folder.seqs[self.attempt] += 1
        head = {"attempt": self.attempt, "seq": self.folder.seqs[self.attempt], "time": time.time()}
        record = head | {k: v for k, v in fields.items() if v is not None}
        line = json.dumps(record)
        self.folder.records.append(line)
        self.kubelet._print(self.pod, line)
        return record


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
