"""PyTorch peer for the training benchmark: one AdamW step of a small LLaMA, f32, on the CPU.

Run: python3 torch-llama-train.py [--dim 256 --layers 6 --heads 8 --vocab 4096 --seq 256 --batch 8 --threads 1 --compile]
Answers lines as turns.mjs says, the cases being those of torch_steps.py.
Debian's build multiplies matrices with OpenBLAS, which has a pool of its own: set OPENBLAS_NUM_THREADS beside --threads.
"""
import argparse
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch_steps import answer_steps


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rope_tables(head_dim, seq, base=10000.0):
    inv = 1.0 / (base ** (torch.arange(0, head_dim, 2).float() / head_dim))
    angle = torch.outer(torch.arange(seq).float(), inv)
    angle = torch.cat([angle, angle], -1)
    return angle.cos(), angle.sin()


def rope(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class Block(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.heads = heads
        self.n1, self.n2 = RMSNorm(dim), RMSNorm(dim)
        lin = lambda i, o: nn.Linear(i, o, bias=False)
        self.q, self.k, self.v, self.o = lin(dim, dim), lin(dim, dim), lin(dim, dim), lin(dim, dim)
        self.gate, self.up, self.down = lin(dim, hidden), lin(dim, hidden), lin(hidden, dim)

    def forward(self, x, cos, sin, mask):
        B, T, D = x.shape
        h = self.n1(x)
        split = lambda t: t.view(B, T, self.heads, D // self.heads).transpose(1, 2)
        q, k, v = rope(split(self.q(h)), cos, sin), rope(split(self.k(h)), cos, sin), split(self.v(h))
        if hasattr(F, "scaled_dot_product_attention"):
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            s = q @ k.transpose(-1, -2) / math.sqrt(D // self.heads)
            a = s.masked_fill(mask, float("-inf")).softmax(-1) @ v
        x = x + self.o(a.transpose(1, 2).reshape(B, T, D))
        h = self.n2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, vocab, dim, layers, heads, seq):
        super().__init__()
        hidden = (8 * dim // 3 + 31) // 32 * 32
        self.embed = nn.Embedding(vocab, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden) for _ in range(layers))
        self.norm, self.head = RMSNorm(dim), nn.Linear(dim, vocab, bias=False)
        cos, sin = rope_tables(dim // heads, seq)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        self.register_buffer("mask", torch.triu(torch.ones(seq, seq, dtype=torch.bool), 1))

    def forward(self, ids):
        x = self.embed(ids)
        for b in self.blocks:
            x = b(x, self.cos, self.sin, self.mask)
        return self.head(self.norm(x))


def main():
    p = argparse.ArgumentParser()
    for name, value in dict(dim=256, layers=6, heads=8, vocab=4096, seq=256, batch=8).items():
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--compile", action="store_true", help="through torch.compile; has no case where there is none")
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)

    def training():
        torch.manual_seed(0)
        model = Llama(a.vocab, a.dim, a.layers, a.heads, a.seq)
        fused = a.compile and torch.__version__ >= "2.4"  # the optimizer as one kernel too, where the CPU has it
        opt = torch.optim.AdamW(model.parameters(), lr=3e-4, **(dict(fused=True) if fused else {}))
        loss_of = lambda inputs, targets: F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        call = torch.compile(loss_of) if a.compile else loss_of
        ids = torch.randint(0, a.vocab, (a.batch, a.seq + 1))

        def step():
            loss = call(ids[:, :-1], ids[:, 1:])
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            return loss.item()

        return step

    answer_steps("torch-compile" if a.compile else "torch", training if not a.compile or hasattr(torch, "compile") else None)


main()
