"""PyTorch peer, eager, for the operations and layers of ops.json: forward (`NAME`) and with the gradient of half the sum of squares
by every float input (`NAME/grad`).

Run: python3 torch-ops.py [--threads 1]
Asked for a case at a time, as turns.mjs says; `check` is the sum of the magnitudes of what was computed.
"""
import argparse
import json
import math
import os

import torch
import torch.nn.functional as F
from turns import answer_turns

here = os.path.dirname(os.path.abspath(__file__))


def attention(q, k, v):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v)
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def rms_norm(x, w):
    if hasattr(F, "rms_norm"):
        return F.rms_norm(x, w.shape, w, 1e-5)
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * w


operations = {
    "add": torch.add,
    "mul": torch.mul,
    "maximum": torch.maximum,
    "where": lambda x, y, z: torch.where(x > 0, y, z),
    "exp": torch.exp,
    "sin": torch.sin,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "square": torch.square,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "pow": torch.pow,
    "bias": torch.add,
    "scale-rows": torch.mul,
    "sum": torch.sum,
    "sum-rows": lambda x: x.sum(1),
    "sum-columns": lambda x: x.sum(0),
    "mean-rows": lambda x: x.mean(1),
    "max-rows": lambda x: x.amax(1),
    "variance-rows": lambda x: x.var(1, unbiased=False),
    "argmax-rows": lambda x: x.argmax(1),
    # A view costs nothing until somebody reads it; our results are arrays, so these are written out.
    "transpose": lambda x: x.t().contiguous(),
    "heads": lambda x: x.transpose(1, 2).contiguous(),
    "concat": lambda x, y: torch.cat([x, y], 1),
    "slice": lambda x: x[:, 256:768].contiguous(),
    "pad": lambda x: F.pad(x, (1, 1, 1, 1)),
    "cumsum": lambda x: x.cumsum(1),
    "sort": lambda x: x.sort(1)[0],
    "embedding": lambda weight, ids: F.embedding(ids, weight),
    "softmax": lambda x: x.softmax(-1),
    "log-softmax": lambda x: x.log_softmax(-1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "cross-entropy": F.cross_entropy,
    "layer-norm": lambda x, w, b: F.layer_norm(x, w.shape, w, b),
    "rms-norm": rms_norm,
    "mse": F.mse_loss,
    "matmul": torch.matmul,
    "matmul-transposed": F.linear,
    "matmul-batched": torch.matmul,
    "matvec": torch.matmul,
    "linear-relu": lambda x, w, b: F.relu(torch.addmm(b, x, w)),
    "mlp": lambda x, w, b, v, c: torch.addmm(c, F.gelu(torch.addmm(b, x, w)), v),
    "swiglu": lambda x, gate, up, down: (F.silu(x @ gate) * (x @ up)) @ down,
    "attention": attention,
    "conv": lambda x, w: F.conv2d(x, w, padding=1),
    "conv-strided": lambda x, w: F.conv2d(x, w, stride=2, padding=1),
    "max-pool": lambda x: F.max_pool2d(x, 2),
    "average-pool": lambda x: F.avg_pool2d(x, 2),
    "batch-norm": lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
}


def numbers(seed, dims, positive):
    """Those of ops.mjs: a multiplicative hash of the index, between -2 and 2, or above 0."""
    n = math.prod(dims)
    x = ((torch.arange(n, dtype=torch.int64) + seed * 7919) * 0x9E3779B1 & 0xFFFFFFFF).double() / 2**32 * 4 - 2
    return ((x.abs() + 0.1) if positive else x).float().reshape(dims)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    cases = json.load(open(os.path.join(here, "ops.json")))

    def prepare(of):
        name, *gradient = of.split("/")
        case, f = cases[name], operations[name]
        floats = [numbers(i + 1, dims, case.get("positive", False)) for i, dims in enumerate(case["inputs"])]
        whole = []
        if "ids" in case:
            count = math.prod(case["ids"])
            whole = [(torch.arange(count) * 7919 % case["below"]).reshape(case["ids"])]
        leaves = [x.clone().requires_grad_() for x in floats]

        def forward():
            with torch.no_grad():
                return [f(*floats, *whole)]

        def backward():
            loss = torch.square(f(*leaves, *whole)).sum() * 0.5
            return [g for g in torch.autograd.grad(loss, leaves, allow_unused=True) if g is not None]

        run = backward if gradient else forward
        return run, sum(r.double().abs().sum().item() for r in run())

    answer_turns("torch", torch.__version__, prepare)


main()
