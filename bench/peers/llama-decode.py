"""llama.cpp's peer for the bench of decoding: tokens of a GGUF file's model, one after another, the likeliest each time.

Run: python3 llama-decode.py --model FILE --case f32 [--prompt 0,31,62 --length 256 --threads 1]
Answers turns, as turns.py says; the check is the sum of the magnitudes of the scores behind the prompt.
"""
import argparse
import ctypes as c

import ggml
from turns import answer_turns

llama = ggml.load("libllama.v*.so")
p = c.c_void_p
# Larger than what the library has of each, whose defaults nobody changes; a batch is an int and six pointers.
ModelParams, ContextParams, Batch = (type(n, (c.Structure,), {"_fields_": [("bytes", c.c_int64 * k)]}) for n, k in
                                     (("ModelParams", 64), ("ContextParams", 64), ("Batch", 7)))
f = lambda name, result, *arguments: ggml.declare(llama, name, result, *arguments)
model_params = f("llama_model_default_params", ModelParams)
context_params = f("llama_context_default_params", ContextParams)
load_model = f("llama_model_load_from_file", p, c.c_char_p, ModelParams)
new_context = f("llama_init_from_model", p, p, ContextParams)
set_threads = f("llama_set_n_threads", None, p, c.c_int32, c.c_int32)
batch_of = f("llama_batch_get_one", Batch, p, c.c_int32)
decode = f("llama_decode", c.c_int32, p, Batch)
logits = f("llama_get_logits_ith", c.POINTER(c.c_float), p, c.c_int32)
vocabulary = f("llama_model_get_vocab", p, p)
vocabulary_size = f("llama_vocab_n_tokens", c.c_int32, p)
greedy = f("llama_sampler_init_greedy", p)
sample = f("llama_sampler_sample", c.c_int32, p, p, c.c_int32)
memory = f("llama_get_memory", p, p)
clear = f("llama_memory_clear", None, p, c.c_bool)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--prompt", default="0,31,62")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    f("llama_backend_init", None)()
    model = load_model(a.model.encode(), model_params())
    context = new_context(model, context_params()) if model else None
    if not context:
        raise SystemExit("Error: llama.cpp does not take the model")
    set_threads(context, a.threads, a.threads)
    count = vocabulary_size(vocabulary(model))
    sampler = greedy()

    def step(tokens):
        array = (c.c_int32 * len(tokens))(*tokens)
        if decode(context, batch_of(array, len(tokens))) != 0:
            raise SystemExit("Error: llama.cpp does not decode")
        return sample(sampler, context, -1)

    prompt = list(map(int, a.prompt.split(",")))
    token, length = None, a.length

    def run():
        """A token, behind the prompt again where there is no more room."""
        nonlocal token, length
        if length == a.length:
            clear(memory(context), True)
            token, length = step(prompt), len(prompt)
        token, length = step([token]), length + 1

    def prepare(case):
        if case != a.case:
            return None
        clear(memory(context), True)
        step(prompt)
        return run, sum(abs(logits(context, -1)[i]) for i in range(count))

    answer_turns("llama.cpp", ggml.version, prepare)


main()
