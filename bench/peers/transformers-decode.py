"""transformers' peer for the bench of decoding, on PyTorch: tokens of a random LLaMA, f32, one after another, the likeliest each time.

Run: python3 transformers-decode.py --config FILE [--case f32 --prompt 0,31,62 --length 256 --threads 1 --seconds 2]
The file is a config.json. Prints one JSON line, in tokens/s.
"""
import argparse
import json
import os
import statistics
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--config", required=True)
    p.add_argument("--case", default="f32")
    p.add_argument("--prompt", default="0,31,62")
    p.add_argument("--length", type=int, default=256)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seconds", type=float, default=2)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**json.load(open(a.config)))
    model = transformers.LlamaForCausalLM(config).float().eval()
    prompt = torch.tensor([list(map(int, a.prompt.split(",")))])
    times, end = [], time.perf_counter() + a.seconds
    with torch.inference_mode():
        while len(times) < 16 or time.perf_counter() < end:
            out = model(prompt, use_cache=True)
            for _ in range(a.length - prompt.shape[1]):
                t = time.perf_counter()
                token = out.logits[:, -1:].argmax(-1)
                out = model(token, past_key_values=out.past_key_values, use_cache=True)
                times.append(time.perf_counter() - t)
                if len(times) >= 16 and t > end:
                    break
    print(json.dumps(dict(
        name="transformers", version=f"{transformers.__version__} on torch {torch.__version__}", case=a.case,
        threads=a.threads or torch.get_num_threads(), value=1 / statistics.median(times[2:]), unit="tokens/s", runs=len(times),
    )))


main()
