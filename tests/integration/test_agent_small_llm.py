"""A real small language model gives worthless advice, or none in time; a search survives it."""

import asyncio
from pathlib import Path

import httpx
import pytest

from llmzero.client.judge import clean
from llmzero.local.store import read_run
from tests.integration.small_llm import small_llm
from tests.integration.test_agent_search import answers, free_port, search, service


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_search_survives_a_real_small_model(tmp_path: Path) -> None:
    async with (
        small_llm(free_port()) as model,
        service(
            "--provider", "openai", "--base-url", model, "--model", "smollm2", "--no-vision",
            "--max-input-tokens", "4000", "--max-output-tokens", "300", "--temperature", "0.2",
            "--timeout-seconds", "5",
        ) as (url, _),
        httpx.AsyncClient(timeout=30) as client,
    ):  # fmt: skip
        for _ in range(240):
            ready = (await client.get(f"{url}/readyz")).json()
            if ready["outputMode"] != "unknown":
                break
            await asyncio.sleep(1)
        # The stages together outlast a question: on a fast machine that runs nothing else, shorter
        # ones had spent the budget before the model's time was up.
        stage = {"steps": 40, "promptsPerStep": 4, "evalEvery": 20, "checkpointEvery": 20}
        process, directory = await search(tmp_path, url, stage=stage)
        assert await process.wait() == 0
        metrics = (await client.get(f"{url}/metrics")).text
    run = read_run(directory)
    given = answers(run)
    assert run.search.status.phase == "Complete"
    assert given
    assert "llmzero_agent_decisions_total{answered_by=" in metrics
    for answered in given:
        # Whoever answered, the answer is usable, and where the rules stood in it says why.
        assert answered.answer.proposals
        assert (answered.answered_by == "rules") == bool(
            answered.note.startswith(("openai:", "the model", "endpoint"))
        )
        assert answered.note == clean(answered.note, 512)
    space = {p.name: p for p in run.search.spec.parameters}
    for node in run.nodes.values():
        for name, value in node.spec.parameters.items():
            assert space[name].problem_with(value) is None
    print(ready["outputMode"], [(a.answered_by, a.note) for a in given])
