"""Words filled in: an encoder on masked words of held-back Korean sentences, beside trigrams of the same tokens.

    python bench/fill_mask.py MODEL --train PATH... --held-back PATH... [--words 2000] [--out FILE.md]

A PATH is a data folder (its training part, its held-back part) or text files as `dodam prepare` reads them. In each
sentence drawn one word is hidden behind as many masks as it has tokens; all who fill in know how many, and that it is
one word. Masks are filled from left to right by beam search, and a word is right when all of it is. Prints a JSON line
for each model and number of tokens: top-1 and top-5 with Wilson's intervals. Examples are the first ones in the order
drawn.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xxhash

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from trigram import Trigram  # beside this file

from dodam import files
from dodam import machine as machines
from dodam.data.documents import read_documents
from dodam.data.skipped import Skipped
from dodam.data.sources import documents, inputs_of
from dodam.errors import DataError, DodamError, FolderError
from dodam.evaluate.score import wilson
from dodam.folder import LoadedModel, load
from dodam.models.encoder import Encoder
from dodam.nn.mask import padding_mask
from dodam.tokenizer.tokenizer import Tokenizer

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\s*\n\s*")
WORD = re.compile(r"(?<=\s)[가-힣]+(?=[\s.,!?…]|$)")
EOJEOLS = range(4, 41)  # of a sentence
BEAMS = 10
AT_ONCE = 64
EXAMPLES = 10  # right ones, and as many wrong ones


class Gap(NamedTuple):
    """A sentence cut at the word that is hidden: what is before it, the word, what is behind; and the ids of the three.
    The space before the word is told by the word's ids."""

    before: str
    word: str
    after: str
    before_ids: list[int]
    word_ids: list[int]
    after_ids: list[int]


class Guess(NamedTuple):
    """What fills a gap in, as text, and its log-probability."""

    text: str
    score: float


class Choices(NamedTuple):
    """The tokens a word may begin with, which begin with a space, and those it may go on with, which hold none."""

    first: np.ndarray
    others: np.ndarray

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Choices":
        pieces = {int(token): tokenizer.piece(int(token)) for token in np.flatnonzero(tokenizer.byte_lengths())}
        first = [token for token, piece in pieces.items() if piece[0] == " " and not re.search(r"\s", piece[1:])]
        others = [token for token, piece in pieces.items() if not re.search(r"\s", piece)]
        return cls(np.array(first), np.array(others))

    def at(self, step: int) -> np.ndarray:
        return self.others if step else self.first


def sentences(texts: Iterable[str]) -> Iterator[str]:
    """The sentences of texts, their white space made single spaces."""
    for text in texts:
        yield from (" ".join(part.split()) for part in SENTENCE_END.split(text) if part.strip())


def texts_of(paths: Sequence[str], held_back: bool, columns: dict[str, str]) -> Iterator[str]:
    """The documents of data folders and text files."""
    for path in paths:
        if (Path(path) / "manifest.json").is_file():
            yield from (row["text"] for row in read_documents(path, "validation" if held_back else "train"))
        else:
            found = documents(inputs_of([path]), columns=columns, encoding="utf-8", skipped=Skipped(False))
            yield from (document.text for document in found)


def rank(text: str) -> int:
    """A text's place in an order that a hash draws."""
    return xxhash.xxh3_64_intdigest(f"mask\x1e{text}".encode("utf-8", "surrogatepass"))


def gaps(asked: Iterable[str], tokenizer: Tokenizer, num: int, longest: int, context: int) -> Iterator[Gap]:
    """Up to `num` sentences in the order their hash draws, each with one of its words hidden: one of Hangul alone,
    of at most `longest` tokens, not the sentence's first. The parts must have the tokens that the whole has."""
    count = 0
    for sentence in sorted(set(asked), key=rank):
        found = [match.span() for match in WORD.finditer(sentence)]
        if len(sentence.split()) not in EOJEOLS or not found:
            continue
        first, last = found[rank(f"word\x1e{sentence}") % len(found)]
        parts = sentence[: first - 1], sentence[first - 1 : last], sentence[last:]
        ids = [tokenizer.encode(part) for part in parts]
        whole = tokenizer.encode(sentence)
        if [*ids[0], *ids[1], *ids[2]] != whole or len(ids[1]) > longest or len(whole) + 2 > context:
            continue
        yield Gap(parts[0] + " ", parts[1].strip(), parts[2], *ids)
        count += 1
        if count == num:
            return


@torch.inference_mode()
def log_probabilities(loaded: LoadedModel[Encoder], rows: Sequence[list[int]], places: Sequence[int]) -> torch.Tensor:
    """Of each row the log-probabilities [V] of the token at its place."""
    model, pad = loaded.model, loaded.tokenizer.pad
    device = model.embedding.weight.device
    lengths = torch.tensor([len(row) for row in rows], device=device)
    longest = int(lengths.max())
    ids_BT = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
    hidden_BTD = model(ids_BT, mask=padding_mask(torch.arange(longest, device=device) < lengths[:, None]))
    return model.head(hidden_BTD[torch.arange(len(rows)), list(places)]).float().log_softmax(-1).cpu()


def by_encoder(loaded: LoadedModel[Encoder], asked: Sequence[Gap], choices: Choices) -> list[list[Guess]]:
    """The likeliest fillings of each gap, the likeliest first."""
    tokenizer = loaded.tokenizer
    mask = tokenizer.token_id(tokenizer.names.mask)
    beams: list[list[tuple[list[int], float]]] = [[([], 0.0)] for _ in asked]
    for step in range(max(len(gap.word_ids) for gap in asked)):
        jobs = [
            (number, tokens, score)
            for number, gap in enumerate(asked)
            if step < len(gap.word_ids)
            for tokens, score in beams[number]
        ]
        jobs.sort(key=lambda job: len(asked[job[0]].before_ids) + len(asked[job[0]].after_ids))
        tokens_V = torch.from_numpy(choices.at(step))
        grown: dict[int, list[tuple[list[int], float]]] = {}
        for first in range(0, len(jobs), AT_ONCE):
            here = jobs[first : first + AT_ONCE]
            rows, places = [], []
            for number, tokens, _ in here:
                gap = asked[number]
                hidden = [mask] * (len(gap.word_ids) - step)
                rows.append([tokenizer.bos, *gap.before_ids, *tokens, *hidden, *gap.after_ids, tokenizer.eos])
                places.append(1 + len(gap.before_ids) + step)
            best = log_probabilities(loaded, rows, places)[:, tokens_V].topk(min(BEAMS, len(tokens_V)))
            for (number, tokens, score), values, picks in zip(here, *map(torch.Tensor.tolist, best), strict=True):
                more = [([*tokens, int(tokens_V[at])], score + value) for value, at in zip(values, picks, strict=True)]
                grown.setdefault(number, []).extend(more)
        for number, found in grown.items():
            beams[number] = sorted(found, key=lambda one: -one[1])[:BEAMS]
    return [[Guess(tokenizer.decode(tokens).strip(), score) for tokens, score in found] for found in beams]


def by_trigram(
    model: Trigram, tokenizer: Tokenizer, asked: Sequence[Gap], choices: Choices, *, both: bool
) -> list[list[Guess]]:
    """The same by a trigram model, with or without the tokens behind the gap."""
    filled = []
    for gap in asked:
        before = [tokenizer.bos, tokenizer.bos, *gap.before_ids]
        after = [*gap.after_ids, tokenizer.eos][:2]
        places = [choices.at(step) for step in range(len(gap.word_ids))]
        found = model.fill(before, places, after, both=both, beams=BEAMS)
        filled.append([Guess(tokenizer.decode(tokens).strip(), score) for tokens, score in found])
    return filled


def is_right(gap: Gap, guesses: Sequence[Guess], top: int) -> bool:
    """Whether the word is among the first so many different texts."""
    return gap.word in list(dict.fromkeys(guess.text for guess in guesses))[:top]


def measured(name: str, asked: Sequence[Gap], guesses: Sequence[Sequence[Guess]]) -> Iterator[dict[str, Any]]:
    """A row for all words, and one for those of each number of tokens."""
    for tokens in (None, *sorted({len(gap.word_ids) for gap in asked})):
        pairs = [(g, f) for g, f in zip(asked, guesses, strict=True) if tokens in (None, len(g.word_ids))]
        row: dict[str, Any] = {"model": name, "tokens": tokens or "all", "n": len(pairs)}
        for top in (1, 5):
            share = sum(is_right(gap, found, top) for gap, found in pairs) / len(pairs)
            row[f"top-{top}"] = round(share, 4)
            row[f"top-{top} interval"] = [round(end, 4) for end in wilson(share, len(pairs))]
        yield row


def markdown(
    rows: Sequence[dict[str, Any]], asked: Sequence[Gap], found: dict[str, list[list[Guess]]], about: str
) -> str:
    """The table, and the first words that the first model fills in right, and the first that it does not."""
    lines = [
        "# Masked words",
        "",
        about,
        "",
        "| model | tokens | n | top-1 (95%) | top-5 (95%) |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"{row['model']} | {row['tokens']} | {row['n']}"]
        for top in ("top-1", "top-5"):
            low, high = row[f"{top} interval"]
            cells.append(f"{row[top]:.1%} ({low:.1%}-{high:.1%})")
        lines.append(f"| {' | '.join(cells)} |")
    first, *others = found
    for title, wanted in (("Right", True), ("Wrong", False)):
        picks = [n for n, gap in enumerate(asked) if is_right(gap, found[first][n], 1) == wanted][:EXAMPLES]
        lines += [
            "",
            f"## {title}",
            "",
            f"| sentence | {first} | {' | '.join(others)} |",
            f"|{'---|' * (2 + len(others))}",
        ]
        for number in picks:
            gap = asked[number]
            told = [", ".join(guess.text for guess in found[first][number][:5])]
            told += [found[other][number][0].text for other in others]
            cells = [f"{gap.before}**[{gap.word}]**{gap.after}", *told]
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--held-back", nargs="+", required=True)
    parser.add_argument("--columns", nargs="+", default=[], metavar="ROLE=NAME")
    parser.add_argument("--words", type=int, default=2000)
    parser.add_argument("--longest", type=int, default=4, help="tokens of a word")
    parser.add_argument("--out", type=Path, help="a Markdown file with examples")
    options = parser.parse_args(arguments)
    machine = machines.look("auto")
    machines.use(machine)
    loaded = load(options.model, ("encoder",), device=machine.device)
    tokenizer, columns = loaded.tokenizer, dict(column.split("=", 1) for column in options.columns)
    learned = list(sentences(texts_of(options.train, False, columns)))
    known = set(learned)
    unseen = {one for one in sentences(texts_of(options.held_back, True, columns)) if one not in known}
    asked = list(gaps(unseen, tokenizer, options.words, options.longest, loaded.model.config.context))
    if not asked:
        raise DataError("holds no Korean sentence that is not in the training text", where=options.held_back[0])
    ids, ends = tokenizer.encode_flat(learned)
    trigram = Trigram(np.split(ids, ends[1:-1]), tokenizer.size, tokenizer.bos, tokenizer.eos)
    choices = Choices.of(tokenizer)
    if not len(choices.first):
        raise FolderError("its tokenizer has no tokens that begin with a space", where=str(options.model))
    found = {
        "encoder": by_encoder(loaded, asked, choices),
        "trigram, left": by_trigram(trigram, tokenizer, asked, choices, both=False),
        "trigram, both": by_trigram(trigram, tokenizer, asked, choices, both=True),
    }
    rows = [row for name, guesses in found.items() for row in measured(name, asked, guesses)]
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    if options.out:
        about = (
            f"`{options.model}`: {len(asked):,} words of {len(unseen):,} sentences held back, none of them among the "
            f"{len(known):,} of the training text ({len(ids):,} tokens). The number of a word's tokens is known."
        )
        files.write_atomic(options.out, markdown(rows, asked, found, about))


if __name__ == "__main__":
    try:
        main()
    except DodamError as error:
        sys.exit(f"fill_mask: {error}")
