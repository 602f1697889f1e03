"""llama.cpp's own HTTP server in this process, for small_llm.py: WEIGHTS PORT CONTEXT."""

import signal
import sys

import xllamacpp


def serve(weights: str, port: int, context: int) -> None:
    """Until a signal. One thread: llama.cpp's threads spin, and starve on a busy machine."""
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = context
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
