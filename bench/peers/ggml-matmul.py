"""llama.cpp's peer for the bench of quantised products: x [batch, k] f32 by weights [n, k] in blocks, as the CPU backend of ggml
multiplies them, its weights as they are and repacked; the better of the two.

Run: python3 ggml-matmul.py --folder DIR --cases q4_0-4096x4096-b1,... --copies 12,... [--threads 1 --seconds 2]
A case is TYPE-NxK-bBATCH; DIR holds the bytes of the weights as TYPE-NxK.bin, and x as x-K-bBATCH.bin. Each call multiplies by so many
copies of the weights, that they are not in caches. Prints one JSON line a case, in GFLOP/s; `check` is the sum of magnitudes of one result.
"""
import argparse
import ctypes as c
import json
import os
import statistics

import ggml
from torch_times import times_of


def fill(tensor, data):
    if len(data) != ggml.nbytes(tensor):
        raise SystemExit(f"Error: {len(data)} bytes for a tensor of {ggml.nbytes(tensor)}")
    ggml.tensor_set(tensor, data, 0, len(data))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--cases", required=True)
    parser.add_argument("--copies", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2)
    a = parser.parse_args()
    read = lambda name: open(os.path.join(a.folder, name + ".bin"), "rb").read()
    backend = ggml.backend(a.threads)
    for case, copies in zip(a.cases.split(","), map(int, a.copies.split(","))):
        dtype, sizes, batch = case.split("-")
        n, k = map(int, sizes.split("x"))
        batch = int(batch[1:])
        data = read(f"{dtype}-{sizes}")
        best = None
        for buffer_type in [None, *ggml.extra_buffer_types()]:
            weights, work = ggml.context(copies + 8), ggml.context(4 * copies + 4096)
            ws = [ggml.tensor_2d(weights, ggml.types[dtype], k, n) for _ in range(copies)]
            held = ggml.allocate_from(weights, buffer_type) if buffer_type else ggml.allocate(weights, backend)
            x = ggml.tensor_2d(work, ggml.types["f32"], k, batch)
            ys = [ggml.mul_mat(work, w, x) for w in ws]
            if held and ggml.supports(ggml.cpu, ys[0]):
                graph = ggml.new_graph(work)
                for y in ys:
                    ggml.expand(graph, y)
                made = ggml.allocate(work, backend)
                for w in ws:
                    fill(w, data)
                fill(x, read(f"x-{k}-b{batch}"))
                times = times_of(lambda: ggml.compute(backend, graph), a.seconds, at_least=3)
                out = (c.c_float * (n * batch))()
                ggml.tensor_get(ys[-1], out, 0, 4 * n * batch)
                taken = statistics.median(times) / copies
                if best is None or taken < best[0]:
                    name = ggml.buffer_type_name(buffer_type).decode() if buffer_type else "CPU"
                    best = (taken, sum(map(abs, out)), name)
                ggml.free_buffer(made)
            if held:
                ggml.free_buffer(held)
            ggml.free_context(weights)
            ggml.free_context(work)
        taken, check, name = best
        print(json.dumps(dict(
            name="llama.cpp", version=ggml.version, case=case, threads=a.threads, check=check, layout=name,
            value=2 * n * k * batch / taken / 1e9, unit="GFLOP/s",
        )), flush=True)


main()
