"""PyTorch peer for the product benchmark: matrices on the CPU.

Run: python3 torch-matmul.py [--shapes 512:512x512x512:nn:f32,head:2048x4096x256:nt:bf16 --threads 1]
A shape is NAME:MxNxK:LAYOUT:DTYPE; the layout says for each operand whether it is stored as it is (n) or transposed (t).
Answers lines as turns.mjs says, a case being a shape's name. Set OPENBLAS_NUM_THREADS beside --threads (see torch-llama-train.py).
"""
import argparse

import torch
from turns import answer_turns

dtypes = dict(f32=(torch.float32, 1e-4), bf16=(torch.bfloat16, 2e-2))


def bytes_of(*shape):
    return torch.randint(-127, 128, shape, dtype=torch.int8)


def product_of_bytes(name, m, n, k, layout):
    """Integers of 8 bits, with sums of 32, of which older versions have no product."""
    if not hasattr(torch, "_int_mm"):
        return None
    x = bytes_of(k, m).t() if layout[0] == "t" else bytes_of(m, k)
    y = bytes_of(n, k).t() if layout[1] == "t" else bytes_of(k, n)
    if not torch.equal(torch._int_mm(x, y)[:64].double(), x[:64].double() @ y.double()):
        raise ValueError(f"{name}: wrong product")
    return lambda: torch._int_mm(x, y), 0


def product(text):
    name, sizes, layout, kind = text.split(":")
    m, n, k = map(int, sizes.split("x"))
    if kind == "i8":
        return product_of_bytes(name, m, n, k, layout)
    dtype, tolerance = dtypes[kind]
    x = (torch.randn(k, m).to(dtype).t() if layout[0] == "t" else torch.randn(m, k).to(dtype))
    y = (torch.randn(n, k).to(dtype).t() if layout[1] == "t" else torch.randn(k, n).to(dtype))
    error = ((x @ y)[:64].double() - x[:64].double() @ y.double()).abs().max().item() / k**0.5
    if not error < tolerance:
        raise ValueError(f"{name}: wrong product, relative error {error}")
    return lambda: x @ y, error


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--shapes", default="512:512x512x512:nn:f32")
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    shapes = {text.split(":")[0]: text for text in a.shapes.split(",")}
    answer_turns("torch", torch.__version__, lambda of: product(shapes[of]) if of in shapes else None)


main()
