"""``python -m llmzero_trainer``: one stage; ``report``, ``prune`` and ``make-model`` beside it."""

import argparse
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TextIO

from llmzero.api.contract import (
    ATTEMPT_ENV,
    REQUEST_ENV,
    REQUEST_HASH_ENV,
    ROOT_ENV,
    ExitCode,
    StageRequest,
    VolumeSpace,
)
from llmzero_trainer.directory import FINAL, StageDirectory
from llmzero_trainer.emit import Emitter, say_refusal, say_termination
from llmzero_trainer.errors import StageError, from_os_error, interrupted, invalid
from llmzero_trainer.interrupt import Interrupt
from llmzero_trainer.volume import space

CRASH = 1


def main(arguments: list[str] | None = None) -> int:
    """The exit code of one invocation."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    given = _parser().parse_args(arguments)
    out = take_stdout()
    try:
        match given.command:
            case "report":
                return report(out, _directory(given.directory))
            case "prune":
                keep = {int(s) for s in given.keep.split(",") if s}
                dropped = _directory(given.directory).prune(keep)
                print(f"removed the checkpoints {dropped}", file=sys.stderr)
                return 0
            case "make-model":
                from llmzero_trainer import tiny

                print(tiny.place(given.name, given.target), file=out)
                return 0
            case _:
                return run_stage(out)
    except StageError as error:
        print(f"{error.reason}: {error.message}", file=sys.stderr)
        return int(error.code)


def run_stage(out: TextIO) -> int:
    """Carry out the request in the environment, to its reserved exit code."""
    started = time.time()
    room: VolumeSpace | None = None
    try:
        request, root = request_from_environment()
        room = space(root)
        directory = StageDirectory.of(root, request, _attempt())
        directory.open(request)
    except StageError as error:
        print(f"{error.reason}: {error.message}", file=sys.stderr)
        say_refusal(out, error, room)
        return int(error.code)
    emitter = Emitter(out, directory, started)
    finished = directory.final_result()
    emitter.replay(shares=1 if finished else 2)
    if finished is not None:
        say_termination(finished)
        return finished.exit_code
    interrupt = Interrupt()
    interrupt.install(lambda: _give_up(emitter))
    halvings = emitter.halvings
    try:
        from llmzero_trainer.stage import Stage

        stage = Stage(request, root, directory, emitter, interrupt)
        try:
            ended = stage.run()
        finally:
            halvings = stage.halvings
        emitter.result(
            ExitCode.DONE,
            reason="Succeeded",
            step=ended.step,
            score=ended.score,
            halvings=halvings,
            final=True,
        )
        return ExitCode.DONE
    except StageError as error:
        return _end_badly(error, directory, emitter, halvings)
    except Exception as error:
        problem = from_os_error(error, directory.path) if isinstance(error, OSError) else None
        if problem is not None:
            return _end_badly(problem, directory, emitter, halvings)
        emitter.result(CRASH, reason="Crash", message=f"{type(error).__name__}: {error}")
        raise
    finally:
        interrupt.over()
        directory.close()


def _end_badly(
    problem: StageError, directory: StageDirectory, emitter: Emitter, halvings: int
) -> int:
    """Say why the attempt ends and what is kept; a fenced attempt says it on stderr alone."""
    print(f"{problem.reason}: {problem.message}", file=sys.stderr)
    if problem.code is ExitCode.FENCED:
        return int(problem.code)
    whole = directory.last_whole()
    kept = whole[0] if whole else 0
    text = problem.message
    if problem.code is ExitCode.DIVERGED:
        text += f"; the last whole checkpoint is {kept}" if kept else "; no checkpoint was made yet"
    try:
        emitter.result(
            problem.code,
            reason=problem.reason,
            message=text,
            step=kept,
            halvings=halvings,
            final=problem.code in FINAL,
        )
    except StageError as worse:  # an end for good that cannot be stored is no end yet
        return _end_badly(worse, directory, emitter, halvings)
    return int(problem.code)


def report(out: TextIO, directory: StageDirectory) -> int:
    """Print what is stored of a stage. Trains nothing, takes no fence, needs no GPU."""
    emitter = Emitter(out, directory, time.time())
    emitter.replay(shares=1)
    return 0


def request_from_environment() -> tuple[StageRequest, Path]:
    """The request and the root of all stages. Raises StageError (InvalidRequest)."""
    text = os.environ.get(REQUEST_ENV)
    if not text:
        raise invalid(f"{REQUEST_ENV}: missing, a base64 StageRequest is needed")
    root = os.environ.get(ROOT_ENV)
    if not root:
        raise invalid(f"{ROOT_ENV}: missing, the directory of all stages is needed")
    try:
        return StageRequest.decode(text, os.environ.get(REQUEST_HASH_ENV)), Path(root)
    except ValueError as error:
        raise invalid(f"{REQUEST_ENV}: {error}") from error


def take_stdout() -> TextIO:
    """stdout for records alone: whatever else is printed goes to stderr."""
    sys.stdout.flush()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def _attempt() -> int:
    text = os.environ.get(ATTEMPT_ENV, "1")
    if not text.isdigit() or int(text) < 1:
        raise invalid(f"{ATTEMPT_ENV}: found {text!r}, a number from 1 is needed")
    return int(text)


def _directory(path: Path | None) -> StageDirectory:
    """The directory given, or the one that the request in the environment belongs to."""
    if path is None:
        request, root = request_from_environment()
        found = StageDirectory.of(root, request, _attempt())
    else:
        found = StageDirectory(path, 1)
    if not found.path.is_dir():
        raise invalid(f"{found.path}: no such stage directory")
    return found


def _give_up(emitter: Emitter) -> None:
    """Grace is over in the middle of a step: say so and go, whole checkpoints are safe."""
    problem = interrupted("stopped by SIGTERM in the middle of a step, nothing was saved")
    try:
        emitter.result(problem.code, reason=problem.reason, message=problem.message)
    finally:
        os._exit(problem.code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmzero_trainer", description="Carry out the stage that the environment asks for."
    )
    commands = parser.add_subparsers(dest="command")
    for name, text in (
        ("report", "print the stored records of a stage, train nothing"),
        ("prune", "remove checkpoints of a stage"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("directory", nargs="?", type=Path, help="default: the request's")
        if name == "prune":
            command.add_argument("--keep", required=True, help="steps to keep, like 25,50")
    make = commands.add_parser("make-model", help="make a builtin tiny model")
    make.add_argument("name")
    make.add_argument("target", type=Path, help="directory that must not exist yet")
    return parser


if __name__ == "__main__":
    try:
        code = main()
    except Exception:
        traceback.print_exc()
        code = CRASH
    sys.exit(code)
