"""A fake trainer: speaks the stage contract, trains nothing, and fails on demand.

    python -m tests.fakes.fake_trainer        (environment as for llmzero_trainer)

The objective is a deterministic function of the request and of the checkpoint that it starts from.
FAKE_TRAINER_PLAN names a JSON file: stage path (or "*") to a list of faults, each
``{"attempt": 1, "kind": ..., "step": n, "code": n}``, where attempt may be left out (every one) and
kind is

* exit    says a result with ``code`` at ``step`` and exits with it
* crash   a traceback on stderr, exit code 1, no result
* kill    SIGKILL to itself
* hang    says nothing more and ignores SIGTERM
* garbage torn, binary and over-long lines among the records, then goes on
* mute    exits 0 without a result

``"seconds"`` in the plan's "*" entry is the time a step takes. Every trained step is appended to
``<root>/trained.log``, so that a test can see what was trained twice. It imports nothing of ours:
it starts in hundredths of a second.
"""

import base64
import hashlib
import json
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

DONE, DIVERGED, INTERRUPTED, FENCED = 0, 66, 68, 70
CRASHED = 1


class FakeStage:
    def __init__(self) -> None:
        self.request: dict[str, Any] = json.loads(
            base64.b64decode(os.environ["LLMZERO_STAGE_REQUEST"])
        )
        self.root = Path(os.environ["LLMZERO_ROOT"])
        self.attempt = int(os.environ["LLMZERO_ATTEMPT"])
        self.folder = self.root / self.request["searchUid"] / self.request["node"]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.records = self.folder / "records.jsonl"
        self.seq = 0
        self.told = False
        plan_file = os.environ.get("FAKE_TRAINER_PLAN")
        plan = json.loads(Path(plan_file).read_text()) if plan_file else {}
        self.seconds = float(plan.get("seconds", 0))
        path = self.request["node"].partition(os.environ["FAKE_TRAINER_TAG"] + "-")[2]
        faults = plan.get(path, []) + plan.get("*", [])
        self.faults = [f for f in faults if f.get("attempt", self.attempt) == self.attempt]

    def run(self) -> NoReturn:
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "told", True))
        fence = self.folder / "fence"
        if fence.exists() and int(fence.read_text()) > self.attempt:
            sys.exit(FENCED)
        fence.write_text(str(self.attempt))
        finished = self.folder / "result.json"
        if finished.exists():
            result = json.loads(finished.read_text())
            self.say(**{k: v for k, v in result.items() if k not in ("attempt", "seq", "time")})
            sys.exit(result["exitCode"])
        if self.request["mode"] == "train":
            self.train()
        value = self.value(self.request.get("startStep") or 0, None)
        self.fault(0)
        self.evaluate(self.request.get("startStep") or 0, value)
        self.result(DONE, value)

    def train(self) -> NoReturn:
        done = sorted(int(c.name.partition("-")[2]) for c in self.folder.glob("checkpoint-*"))
        begun = done[-1] if done else 0
        self.say(type="attempt", device="fake", resumedFrom=begun or None)
        start = self.start_value()
        if not begun:
            self.evaluate(0, start)
        for step in range(begun + 1, self.request["steps"] + 1):
            self.fault(step)
            if self.told:
                self.result(INTERRUPTED, None, step=begun)
            time.sleep(self.seconds)
            if int((self.folder / "fence").read_text()) != self.attempt:
                sys.exit(FENCED)
            with (self.root / "trained.log").open("a") as log:
                log.write(f"{self.request['node']} {step} {self.attempt}\n")
            value = self.value(step, start)
            metrics = {"reward": value, "reward_std": 0.2, "entropy": 1.0, "grad_norm": 0.1}
            self.say(type="step", step=step, metrics=metrics, tokens=10)
            last = step == self.request["steps"]
            if last or step % self.request["checkpointEvery"] == 0:
                self.checkpoint(step, value)
            if last or step % self.request["evalEvery"] == 0:
                self.evaluate(step, value)
        self.result(DONE, value)

    def start_value(self) -> float:
        node, step = self.request.get("startNode"), self.request.get("startStep")
        if node is None:
            return 0.2
        file = self.root / self.request["searchUid"] / node / f"checkpoint-{step}" / "value"
        return float(file.read_text())

    def value(self, step: int, start: float | None) -> float:
        """Towards 0.9, faster near a good learning rate, with noise that the request decides."""
        return self.start_value() if start is None else grown(self.request, step, start)

    def evaluate(self, step: int, value: float) -> None:
        score = {"step": step, "value": value, "standardError": 0.01, "questions": 100}
        self.say(type="eval", split=self.request["split"], score=score, tokens=5)

    def checkpoint(self, step: int, value: float) -> None:
        made = self.folder / f".work-{self.attempt}"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        (made / "value").write_text(repr(value))
        made.rename(self.folder / f"checkpoint-{step}")
        self.say(type="checkpoint", step=step, bytes=1)

    def fault(self, step: int) -> None:
        for fault in self.faults:
            if fault.get("step", 0) != step:
                continue
            match fault["kind"]:
                case "exit":
                    self.result(fault["code"], None, message=f"fake fault at step {step}")
                case "crash":
                    raise RuntimeError(f"fake crash at step {step}")
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "hang":
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    time.sleep(3600)
                case "garbage":
                    with self.records.open("ab") as stream:
                        stream.write(b'{"type": "step", "att\n\xff\xfe\x00\n[1]\nnull\n{}\n')
                        stream.write(b'{"x": "' + b"y" * 20_000 + b'"}\n')
                case "mute":
                    sys.exit(DONE)

    def result(
        self, code: int, value: float | None, message: str = "", step: int | None = None
    ) -> NoReturn:
        said = {
            "type": "result",
            "exitCode": code,
            "message": message,
            "step": self.request["steps"] if step is None else step,
            "value": value,
            "standardError": 0.01 if value is not None else None,
            "questions": 100 if value is not None else None,
            "deviceSeconds": 1.0,
        }
        said = {k: v for k, v in said.items() if v is not None}
        if code in (DONE, DIVERGED):
            made = self.folder / ".result"
            made.write_text(json.dumps(self.head() | said))
            made.rename(self.folder / "result.json")
        self.say(**said)
        sys.exit(code)

    def head(self) -> dict[str, Any]:
        return {"attempt": self.attempt, "seq": self.seq + 1, "time": time.time()}

    def say(self, **fields: Any) -> None:
        record = self.head() | {k: v for k, v in fields.items() if v is not None}
        self.seq += 1
        line = json.dumps(record)
        with self.records.open("a") as stream:
            stream.write(line + "\n")
        print(line, flush=True)


def grown(request: dict[str, Any], step: int, start: float) -> float:
    """The objective after so many steps of a stage that started at ``start``."""
    rate = float(request["grpo"].get("learning_rate", 1e-5))
    fit = math.exp(-(math.log10(rate / 1e-4) ** 2))
    # The API server stores 1.0 as 1: the same value, another text.
    same = {k: float(v) if type(v) is int else v for k, v in request["grpo"].items()}
    text = json.dumps([same, request["rolloutSeed"]], sort_keys=True)
    noise = int(hashlib.sha256(text.encode()).hexdigest()[:4], 16) / 0xFFFF - 0.5
    value = start + (0.9 - start) * 0.4 * fit * step / request["steps"]
    return min(max(value + 0.02 * noise, 0.0), 1.0)


if __name__ == "__main__":
    FakeStage().run()
