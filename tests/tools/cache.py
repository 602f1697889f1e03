"""Where slow things are kept between test runs."""

import os
from pathlib import Path


def cache() -> Path:
    """LLMZERO_CACHE or ~/.cache/llmzero, as the product has it."""
    return Path(os.environ.get("LLMZERO_CACHE") or Path.home() / ".cache" / "llmzero")
