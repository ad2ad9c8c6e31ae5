"""A naive Bayes over character n-grams: the baseline of every classifier here.

    python bench/naive_bayes.py DATA... [--dev FILE...] [--folds 5] [--columns label=1 text=2] [--task pair]

Multinomial (McCallum & Nigam 1998), over runs of one to four characters within words and their edges; what is added
to every count is chosen on a tenth of what is learned. Rows are read as `dodam classify` reads them. Without --dev and
--folds the part held back is the one `dodam classify` holds back (--validation); folds are those of folds.py. Prints
a JSON line for every measure: accuracy with Wilson's interval, macro-F1 with the bootstrap's.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from folds import all_labels, cut, fold_of, numbers, read, reading_flags, scored  # beside this file; it finds dodam

from dodam.data.labels import Example, Labels, check_labels, split
from dodam.errors import DodamError, UsageError

LONGEST = 4  # characters of an n-gram
SMOOTHINGS = (1.0, 0.3, 0.1)


def told(learned: Sequence[Example], labels: Labels, asked: Sequence[Example]) -> tuple[np.ndarray, float]:
    """The number of the label that is the likeliest for each row of `asked`, int64 [N], and what was added to every
    count: the one of `SMOOTHINGS` that is best on a tenth of `learned`. A pair counts as one text."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    counter = CountVectorizer(analyzer="char_wb", ngram_range=(1, LONGEST), dtype=np.float32)
    counts, truth = counter.fit_transform([one.key for one in learned]), numbers(learned, labels)
    tried = np.array([fold_of(one, 10) == 0 for one in learned])
    best = SMOOTHINGS[0]
    if tried.any() and not tried.all():
        models = {alpha: MultinomialNB(alpha=alpha).fit(counts[~tried], truth[~tried]) for alpha in SMOOTHINGS}
        best = max(SMOOTHINGS, key=lambda alpha: models[alpha].score(counts[tried], truth[tried]))
    model = MultinomialNB(alpha=best).fit(counts, truth)
    return model.predict(counter.transform([one.key for one in asked])), best


def parts(options: argparse.Namespace) -> tuple[Labels, list[tuple[list[Example], list[Example]]]]:
    """The labels, and what is learned and what is held back, once or once a fold."""
    examples = read(options, options.data)
    labels = all_labels(options, examples)
    check_labels(examples, labels, options.task)
    if options.folds:
        return labels, cut(examples, options.folds)
    if options.dev:
        return labels, [(examples, read(options, options.dev, labels))]
    learned, held_back = split(examples, options.validation)
    if not learned or not held_back:
        raise UsageError("leaves nothing to learn, or nothing to measure", where="--validation")
    return labels, [(learned, held_back)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reading_flags(parser)
    parser.add_argument("--dev", nargs="+", default=[])
    parser.add_argument("--validation", type=float, default=0.1)
    parser.add_argument("--folds", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.dev and options.folds:
        raise UsageError("--dev and --folds both name the rows to measure", mend="Give one of them.")
    labels, cuts = parts(options)
    truths, chosens, alphas = [], [], []
    for number, (learned, held_back) in enumerate(cuts):
        truths.append(numbers(held_back, labels))
        chosen, alpha = told(learned, labels, held_back)
        chosens.append(chosen)
        alphas.append(alpha)
        if len(cuts) > 1:
            print(json.dumps({"fold": number, **scored(truths[-1], chosens[-1], len(labels.names))}), flush=True)
    row: dict[str, Any] = {"fold": "all"} if len(cuts) > 1 else {}
    row |= {"data": options.data, "model": f"naive Bayes, characters 1-{LONGEST}", "added": alphas}
    print(json.dumps({**row, **scored(np.concatenate(truths), np.concatenate(chosens), len(labels.names))}))


if __name__ == "__main__":
    try:
        main()
    except DodamError as error:
        sys.exit(f"naive_bayes: {error}")
