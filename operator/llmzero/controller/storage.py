"""The claims that searches name: whether they are there and on how many nodes they can be used."""

import time
from dataclasses import dataclass

from llmzero.controller.kube import Kube
from llmzero.controller.transport import ApiError

FRESH_SECONDS = 300.0
MISSING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Claim:
    name: str
    found: bool
    modes: tuple[str, ...] = ()

    @property
    def one_node(self) -> bool:
        """Known to be mountable by one node only."""
        return self.found and "ReadWriteMany" not in self.modes

    @property
    def one_pod(self) -> bool:
        return self.found and set(self.modes) == {"ReadWriteOncePod"}


class Claims:
    """PersistentVolumeClaims by name, looked at now and then."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._seen: dict[tuple[str, str], tuple[float, Claim]] = {}

    async def look(self, namespace: str, name: str | None) -> Claim | None:
        """None where the search names none or where we may not read it."""
        if name is None:
            return None
        at, claim = self._seen.get((namespace, name), (0.0, None))
        limit = FRESH_SECONDS if claim is not None and claim.found else MISSING_SECONDS
        if claim is not None and time.monotonic() - at < limit:
            return claim
        try:
            body = await self._kube.get("PersistentVolumeClaim", namespace, name)
        except ApiError as error:
            if error.status != 403:
                raise
            return None
        modes = tuple(body.get("spec", {}).get("accessModes", [])) if body else ()
        claim = Claim(name, body is not None, modes)
        self._seen[namespace, name] = (time.monotonic(), claim)
        return claim
