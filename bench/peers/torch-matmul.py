"""PyTorch peer for the product benchmark: f32 square matrices on the CPU.

Run: python3 torch-matmul.py [--size 512,1024 --threads 1 --seconds 2]
Prints one JSON line a size, in GFLOP/s. Set OPENBLAS_NUM_THREADS beside --threads (see torch-llama-train.py).
"""
import argparse
import json
import statistics
import time

import torch


def times_of(f, seconds):
    for _ in range(2):
        f()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
        t = time.perf_counter()
        f()
        times.append(time.perf_counter() - t)
    return times


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--size", default="512,1024")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seconds", type=float, default=2)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    for n in map(int, a.size.split(",")):
        x, y = torch.randn(n, n), torch.randn(n, n)
        error = ((x @ y).double() - x.double() @ y.double()).abs().max().item() / n**0.5
        if not error < 1e-4:
            raise SystemExit(f"torch size {n}: wrong product, relative error {error}")
        times = times_of(lambda: x @ y, a.seconds)
        gflops = lambda seconds: 2 * n**3 / seconds / 1e9
        print(json.dumps(dict(
            name="torch", version=torch.__version__, case=str(n), threads=a.threads or torch.get_num_threads(),
            value=gflops(statistics.median(times)), best=gflops(min(times)), unit="GFLOP/s", runs=len(times),
        )))


main()
