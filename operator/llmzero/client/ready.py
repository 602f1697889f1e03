"""Whether an agent service is there at all: asked once, at the start of a search."""

from threading import Thread

import httpx

from llmzero.client.endpoints import Endpoint
from llmzero.client.judge import clean
from llmzero.client.strict_json import loads
from llmzero.client.tls import tls_context

READY_SECONDS = 3.0
READY_BYTES = 64 * 1024
"""Much more than a service has to say of itself."""


def trouble(endpoint: Endpoint, seconds: float = READY_SECONDS) -> str:
    """What is wrong with the endpoint as its /readyz tells, within ``seconds``; empty for nothing.

    Sends no token. In a thread of its own, because a name server may hang for longer.
    """
    said: list[str] = []
    asking = Thread(
        target=lambda: said.append(_asked(endpoint, seconds)), name="ready", daemon=True
    )
    asking.start()
    asking.join(seconds)
    return said[0] if said else f"/readyz: no answer within {seconds:g} s"


def _asked(endpoint: Endpoint, seconds: float) -> str:
    try:
        context = tls_context(endpoint.ca_file)
        with (
            httpx.Client(verify=context, timeout=seconds, follow_redirects=False) as client,
            client.stream(
                "GET", f"{endpoint.url}/readyz", headers={"Accept-Encoding": "identity"}
            ) as reply,
        ):
            message = _message(reply)
    except httpx.TimeoutException:
        return f"/readyz: no answer within {seconds:g} s"
    except httpx.ConnectError as error:
        return f"cannot connect ({type(error).__name__})"
    except httpx.HTTPError as error:
        return f"/readyz: the connection failed ({type(error).__name__})"
    except (OSError, ValueError, httpx.InvalidURL) as error:
        return clean(str(error), 200)
    if reply.status_code != 200:
        return f"/readyz: HTTP {reply.status_code}" + f" ({message})" * bool(message)
    return f"/readyz: {message}" * bool(message)


def _message(reply: httpx.Response) -> str:
    """What the service says is wrong, in one line; empty where it says nothing of the kind."""
    data = b""
    for part in reply.iter_raw():
        data += part
        if len(data) > READY_BYTES:
            return ""
    try:
        found = loads(data)
    except ValueError:
        return ""
    message = found.get("message") if isinstance(found, dict) else None
    return clean(message, 200) if isinstance(message, str) else ""
