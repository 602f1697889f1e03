"""``llmzero operator``: the Kubernetes operator."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from llmzero.cli.output import Exit, fail
from llmzero.client.endpoints import EndpointsError
from llmzero.controller.lease import LeaseLost
from llmzero.controller.operator import Settings
from llmzero.controller.process import run as run_operator
from llmzero.controller.transport import NoCluster

app = typer.Typer(invoke_without_command=True, help="The Kubernetes operator.")


@app.callback()
def operator(
    namespace: Annotated[
        list[str] | None,
        typer.Option("-n", "--namespace", help="Watch this namespace (repeatable; default all)."),
    ] = None,
    image: Annotated[
        str, typer.Option(help="Trainer image of searches that name none.")
    ] = "llmzero-trainer:latest",
    agent_endpoints: Annotated[
        Path | None, typer.Option(help="YAML file of agent endpoints by name.")
    ] = None,
    lease_namespace: Annotated[
        str,
        typer.Option(
            envvar="POD_NAMESPACE",
            help="Hold a Lease there, so that one replica acts; default none.",
        ),
    ] = "",
    metrics_port: Annotated[int, typer.Option(help="Prometheus metrics; 0 is off.")] = 0,
    resync_seconds: Annotated[
        float, typer.Option(min=10, help="A full LIST so often, in case a watch lost an event.")
    ] = 600.0,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log every event.")] = False,
) -> None:
    """Watch TrainingSearches and run their stages as Jobs. Ends on SIGTERM; can be killed any time."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if not verbose:
        for name in ("kopf", "kopf.objects", "aiohttp", "httpx"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # It says that it leaves signals alone, as it should.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    settings = Settings(
        namespaces=tuple(namespace or ()),
        image=image,
        endpoints_file=agent_endpoints,
        lease_namespace=lease_namespace,
        metrics_port=metrics_port,
        resync_seconds=resync_seconds,
    )
    try:
        asyncio.run(run_operator(settings))
    except (LeaseLost, EndpointsError, NoCluster) as error:
        fail(str(error), Exit.MACHINE)
