"""How good translations and summaries are: BLEU and chrF over a whole set by sacreBLEU, ROUGE-L, and the report.

In come held-back pairs and what a model wrote for their sources; out come rows of the report with 95% intervals,
signatures, and report.json and report.md.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dodam import files
from dodam.data.pairs import Pair
from dodam.evaluate import report, score
from dodam.versions import versions

RESAMPLES = 1_000
SHOWN = 10  # translations in report.md
TASK = "pairs"


def corpus_scores(given: Sequence[str], references: Sequence[str], seed: int = 0) -> list[dict[str, Any]]:
    """One row a metric: value, low, high, n, signature. BLEU is Papineni et al. 2002, chrF Popović 2015 (chrF2), both
    over the set as a whole, their intervals by sacreBLEU's bootstrap; ROUGE-L is the mean over texts."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    rows = []
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        of_one_kind(metric)
        found = metric.corpus_score(given, [references], n_bootstrap=RESAMPLES)
        signature = str(metric.get_signature())
        told = json.loads(found.format(width=4, signature=signature, is_json=True))
        middle, half = told.get("confidence_mean", found.score), told.get("confidence_var", 0.0)
        low, high = max(0.0, middle - half), min(100.0, middle + half)
        rows.append({"metric": name, "value": found.score, "low": low, "high": high, "signature": signature})
    rouge = [score.rouge_l(one, other) for one, other in zip(given, references, strict=True)]
    value, low, high = score.interval(rouge, 100.0, seed)
    rows.append({"metric": "rouge-l", "value": value, "low": low, "high": high, "signature": ""})
    return [{**row, "n": len(given)} for row in rows]


def of_one_kind(metric: Any) -> None:
    """Make a metric of sacreBLEU give floats always: its resamples give numpy's where they score something, and both
    kinds together it cannot add."""
    score_of = metric._compute_score_from_stats

    def as_float(stats: Any) -> Any:
        found = score_of(stats)
        found.score = float(found.score)
        return found

    metric._compute_score_from_stats = as_float


def write(
    out: Path,
    model: Path,
    pairs: Sequence[Pair],
    given: Sequence[str],
    *,
    decoding: dict[str, Any],
    seconds: float,
    seed: int,
    alignment: str = "",
) -> list[dict[str, Any]]:
    """Write report.json and report.md into `out`; returns the scores. `alignment` is a table that goes with
    attention.png."""
    scores = corpus_scores(given, [pair.target for pair in pairs], seed)
    signatures = {row["metric"]: row["signature"] for row in scores if row["signature"]}
    rows = [
        {
            "model": out.name,
            "task": TASK,
            **{key: row[key] for key in ("metric", "value", "low", "high", "n")},
            "seconds": round(seconds, 2),
        }
        for row in scores
    ]
    found = {
        "format": report.FORMAT,
        "rows": rows,
        "decoding": {**decoding, "signatures": signatures},
        "versions": versions(),
        "seed": seed,
        "models": {out.name: str(model)},
    }
    files.write_atomic(out / "report.md", markdown(found, pairs, given, alignment))
    files.write_json(out / "report.json", found)
    return scores


def markdown(found: dict[str, Any], pairs: Sequence[Pair], given: Sequence[str], alignment: str) -> str:
    """Scores, how they were taken, some translations, and where the model looked in the first."""
    lines = ["# Report", "", "| metric | value (95% interval) | n |", "|---|---|---|"]
    lines += [f"| {row['metric']} | {report.shown(row)} | {row['n']} |" for row in found["rows"]]
    lines += ["", "Intervals are from the bootstrap over pairs. Decoding, signatures and versions:", ""]
    lines += [f"- {key}: {value}" for key, value in {**found["decoding"], **found["versions"]}.items()]
    lines += [f"- seed: {found['seed']}", "", "## Translations", ""]
    for pair, text in list(zip(pairs, given, strict=True))[:SHOWN]:
        for name, part in ((f"source ({pair.where})", pair.source), ("written", text), ("expected", pair.target)):
            lines += [f"**{name}**", "", "```text", part.replace("```", "'''"), "```", ""]
        lines += ["---", ""]
    if alignment:
        lines += ["## Where it looked", "", "In the first pair above, while it wrote what was expected:", ""]
        lines += ["![cross-attention](attention.png)", "", alignment, ""]
    return "\n".join(lines)
