"""The real helm 4, built from the Go module proxy once (4 minutes of CPU) and cached."""

from pathlib import Path

from tests.tools.go_build import go_program


def helm() -> Path:
    """The binary, built where it is not there. Raises RuntimeError where that cannot be."""
    return go_program("helm", Path(__file__).parent / "helm", "helm.sh/helm/v4/cmd/helm")
