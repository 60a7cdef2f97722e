"""llama.cpp's peer for the bench of quantised products: x [batch, k] f32 by weights [n, k] in blocks, as the CPU backend of ggml
multiplies them, its weights as they are or, with --repacked, in the layout that it has for them.

Run: python3 ggml-matmul.py --folder DIR --copies q4_0-4096x4096-b1:12,... [--threads 1 --repacked]
A case is TYPE-NxK-bBATCH; DIR holds the bytes of the weights as TYPE-NxK.bin, and x as x-K-bBATCH.bin. Each call multiplies by so many
copies of the weights, that they are not in caches. Answers turns, as turns.py says; the check is the sum of magnitudes of one result.
"""
import argparse
import ctypes as c
import os

import ggml
from turns import answer_turns


def fill(tensor, data):
    if len(data) != ggml.nbytes(tensor):
        raise SystemExit(f"Error: {len(data)} bytes for a tensor of {ggml.nbytes(tensor)}")
    ggml.tensor_set(tensor, data, 0, len(data))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--copies", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repacked", action="store_true")
    a = parser.parse_args()
    read = lambda name: open(os.path.join(a.folder, name + ".bin"), "rb").read()
    backend = ggml.backend(a.threads)
    copies_of = {case: int(copies) for case, copies in (text.split(":") for text in a.copies.split(","))}
    held = []

    def release():
        while held:
            free, what = held.pop()
            free(what)

    def prepare(case, buffer_type):
        dtype, sizes, batch = case.split("-")
        n, k = map(int, sizes.split("x"))
        batch, copies = int(batch[1:]), copies_of[case]
        weights, work = ggml.context(copies + 8), ggml.context(4 * copies + 4096)
        held.extend([(ggml.free_context, weights), (ggml.free_context, work)])
        ws = [ggml.tensor_2d(weights, ggml.types[dtype], k, n) for _ in range(copies)]
        buffer = ggml.allocate_from(weights, buffer_type) if buffer_type else ggml.allocate(weights, backend)
        if not buffer:
            return None
        held.append((ggml.free_buffer, buffer))
        x = ggml.tensor_2d(work, ggml.types["f32"], k, batch)
        ys = [ggml.mul_mat(work, w, x) for w in ws]
        if not ggml.supports(ggml.cpu, ys[0]):
            return None
        graph = ggml.new_graph(work)
        for y in ys:
            ggml.expand(graph, y)
        held.append((ggml.free_buffer, ggml.allocate(work, backend)))
        data = read(f"{dtype}-{sizes}")
        for w in ws:
            fill(w, data)
        fill(x, read(f"x-{k}-b{batch}"))
        run = lambda: ggml.compute(backend, graph)
        run()
        out = (c.c_float * (n * batch))()
        ggml.tensor_get(ys[-1], out, 0, 4 * n * batch)
        return run, sum(map(abs, out))

    def first(case):
        """The first of the layouts that takes the case."""
        for buffer_type in ggml.extra_buffer_types() if a.repacked else [None]:
            release()
            prepared = prepare(case, buffer_type)
            if prepared:
                return prepared
        release()
        return None

    answer_turns("llama.cpp", ggml.version, first)


main()
