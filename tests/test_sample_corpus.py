"""The bundled corpus as a whole: size, the same bytes for a seed, every part present, tests kept out of training."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from functools import lru_cache

from dodam.sample import corpus
from dodam.sample.entities import told_in

TASKS = {
    "facts", "unasked", "translation", "sentiment", "table", "summary", "words-direct", "words-steps",
    "words-direct-new-phrasing", "words-steps-new-phrasing",
}  # fmt: skip

FINGERPRINT = """
import hashlib, itertools, json
from dodam.sample import corpus
rows = itertools.chain(corpus.text(7, 0.01), corpus.chat(7, 0.01), corpus.tests(7, 20), corpus.preferences(7, 0.01))
print(hashlib.sha256("\\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()).hexdigest())
"""


@lru_cache(maxsize=1)
def text() -> list[dict]:
    return list(corpus.text(0))


@lru_cache(maxsize=1)
def chat() -> list[dict]:
    return list(corpus.chat(0))


@lru_cache(maxsize=1)
def items() -> list[dict]:
    return list(corpus.tests(0))


def num_bytes(row: dict) -> int:
    return len((row.get("text") or "".join(message["content"] for message in row["messages"])).encode())


def fingerprint(hash_seed: str) -> str:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    ran = subprocess.run([sys.executable, "-c", FINGERPRINT], capture_output=True, text=True, check=True, env=env)
    return ran.stdout.strip()


def test_a_seed_gives_the_same_bytes_whatever_the_hash_seed():
    assert fingerprint("1") == fingerprint("2")


def test_another_seed_gives_another_text():
    first, second = (hashlib.sha256(json.dumps(list(corpus.text(seed, 0.01))).encode()) for seed in (1, 2))
    assert first.digest() != second.digest()


def test_size_and_parts():
    assert sum(map(num_bytes, text())) >= 12_000_000
    assert len(chat()) >= 25_000
    sizes = Counter()
    for row in text():
        sizes[row["source"]] += num_bytes(row)
    assert set(sizes) == set(corpus.MIX)
    assert min(sizes.values()) > 100_000
    languages = Counter(row["language"] for row in text())
    assert min(languages["ko"], languages["en"]) > 0.3 * len(text())


def test_rows_have_the_documented_shape_and_are_short():
    assert all(set(row) == {"text", "source", "language"} for row in text())
    assert len({row["text"] for row in text()}) == len(text())
    assert max(map(num_bytes, text())) < 1100
    for row in chat():
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) and num_bytes(row) < 900
        assert all(message["content"].strip() == message["content"] != "" for message in row["messages"])


def test_items_have_the_documented_shape():
    counts = Counter(item["task"] for item in items())
    assert set(counts) == TASKS
    assert set(counts.values()) == {corpus.NUM_TESTS} and corpus.NUM_TESTS >= 500
    assert len({item["id"] for item in items()}) == len(items())
    for item in items():
        assert set(item) - {"prompt", "messages"} == {"id", "task", "language", "answer", "metric"}
        assert ("prompt" in item) != ("messages" in item)
        assert item["metric"] in {"exact", "number", "chrf", "rouge"} and item["answer"]


def test_no_test_question_is_in_training():
    """Completions of facts are exempt: they are recall of told sentences."""
    asked = {item["messages"][0]["content"] for item in items() if "messages" in item}
    assert not asked & {message["content"] for row in chat() for message in row["messages"]}
    form = re.compile(r"(?:질문|Question): (.*?)\n(?:답|Answer|풀이|Solution):", re.DOTALL)
    trained = {question for row in text() for question in form.findall(row["text"])}
    assert len(trained) > 20_000
    assert not asked & trained
    assert not asked & {row["text"] for row in text()}


def test_every_fact_is_told_often():
    told = Counter()
    for language in ("ko", "en"):
        names = {entity.names[language]: entity for entity in told_in(language)}
        pattern = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))), re.IGNORECASE)
        lower = {name.lower(): entity for name, entity in names.items()}
        for row in text():
            if row["source"] != "world":
                continue
            for name in {found.lower() for found in pattern.findall(row["text"])}:
                for attribute, fact in lower[name].facts.items():
                    told[language, name, attribute] += fact[language] in row["text"]
        for name, entity in lower.items():
            assert all(told[language, name, attribute] >= 30 for attribute in entity.facts), name
