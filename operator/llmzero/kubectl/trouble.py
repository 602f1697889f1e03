"""Why the cluster says no, in words that tell what to do."""

import re
from typing import Final

from llmzero.api.base import GROUP
from llmzero.controller.transport import ApiError

_FORBIDDEN: Final = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" '
    r'in API group "(?P<group>[^"]*)"(?: in the namespace "(?P<namespace>[^"]+)")?'
)
"""As every authorizer of Kubernetes says it (apiserver's ForbiddenMessage)."""


class Trouble(Exception):
    """The cluster, or the way to it, is in the way; the message says what to do."""


class Mistake(Trouble):
    """The command is wrong, not the cluster."""


def explained(error: ApiError, server: str, context: str) -> Trouble:
    """What an answer of the API server means to a user of it."""
    if error.status == 0:
        return Trouble(
            f"the API server at {server} ({context}) does not answer: {error}\n"
            "Is it up, and reachable from here? Try: kubectl version"
        )
    if error.status == 401:
        return Trouble(
            f"the API server at {server} does not know you ({context}): "
            "log in again, or choose another --context"
        )
    if error.status == 403:
        return Trouble(_forbidden(str(error).removeprefix("403: ")))
    if error.status == 404:
        return Trouble(
            f"the cluster ({context}) does not know TrainingSearches: its CRDs are not installed. "
            "An administrator installs them: kubectl apply --server-side -f crds/, or the Helm "
            "chart. Another cluster? Choose it with --context"
        )
    return Trouble(f"the API server refuses: {error}")


def _forbidden(text: str) -> str:
    found = _FORBIDDEN.search(text)
    if found is None:
        return f"the API server forbids it: {text}"
    resource, _, sub = found["resource"].partition("/")
    group, namespace = found["group"], found["namespace"]
    where = f"in namespace {namespace}" if namespace else "in all namespaces"
    check = f"kubectl auth can-i {found['verb']} {resource}{group and '.' + group}"
    check += f" --subresource={sub}" if sub else ""
    check += f" -n {namespace}" if namespace else " -A"
    rule = f'apiGroups: ["{group}"], resources: ["{found["resource"]}"], verbs: ["{found["verb"]}"]'
    return (
        f"{found['user']} may not {found['verb']} {found['resource']} {where}.\n"
        f"Check it: {check}\n"
        f"Ask an administrator for a {'Role' if namespace else 'ClusterRole'} "
        f"with the rule {{{rule}}}"
        + (", or name a namespace with -n" if not namespace and group == GROUP else "")
    )
