"""Speaking to one agent service over HTTP: deadlines, careful retries, bounded everything."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from llmzero.api.base import Model
from llmzero.api.proposals import Answered, ProposalRequest, VerdictAnswer, VerdictRequest
from llmzero.client.breaker import Breaker
from llmzero.client.endpoints import Endpoint
from llmzero.client.judge import clean, problems, settled
from llmzero.client.strict_json import BODY_BYTES, loads
from llmzero.client.tls import tls_context
from llmzero.rules import propose

BACKOFF = 0.5
"""Seconds before the first retry; doubles, with full jitter."""
_REFUSED = (429, 503)
"""Statuses that say that nothing was begun."""

AnswerT = TypeVar("AnswerT", bound=Model)


class AgentUnavailable(Exception):
    """No usable answer; the message says why, without secrets and without the endpoint's words."""


class _NothingBegun(Exception):
    """The question did not reach the service, or it was refused unread: safe to ask again."""

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class AgentClient:
    """One endpoint. Belongs to the event loop that first uses it; close it with ``aclose``."""

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        *,
        jitter: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._jitter = jitter or random.Random()
        self._breaker = Breaker(clock=clock)
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._http: httpx.AsyncClient | None = None
        self._tokens: set[str] = set()

    async def propose(self, request: ProposalRequest, seconds: float) -> Answered:
        """Ask for proposals; ``seconds`` bound the whole decision.

        Raises :class:`AgentUnavailable`, also for an answer that breaks the search's rules.
        """
        answered = await self._ask("/v1/proposals", _sendable(request), Answered, seconds)
        self._same_id(request.request_id, answered.request_id)
        by_rules = answered.answered_by == "rules"
        answered = answered.with_(
            # What rules say is known here: nobody needs to be believed.
            answer=propose(request) if by_rules else settled(request, answered.answer),
            note=clean(answered.note, 512),
            provider=clean(answered.provider, 128),
            template=clean(answered.template, 128),
        )
        found = [] if by_rules else problems(request, answered.answer)
        if found:
            self._breaker.failure()
            raise AgentUnavailable(f"endpoint {self._name}: invalid answer: {clean(found[0], 300)}")
        self._breaker.success()
        return answered

    async def review(self, request: VerdictRequest, seconds: float) -> VerdictAnswer:
        """Ask for a verdict on a stop. Raises :class:`AgentUnavailable`."""
        verdict = await self._ask("/v1/verdicts", request, VerdictAnswer, seconds)
        self._same_id(request.request_id, verdict.request_id)
        self._breaker.success()
        return verdict.with_(
            reason=clean(verdict.reason, 1024),
            note=clean(verdict.note, 512),
            provider=clean(verdict.provider, 128),
            template=clean(verdict.template, 128),
        )

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _ask(
        self, path: str, question: Model, answer: type[AnswerT], seconds: float
    ) -> AnswerT:
        if not self._breaker.allow(seconds):
            wait = self._breaker.wait
            raise AgentUnavailable(
                f"endpoint {self._name} keeps failing and is left alone for {wait:.0f} s more"
            )
        body = question.model_dump_json(by_alias=True, exclude_none=True).encode()
        try:
            async with asyncio.timeout(seconds), self._slots:
                data = await self._with_retries(path, body, seconds)
                return answer.model_validate(self._without_tokens(loads(data)))
        except TimeoutError:
            why = f"no answer within {seconds:g} s"
        except _NothingBegun as error:
            why = str(error)
        except httpx.HTTPError as error:
            why = f"the connection failed ({type(error).__name__})"
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            why = f"the answer has the wrong form at {clean(field, 100)}"
        except (ValueError, OSError) as error:
            # What is no JSON is quoted as it came.
            why = clean(self._without_tokens(str(error)), 300)
        self._breaker.failure()
        raise AgentUnavailable(f"endpoint {self._name}: {why}")

    async def _with_retries(self, path: str, body: bytes, seconds: float) -> bytes:
        token = await self._token()
        for attempt in range(self._endpoint.retries + 1):
            try:
                return await self._post(path, body, token, seconds)
            except _Unauthorized:
                fresh = await self._token()
                if fresh == token:
                    raise ValueError("the token is refused (HTTP 401)") from None
                token = fresh
            except _NothingBegun as error:
                if attempt == self._endpoint.retries:
                    raise
                pause = self._jitter.uniform(0, BACKOFF * 2**attempt)
                await asyncio.sleep(max(pause, error.retry_after or 0.0))
        raise ValueError("the token changes with every try (HTTP 401)")

    async def _post(self, path: str, body: bytes, token: str | None, seconds: float) -> bytes:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Prefer": f"wait={max(int(seconds), 1)}",
        }
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = self._endpoint.url + path
        try:
            async with self._client().stream("POST", url, content=body, headers=headers) as reply:
                if reply.status_code == 401:
                    raise _Unauthorized
                if reply.status_code in _REFUSED:
                    raise _NothingBegun(
                        f"the service is busy (HTTP {reply.status_code})", _retry_after(reply)
                    )
                if reply.status_code != 200:
                    raise ValueError(f"HTTP {reply.status_code}")
                if reply.headers.get("Content-Encoding", "identity") != "identity":
                    raise ValueError("the answer is compressed, which was not asked for")
                return await _bounded(reply)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _NothingBegun(f"cannot connect ({type(error).__name__})") from None

    async def _token(self) -> str | None:
        """The bearer token as the file holds it now: a rotated Secret needs no restart."""
        if self._endpoint.token_file is None:
            return None
        try:
            token = (await asyncio.to_thread(self._endpoint.token_file.read_text)).strip()
        except (OSError, UnicodeDecodeError):
            raise ValueError("the token file cannot be read") from None
        if not token or not token.isascii() or not token.isprintable():
            raise ValueError("the token file holds no usable token")
        self._tokens.add(token)
        return token

    def _without_tokens(self, value: Any) -> Any:
        """An answer whose texts quote no token: a service may quote what it was sent, and what it
        says is stored and shown."""
        if isinstance(value, dict):
            return {self._without_tokens(k): self._without_tokens(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._without_tokens(v) for v in value]
        if isinstance(value, str):
            for token in self._tokens:
                value = value.replace(token, "…")
        return value

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            endpoint = self._endpoint
            self._http = httpx.AsyncClient(
                verify=tls_context(endpoint.ca_file),
                timeout=httpx.Timeout(None, connect=endpoint.connect_seconds),
                limits=httpx.Limits(max_connections=endpoint.concurrency),
                follow_redirects=False,
            )
        return self._http

    def _same_id(self, sent: str, received: str) -> None:
        if sent != received:
            self._breaker.failure()
            raise AgentUnavailable(f"endpoint {self._name}: the answer is to another question")


def _sendable(request: ProposalRequest) -> ProposalRequest:
    """The request, without the curves above the stage where a deep path makes it too large."""
    if len(request.model_dump_json(by_alias=True)) <= BODY_BYTES:
        return request
    return request.with_(path=[stage.with_(curve=None) for stage in request.path])


class _Unauthorized(Exception):
    pass


async def _bounded(reply: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in reply.aiter_raw():
        size += len(part)
        if size > BODY_BYTES:
            raise ValueError(f"the answer is larger than {BODY_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _retry_after(reply: httpx.Response) -> float | None:
    """Seconds of a Retry-After header in its numeric form."""
    value = reply.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() and len(value) < 6 else None
