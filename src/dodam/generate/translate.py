"""Translating: texts in, texts out, by an encoder-decoder and beam search.

In come a loaded model and texts; out comes what it writes for each, in their order. Summaries and titles are written in
the same way.
"""

import sys
from collections.abc import Sequence

from dodam.data.pairs import framing
from dodam.folder import LoadedModel
from dodam.generate.beam import BeamParams, beam_search
from dodam.models.encoder_decoder import EncoderDecoder


def translate(
    loaded: LoadedModel[EncoderDecoder],
    texts: Sequence[str],
    *,
    beams: int = 4,
    length_penalty: float = 1.0,
    max_tokens: int | None = None,
    max_rows: int = 128,
) -> list[str]:
    """What the model writes for each text; nothing for an empty one. Greedy with one beam.

    A text longer than the model's context is cut, and the number of those is told. `max_tokens`: the longest result,
    twice the longest source and a little more unless given. `max_rows`: texts times beams computed at a time."""
    model, tokenizer = loaded.model, loaded.tokenizer
    frame, context = framing(tokenizer), model.config.context
    ids = tokenizer.encode_batch(texts)
    if num_cut := sum(len(one) + frame.size > context for one in ids):
        print(f"translate: cut to the model's {context} tokens: {num_cut} texts.", file=sys.stderr)
    asked = [index for index, text in enumerate(texts) if text.strip()]
    sources = [frame.cut(ids[index], context) for index in asked]
    stop_ids = {frame.after[-1], *loaded.stop_ids}
    unwritten = {model.config.start_id} | (set() if tokenizer.pad_is_borrowed else {tokenizer.pad})
    longest = max(map(len, sources), default=0)
    params = BeamParams(
        beams=beams,
        length_penalty=length_penalty,
        max_tokens=min(context, max_tokens or 2 * longest + 16),
        never=tuple(unwritten - stop_ids),
    )
    found = beam_search(model, sources, params, stop_ids=stop_ids, max_rows=max_rows)
    written = [""] * len(texts)
    for index, hypotheses in zip(asked, found, strict=True):
        written[index] = tokenizer.decode(hypotheses[0].ids).strip()
    return written
