"""Flags that every ``kubectl llmzero`` command takes, before or after its name, as in kubectl."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from llmzero.kubectl.access import Access

T = TypeVar("T")
PANEL = "Cluster"

Kubeconfig = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig",
        help="File of clusters and users; default KUBECONFIG, then ~/.kube/config.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        help="Context of the kubeconfig; default its current one.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "-n",
        "--namespace",
        help="Namespace; default the context's.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
_FLAGS = {"kubeconfig": Kubeconfig, "context": Context, "namespace": Namespace}


def cluster_flags(command: Callable[..., T]) -> Callable[..., T]:
    """Gives a command the flags; it gets them as its first argument, an :class:`Access`.

    Flags of a group hold for its commands, whose own come first.
    """

    @functools.wraps(command)
    def called(ctx: typer.Context, **given: Any) -> T:
        own = {name: given.pop(name) for name in _FLAGS}
        outer = ctx.obj if isinstance(ctx.obj, Access) else Access()
        ctx.obj = Access(**{n: own[n] or getattr(outer, n) for n in _FLAGS})
        return command(ctx.obj, **given)

    signature = inspect.signature(command)
    keyword = inspect.Parameter.KEYWORD_ONLY
    _, *arguments = signature.parameters.values()
    parameters = [
        inspect.Parameter("ctx", keyword, annotation=typer.Context),
        *(a.replace(kind=keyword) for a in arguments),
        *(inspect.Parameter(n, keyword, annotation=a, default=None) for n, a in _FLAGS.items()),
    ]
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return called
