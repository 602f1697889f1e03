"""A faulty proxy before a real API server: it refuses, loses and cuts, from a seeded generator.

Use as a context; ``kubeconfig`` leads through it. What it does with a request, at the rate given:

* 409, 429, 500   the request is not passed on (409: writes only)
* lost            it is passed on, and the answer is thrown away: the connection closes
* slow            it is passed on after a pause
* cut             a watch ends after a second, without a word
* gone            a watch ends after a second with 410, "too old resource version"
"""

import asyncio
import base64
import contextlib
import json
import ssl
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from aiohttp import web

WATCH_SECONDS = 1.0
SLOW_SECONDS = 1.0
HOP_BY_HOP = ("host", "content-length", "transfer-encoding", "connection", "content-encoding")


class FaultyProxy:
    """``rates``: from a fault's name to how often it strikes, 0 to 1."""

    def __init__(
        self, kubeconfig: Path, folder: Path, rates: dict[str, float], seed: int = 0
    ) -> None:
        self.kubeconfig = folder / "faulty.kubeconfig"
        self.struck: Counter[str] = Counter()
        self.passed = 0
        self._rates, self._random = rates, Random(seed)
        self._config = json.loads(kubeconfig.read_text())
        cluster = self._config["clusters"][0]["cluster"]
        self._server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._trust = ssl.create_default_context(cadata=authority)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faulty-proxy", daemon=True)

    def __enter__(self) -> "FaultyProxy":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        connector = aiohttp.TCPConnector(ssl=self._trust, limit=0)
        no_limit = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            connector=connector, timeout=no_limit, auto_decompress=False
        ) as self._api:
            app = web.Application(client_max_size=2**24)
            app.router.add_route("*", "/{path:.*}", self._answer)
            serving = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await serving.setup()
            await web.TCPSite(serving, "127.0.0.1", 0).start()
            self._config["clusters"][0]["cluster"] = {
                "server": f"http://127.0.0.1:{serving.addresses[0][1]}"
            }
            self.kubeconfig.write_text(json.dumps(self._config))
            self._ready.set()
            await self._stop.wait()
            await serving.cleanup()

    def _strikes(self, *names: str) -> str:
        """The fault of this request; empty for none."""
        for name in names:
            if self._random.random() < self._rates.get(name, 0.0):
                self.struck[name] += 1
                return name
        return ""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") == "true"
        log = request.path.endswith("/log")
        faults = ["429", "500"] if request.method == "GET" else ["409", "429", "500"]
        fault = self._strikes(*(["cut", "gone"] if watch else [*faults, "lost", "slow"]))
        if fault in ("409", "429", "500"):
            body = {"kind": "Status", "code": int(fault), "message": "fault of a fake proxy"}
            headers = {"Retry-After": "1"} if fault == "429" else {}
            return web.json_response(body, status=int(fault), headers=headers)
        if fault == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        async with self._api.request(
            request.method,
            self._server + request.raw_path,
            data=await request.read() or None,
            headers=headers,
        ) as answer:
            self.passed += 1
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            if fault == "lost":
                await answer.read()
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            if watch or log:
                return await self._stream(request, answer, kept, fault)
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    async def _stream(
        self,
        request: web.Request,
        answer: aiohttp.ClientResponse,
        headers: dict[str, Any],
        fault: str,
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError, TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(WATCH_SECONDS if fault else None):
                async for line in answer.content:
                    await response.write(line)
        if fault == "gone":
            status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            with contextlib.suppress(ConnectionError):
                await response.write(
                    json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
                )
        return response
