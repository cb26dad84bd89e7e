"""Texts of an encoder with a decoder beside `transformers`, in alternating rounds.

    bench/encoder_decoder.py FEEDFORWARD [--threads N] [--rounds N]

A T5 of t5-small's sizes with random weights writes 128 tokens behind 100, greedily and with four beams. Prints the best
seconds of each and the ratio; both must write the same tokens. Needs torch and transformers.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import transformers

TEXT = (
    "the cat sees a dog all day and the bird sings where is the small red house it stands behind the hill never has "
    "anyone seen so many finches in one cafe"
)
TOKENIZER = Path(__file__).parent.parent / "crates/testkit/fixtures/language/t5_text"


def model(folder):
    torch.manual_seed(0)
    made = transformers.T5ForConditionalGeneration(transformers.T5Config(decoder_start_token_id=0))
    with torch.no_grad():
        made.shared.weight[1] = 0  # never ends
    made.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / file, folder)
    return made.eval()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("feedforward")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=3)
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        peer = model(folder)
        ids = transformers.AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")
        for beams in (1, 4):
            best = [float("inf")] * 2
            for _ in range(options.rounds):
                line = [options.feedforward, "generate", folder, "--prompt", TEXT, "--max-tokens", "128", "--json"]
                line += ["--beams", str(beams), "--threads", str(options.threads)]
                ours = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)["generated"][0]
                start = time.perf_counter()
                with torch.no_grad():
                    theirs = peer.generate(**ids, max_new_tokens=128, num_beams=beams, do_sample=False)[0, 1:]
                best = [min(best[0], ours["seconds"]), min(best[1], time.perf_counter() - start)]
                assert ours["tokens"] == theirs.tolist(), "other tokens"
            print(f"{beams} beams: {best[0]:.3f} s, transformers {best[1]:.3f} s, ratio {best[1] / best[0]:.2f}")


if __name__ == "__main__":
    main()
