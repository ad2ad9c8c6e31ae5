"""Bits per byte of `xz -6` on the held-back documents of a data folder, per source: a bar for language models.

    python bench/xz.py DATA [REPORT.json]

All held-back documents of a source are packed as one stream, so xz may look back on all of them, as a model may look
back on what it was trained on. With a report of `dodam evaluate`, the models' figures stand beside.
"""

import json
import lzma
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam.data.documents import read_documents


def main(data: str, report: str = "") -> None:
    """One row a source, as Markdown."""
    texts = defaultdict(list)
    for document in read_documents(data, "validation"):
        texts[document["source"]].append(document["text"].encode())
    only = next(iter(texts)) if len(texts) == 1 else ""
    models: dict[str, dict[str, str]] = defaultdict(dict)
    for row in json.loads(Path(report).read_text())["rows"] if report else []:
        if row["metric"] == "bits-per-byte":
            source = row["task"].partition(":")[2] or only  # of a single source there is only the row of all
            models[row["model"]][source] = f"{row['value']:.3f} ({row['low']:.3f}-{row['high']:.3f})"
    print(f"| source | documents | bytes | xz -6 | {' | '.join(models)} |\n|{'---|' * (4 + len(models))}")
    for source, documents in sorted(texts.items()):
        whole = b"\n".join(documents)
        ratio = 8 * len(lzma.compress(whole, preset=6)) / len(whole)
        figures = " | ".join(found.get(source, "") for found in models.values())
        print(f"| {source} | {len(documents)} | {len(whole):,} | {ratio:.3f} | {figures} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
