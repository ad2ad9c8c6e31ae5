"""Where an encoder-decoder looked while it wrote: its cross-attention, word by word, as numbers and as a picture.

In come a loaded model, a source and a target; out come the words of both and how much each target word looked at each
source word (Bahdanau et al. 2015, figure 3, has the first such pictures).

S source tokens, T target tokens, I source words, J target words.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from dodam.data.pairs import framing
from dodam.evaluate.report import ascii_label
from dodam.folder import LoadedModel
from dodam.models.encoder_decoder import EncoderDecoder
from dodam.nn.attention import watched
from dodam.tokenizer.tokenizer import Tokenizer

LAST_LAYERS = 2


class Alignment(NamedTuple):
    """Words of both sides, and how much each target word looked at each source word; rows add up to 1."""

    source: list[str]
    target: list[str]
    weights_JI: Tensor


def align(loaded: LoadedModel[EncoderDecoder], source: str, target: str) -> Alignment:
    """The alignment of a source and a target, whoever wrote that. Texts are cut to the model's context.

    A source word's weight is the sum over its tokens, a target word's the mean over the steps that wrote them."""
    tokenizer, context = loaded.tokenizer, loaded.model.config.context
    frame = framing(tokenizer)
    sides = [frame.cut(tokenizer.encode(text), context) for text in (source, target)]
    weights_TS = cross_attention(loaded.model, *sides)
    source_words, target_words = (words(tokenizer, ids) for ids in sides)
    weights_TI = torch.stack([weights_TS[:, first:last].sum(1) for _, first, last in source_words], dim=1)
    weights_JI = torch.stack([weights_TI[first:last].mean(0) for _, first, last in target_words])
    return Alignment([word for word, _, _ in source_words], [word for word, _, _ in target_words], weights_JI)


@torch.no_grad()
def cross_attention(model: EncoderDecoder, source: Sequence[int], target: Sequence[int]) -> Tensor:
    """[T, S]: how much the step that writes each target token looks at each source token, the mean over the heads of
    the last layers."""
    device = model.embedding.weight.device
    read = [model.config.start_id, *target[:-1]]
    with watched(model) as seen:
        model(torch.tensor([source], device=device), torch.tensor([read], device=device))
    depth = model.config.decoder_depth
    layers = [seen[f"decoder.blocks.{layer}.cross"][0] for layer in range(max(0, depth - LAST_LAYERS), depth)]
    return torch.stack(layers).mean((0, 1, 2)).cpu()


def words(tokenizer: Tokenizer, ids: Sequence[int]) -> list[tuple[str, int, int]]:
    """(word, first, last) of tokens first..last-1. A word begins with its space; signs and special tokens stand by
    themselves."""
    found: list[tuple[str, int, int]] = []
    joined = False  # whether the next token may go on with this word
    for place, token in enumerate(ids):
        text = tokenizer.decode([token])
        begins = (tokenizer.raw.id_to_token(token) or "").startswith(("Ġ", "▁"))
        # Part of a character decodes to U+FFFD: it belongs to a word, as does a space that is a token of its own.
        inside = text.isspace() or any(sign.isalnum() or sign == "\ufffd" for sign in text)
        if found and joined and inside and not begins:
            first = found.pop()[1]
            found.append((tokenizer.decode(ids[first : place + 1]).strip(), first, place + 1))
        else:
            found.append((text.strip() or tokenizer.piece(token), place, place + 1))
        joined = inside
    return found


def draw(loaded: LoadedModel[EncoderDecoder], source: str, target: str, picture: str | Path) -> Alignment:
    """Draw the alignment as a PNG: target words down, source words across, darker where more was looked at."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    alignment = align(loaded, source, target)
    rows, columns = alignment.weights_JI.shape
    figure, axis = pyplot.subplots(figsize=(2 + 0.45 * columns, 1.5 + 0.4 * rows), layout="constrained")
    image = axis.imshow(alignment.weights_JI.numpy(), cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axis.set_xticks(range(columns), labels(alignment.source), rotation=60, ha="left", rotation_mode="anchor")
    axis.set_yticks(range(rows), labels(alignment.target))
    axis.xaxis.tick_top()
    figure.colorbar(image, label="cross-attention")
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)
    return alignment


def labels(names: Sequence[str]) -> list[str]:
    """Words as matplotlib can draw them: `$` begins no formula, and what its font does not have becomes code points."""
    latin = [name if name.isascii() or max(name) < "\u0250" else ascii_label(name) for name in names]
    return [name.replace("$", r"\$") for name in latin]


def table(alignment: Alignment) -> str:
    """For each target word the source word looked at most, as Markdown."""
    lines = ["| written | looked at most | weight |", "|---|---|---|"]
    for word, weights_I in zip(alignment.target, alignment.weights_JI, strict=True):
        best = int(weights_I.argmax())
        cells = (word, alignment.source[best], f"{float(weights_I[best]):.2f}")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)
