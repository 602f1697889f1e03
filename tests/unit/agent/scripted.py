"""A scripted HTTP endpoint on a real socket: answers, refuses, hangs, trickles, floods, drops."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What the endpoint does with one request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hang: bool = False
    drop: bool = False
    trickle: float = 0.0
    flood: int = 0


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    names = {k.replace("_", "-"): v for k, v in headers.items()}
    return Reply(status, body, {"Content-Type": "application/json", **names})


Script = Callable[[Received], Reply]


class ScriptedEndpoint:
    """``async with ScriptedEndpoint(script) as endpoint``: ``endpoint.url``, ``endpoint.seen``."""

    def __init__(self, script: Script | list[Reply]) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.seen: list[Received] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        # Header values keep their case: tokens are compared.
        exact = {
            line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in head[1:] if line
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Received(method, path, exact, body)
        self.seen.append(request)
        if callable(self._script):
            reply = self._script(request)
        else:
            reply = self._script[min(len(self.seen), len(self._script)) - 1]
        await asyncio.sleep(3600 if reply.hang else reply.delay)
        if reply.drop:
            return
        length = reply.flood or len(reply.body)
        lines = [f"HTTP/1.1 {reply.status} X", f"Content-Length: {length}", "Connection: close"]
        lines += [f"{k}: {v}" for k, v in reply.headers.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        if reply.flood:
            for _ in range(reply.flood // 65536):
                writer.write(b"x" * 65536)
                await writer.drain()
        elif reply.trickle:
            for byte in reply.body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(reply.trickle)
        else:
            writer.write(reply.body)
        await writer.drain()
