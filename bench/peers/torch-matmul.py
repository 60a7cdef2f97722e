"""PyTorch peer for the product benchmark: f32 matrices on the CPU.

Run: python3 torch-matmul.py [--shapes 512:512x512x512:nn,head:2048x4096x256:nt --threads 1 --seconds 2]
A shape is NAME:MxNxK:LAYOUT; the layout says for each operand whether it is stored as it is (n) or transposed (t).
Prints one JSON line a shape, in GFLOP/s. Set OPENBLAS_NUM_THREADS beside --threads (see torch-llama-train.py).
"""
import argparse
import json
import statistics

import torch
from torch_times import times_of


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--shapes", default="512:512x512x512:nn")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seconds", type=float, default=2)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    for shape in a.shapes.split(","):
        name, sizes, layout = shape.split(":")
        m, n, k = map(int, sizes.split("x"))
        x = torch.randn(k, m).t() if layout[0] == "t" else torch.randn(m, k)
        y = torch.randn(n, k).t() if layout[1] == "t" else torch.randn(k, n)
        error = ((x @ y)[:64].double() - x[:64].double() @ y.double()).abs().max().item() / k**0.5
        if not error < 1e-4:
            raise SystemExit(f"Error: torch, {name}: wrong product, relative error {error}")
        times = times_of(lambda: x @ y, a.seconds)
        gflops = lambda seconds: 2 * m * n * k / seconds / 1e9
        print(json.dumps(dict(
            name="torch", version=torch.__version__, case=name, threads=a.threads or torch.get_num_threads(),
            value=gflops(statistics.median(times)), best=gflops(min(times)), unit="GFLOP/s", runs=len(times),
        )), flush=True)


main()
