"""``llmzero agent``: the service; ``render``: what is sent to a model."""

import ipaddress
import logging
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from pydantic import ValidationError

from llmzero.agent.app import create_app
from llmzero.agent.prices import PricesError
from llmzero.agent.prompts import (
    Prompt,
    PromptTooLong,
    proposal_prompt,
    steer_prompt,
    verdict_prompt,
)
from llmzero.agent.settings import AgentSettings
from llmzero.api.proposals import ProposalRequest, VerdictRequest
from llmzero.cli.agent_start import check_address, secrets_missing
from llmzero.cli.output import Exit, errors, fail
from llmzero.client.strict_json import loads
from llmzero.plots import proposal_picture, verdict_picture

app = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)
_DEFAULT = AgentSettings()
_SERVICE = "Service"
_MODEL = "Model"


@app.callback()
def serve(
    context: typer.Context,
    provider: Annotated[
        str, typer.Option(help="rules, openai or anthropic.", rich_help_panel=_MODEL)
    ] = _DEFAULT.provider,
    base_url: Annotated[
        str | None,
        typer.Option(help="Of an OpenAI-compatible or Anthropic API.", rich_help_panel=_MODEL),
    ] = None,
    model: Annotated[
        str, typer.Option(help="As the endpoint names it.", rich_help_panel=_MODEL)
    ] = "",
    key_file: Annotated[
        Path | None,
        typer.Option(help="API key; read again for each request.", rich_help_panel=_MODEL),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="PEM certificates to trust at the endpoint.", rich_help_panel=_MODEL),
    ] = None,
    vision: Annotated[
        bool, typer.Option(help="Send plots to the model.", rich_help_panel=_MODEL)
    ] = _DEFAULT.vision,
    output_mode: Annotated[
        str,
        typer.Option(
            help="auto (found out at start), json-schema, tool, json-object or text.",
            rich_help_panel=_MODEL,
        ),
    ] = _DEFAULT.output_mode,
    temperature: Annotated[
        float | None, typer.Option(help="Default: the endpoint's.", rich_help_panel=_MODEL)
    ] = None,
    max_input_tokens: Annotated[
        int, typer.Option(help="Of a prompt, the plot not counted.", rich_help_panel=_MODEL)
    ] = _DEFAULT.max_input_tokens,
    max_output_tokens: Annotated[
        int, typer.Option(help="Of an answer.", rich_help_panel=_MODEL)
    ] = _DEFAULT.max_output_tokens,
    prices_file: Annotated[
        Path | None,
        typer.Option(help="YAML: model name to dollars a million tokens.", rich_help_panel=_MODEL),
    ] = None,
    timeout_seconds: Annotated[
        float, typer.Option(help="Longest decision.", rich_help_panel=_SERVICE)
    ] = _DEFAULT.timeout_seconds,
    concurrency: Annotated[
        int, typer.Option(help="Decisions in flight at once.", rich_help_panel=_SERVICE)
    ] = _DEFAULT.concurrency,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="Bearer tokens that callers need, one a line; read again for each request.",
            rich_help_panel=_SERVICE,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on.", rich_help_panel=_SERVICE)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port; 0 takes a free one.", rich_help_panel=_SERVICE)
    ] = 8080,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM certificate of the service.", rich_help_panel=_SERVICE)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="PEM key of the service.", rich_help_panel=_SERVICE)
    ] = None,
) -> None:
    """Run the agent service: POST /v1/proposals, POST /v1/verdicts, /healthz, /readyz, /metrics."""
    if context.invoked_subcommand is not None:
        return
    try:
        settings = AgentSettings.model_validate(
            {
                "provider": provider,
                "base_url": base_url,
                "model": model,
                "key_file": key_file,
                "ca_file": ca_file,
                "vision": vision,
                "output_mode": output_mode,
                "temperature": temperature,
                "max_input_tokens": max_input_tokens,
                "max_output_tokens": max_output_tokens,
                "timeout_seconds": timeout_seconds,
                "concurrency": concurrency,
                "token_file": token_file,
                "prices_file": prices_file,
            }
        )
        if settings.provider != "rules" and not settings.model:
            fail(f"--model: needed for --provider {settings.provider}")
        service = create_app(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else "options"
        fail(f"{name}: {first['msg']}, found {first['input']!r}")
    except PricesError as error:
        fail(f"--prices-file: {error}")
    except OSError as error:
        fail(f"--ca-file: {error}")
    check_address(port, tls_cert, tls_key)
    if token_file is None and not _loopback(host):
        errors.print(f"warning: without --token-file anyone who reaches {host} may ask")
    for warning in secrets_missing(settings):
        errors.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    uvicorn.run(
        service,
        host=host,
        port=port,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=settings.concurrency + settings.queue + 64,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )


@app.command()
def render(
    request: Annotated[Path, typer.Argument(help="A proposal or verdict request as JSON.")],
    picture: Annotated[
        Path | None, typer.Option(help="Write the plot that goes with it to this PNG file.")
    ] = None,
    vision: Annotated[bool, typer.Option(help="As a model that sees would get it.")] = True,
    max_input_tokens: Annotated[
        int, typer.Option(help="Token budget of the prompt.")
    ] = _DEFAULT.max_input_tokens,
) -> None:
    """Show exactly what a model would be sent for REQUEST."""
    question = _question(request)
    try:
        if isinstance(question, VerdictRequest):
            prompt = verdict_prompt(question, max_input_tokens, vision)
        else:
            prompt = (
                steer_prompt(question, max_input_tokens // 2)
                if question.mode == "steer"
                else proposal_prompt(question, max_input_tokens, vision)
            )
    except PromptTooLong as error:
        fail(f"{request}: does not fit: {error}; such a question is answered by the rules")
    _show(prompt)
    if picture is not None:
        drawn = (
            verdict_picture(question)
            if isinstance(question, VerdictRequest)
            else proposal_picture(question)
        )
        try:
            picture.write_bytes(drawn)
        except OSError as error:
            fail(f"{picture}: {error.strerror}", Exit.MACHINE)


def _question(file: Path) -> ProposalRequest | VerdictRequest:
    try:
        document = loads(file.read_bytes())
        kind = VerdictRequest if isinstance(document, dict) and "bestCurve" in document else None
        return (kind or ProposalRequest).model_validate(document)
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        fail(f"{file}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}")
    except ValueError as error:
        fail(f"{file}: {error}")


def _show(prompt: Prompt) -> None:
    typer.echo(f"# template {prompt.version}, about {prompt.tokens} tokens")
    if prompt.left_out:
        typer.echo(f"# left out for length: {'; '.join(prompt.left_out)}")
    typer.echo(f"\n# system\n{prompt.system}\n\n# user\n{prompt.user}")


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
