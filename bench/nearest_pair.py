"""Translating by copying: the translation of the training source that looks most like the one asked for.

    python bench/nearest_pair.py --data FILE... (--dev FILE... | --validation 0.01) [--columns source=2 target=1]

Files are read as `dodam seq2seq` reads them (a.en:b.de for line-aligned ones). Sources are compared by the cosine of
their character n-grams within words, weighted by TF-IDF. Prints a JSON line for each measure of each file of --dev, or
of the pairs of each file of --data that `dodam seq2seq --validation` holds back: BLEU, chrF with sacreBLEU's
signatures, ROUGE-L, each with its 95% interval.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam.data.pairs import Pair, is_held_back, pairs_of
from dodam.errors import DodamError, UsageError
from dodam.evaluate.translation import corpus_scores

AT_ONCE = 64  # sources compared with all others at one time


def nearest(known: Sequence[str], asked: Sequence[str]) -> list[int]:
    """For each text asked the place of the nearest known one, the first of equally near ones."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    known_NG = vectorizer.fit_transform(known)  # rows of length 1, so that products are cosines
    asked_MG = vectorizer.transform(asked)
    by_gram_GN = known_NG.T.tocsr()
    found: list[int] = []
    for first in range(0, len(asked), AT_ONCE):
        cosines_MN = (asked_MG[first : first + AT_ONCE] @ by_gram_GN).toarray()
        found += cosines_MN.argmax(1).tolist()
    return found


def parts(options: argparse.Namespace) -> tuple[list[Pair], dict[str, list[Pair]]]:
    """The pairs to copy from, and those to measure on by the name of their file."""
    columns = dict(column.split("=", 1) for column in options.columns)

    def read(path: str) -> list[Pair]:
        return pairs_of([path], columns=columns, encoding=options.encoding, skip_bad=options.skip_bad)

    data = {path: read(path) for path in options.data}
    known = [pair for pairs in data.values() for pair in pairs]
    if options.dev:
        return known, {path: read(path) for path in options.dev}
    held_back = {path: [one for one in pairs if is_held_back(one, options.validation)] for path, pairs in data.items()}
    return [pair for pair in known if not is_held_back(pair, options.validation)], {
        path: pairs for path, pairs in held_back.items() if pairs
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--dev", nargs="+", default=[])
    parser.add_argument("--validation", type=float)
    parser.add_argument("--columns", nargs="+", default=[], metavar="ROLE=NAME")
    parser.add_argument("--encoding", default="utf-8")
    parser.add_argument("--skip-bad", action="store_true")
    parser.add_argument("--show", type=int, default=0, help="so many answers of each file, on standard error")
    options = parser.parse_args(arguments)
    if bool(options.dev) == bool(options.validation):
        raise UsageError("the pairs to measure on are named by --dev or by --validation", mend="Give one of them.")
    known, asked = parts(options)
    if not known or not asked:
        raise UsageError("no pairs to copy from, or none to measure on", where="--data")
    places = iter(nearest([pair.source for pair in known], [pair.source for pairs in asked.values() for pair in pairs]))
    for path, pairs in asked.items():
        copied = [known[next(places)] for _ in pairs]
        for pair, copy in list(zip(pairs, copied, strict=True))[: options.show]:
            print(f"{pair.source}\n  nearest: {copy.source}\n  copied: {copy.target}\n", file=sys.stderr)
        for row in corpus_scores([pair.target for pair in copied], [pair.target for pair in pairs]):
            rounded = {key: round(row[key], 2) for key in ("value", "low", "high")}
            print(json.dumps({"file": path, "pairs to copy from": len(known), **row, **rounded}), flush=True)


if __name__ == "__main__":
    try:
        main()
    except DodamError as error:
        sys.exit(f"nearest_pair: {error}")
