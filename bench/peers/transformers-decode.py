"""transformers' peer for the bench of decoding, on PyTorch: tokens of a random LLaMA, f32, one after another, the likeliest each time.

Run: python3 transformers-decode.py --config FILE [--case f32 --prompt 0,31,62 --length 256 --threads 1]
The file is a config.json. Answers turns, as turns.py says.
"""
import argparse
import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from turns import answer_turns


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--config", required=True)
    p.add_argument("--case", default="f32")
    p.add_argument("--prompt", default="0,31,62")
    p.add_argument("--length", type=int, default=256)
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**json.load(open(a.config)))
    model = transformers.LlamaForCausalLM(config).float().eval()
    prompt = torch.tensor([list(map(int, a.prompt.split(",")))])
    out, length = None, a.length

    def run():
        """A token, behind the prompt again where there is no more room."""
        nonlocal out, length
        with torch.inference_mode():
            if length == a.length:
                out, length = model(prompt, use_cache=True), prompt.shape[1]
            token = out.logits[:, -1:].argmax(-1)
            out, length = model(token, past_key_values=out.past_key_values, use_cache=True), length + 1

    version = f"{transformers.__version__} on torch {torch.__version__}"
    answer_turns("transformers", version, lambda case: (run, 0) if case == a.case else None)


main()
