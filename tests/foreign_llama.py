"""llama.cpp's own server on a free port: `python -m tests.foreign_llama MODEL` prints its address, and ends with stdin."""

import sys

import xllamacpp

TOKENS_PER_SLOT, SLOTS = 16384, 2

if __name__ == "__main__":
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.model_alias = {"tiny"}
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * TOKENS_PER_SLOT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics = True
    params.warmup = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
