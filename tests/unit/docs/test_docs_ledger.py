"""Every command on the pages is run by a test, or said here not to be, with the reason."""

import re
from pathlib import Path

import pytest
from test_docs_commands import COMMANDS

ROOT = Path(__file__).parents[3]
RUN_BY = {
    r"llmzero (validate|run) (search|sums)\.yaml$": "tests/integration/test_docs.py",
    r"llmzero (tree|show|strategy|report|analyze|agent-report|retrain) ": "tests/integration/test_docs.py",
    r"llmzero (approve|reject) ": "tests/unit/local/test_approvals.py",
    r"llmzero agent$": "tests/unit/agent/test_agent_cli.py",
    r"llmzero run search\.yaml --agent(-endpoints| http)": "tests/integration/test_agent_search.py",
    r"llmzero run search\.yaml --agent rules": "tests/unit/cli/test_agent_heard.py",
    r"llmzero operator ": "tests/e2e/test_operator_e2e.py",
    r"kubectl apply (-n research )?-f examples/quickstart": "tests/e2e/test_operator_e2e.py",
    r"kubectl (get sn|wait .*(ts|trainingsearch)/quickstart)": "tests/e2e/test_operator_e2e.py",
    r"kubectl llmzero ": "tests/integration/test_kubectl.py",
    r"kubectl apply --server-side": "tests/cluster_fixtures.py",
    r"helm (install|uninstall|upgrade) llmzero(?!.*podMonitor)": "tests/e2e/test_helm_e2e.py",
    r"kubectl .*(NAMESPACE)": "tests/e2e/test_chart_watched_e2e.py",
    r"make cluster(-down)?$": "tests/integration/test_cluster.py",
    r"make test$": ".ci/run",
    r"make demo$": "tests/integration/test_local_search.py",
    r"make tables$": "tests/unit/bench/test_bench_tables.py",
    r"make bench$|llmzero bench --seeds": "tests/unit/bench/test_bench_simulated.py",
    r"make bench-simulator$": "tests/unit/bench/test_bench_simulator_fit.py",
    r"python -m llmzero_trainer make-model": "tests/integration/trainer/test_tiny.py",
}
"""The test does what the command does, often with other names and sizes."""
NOT_RUN = {
    r"llmzero agent --provider": "needs somebody else's model; the wire is tested against a server of ours",
    r"python -m tests\.bench\.bench_agent": "needs a model",
    r"make bench-full$": "takes hours; tests/integration/test_bench_trained.py runs two short searches",
    r"python tests/bench/bench_schedules\.py": "takes hours",
    r"helm upgrade llmzero .*podMonitor": "needs the Prometheus operator; tests/unit/chart renders it",
    r"make images$": "takes a quarter of an hour of downloads and 12 GB",
}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_is_run_by_a_test_or_said_not_to_be(page: str, command: str) -> None:
    found = [k for k in (*RUN_BY, *NOT_RUN) if re.match(k, command)]
    assert len(found) == 1, f"{page}: {command}: {found}"


def test_the_ledger_names_tests_that_there_are_and_no_command_that_is_gone() -> None:
    for pattern in (*RUN_BY, *NOT_RUN):
        assert any(re.match(pattern, command) for _, command in COMMANDS), pattern
    for file in RUN_BY.values():
        assert (ROOT / file).exists(), file
