"""A GGUF file beside the model it was made of: ids of prompts and greedy text, llama.cpp's and ours, both in fp32.

    python bench/greedy.py MODEL FILE.gguf [TEXT...]

FILE.gguf is what `dodam export MODEL --to gguf` wrote. Needs llama-cpp-python (`make interop` builds it). Prints, for
each text, whether its ids are the same and how many of 64 greedy tokens are, and a line for all.
"""

import sys
from itertools import islice, takewhile
from pathlib import Path

import llama_cpp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam.folder import load
from dodam.generate.engine import generate
from dodam.generate.sampling import SamplingParams

TOKENS = 64
TEXTS = (
    "안녕하세요",
    "오늘은 날씨가",
    "Once upon a time",
    "The capital of",
    "다음 문장을 영어로 옮겨 주세요.",
    "🙂 12 + 30 =",
)
F32 = 0  # GGML_TYPE_F32: keys and values would be F16 otherwise


def main(model: str, file: str, *texts: str) -> None:
    """One line a text."""
    ours = load(model, ("decoder",))
    theirs = llama_cpp.Llama(file, n_ctx=ours.model.config.context, n_threads=1, type_k=F32, type_v=F32, verbose=False)
    same_ids = same_texts = 0
    for text in texts or TEXTS:
        prompt = [ours.tokenizer.bos, *ours.tokenizer.encode(text)]
        ids = theirs.tokenize(text.encode(), add_bos=True, special=False) == prompt
        params = SamplingParams(max_tokens=TOKENS, temperature=0.0)
        written = generate(ours.model, [prompt], params, stop_ids=())[0].ids
        theirs.reset()
        got = list(islice(theirs.generate(prompt, temp=0.0, repeat_penalty=1.0), TOKENS))
        equal = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(written, got, strict=True))))
        same_ids, same_texts = same_ids + ids, same_texts + (equal == TOKENS)
        told = f"ids {'equal' if ids else 'DIFFER'}, {equal} of {TOKENS} tokens equal"
        print(f"{text!r}: {told}: {ours.tokenizer.decode(written)!r}")
    print(f"of {len(texts or TEXTS)} texts: {same_ids} with equal ids, {same_texts} with {TOKENS} equal tokens")


if __name__ == "__main__":
    main(*sys.argv[1:])
