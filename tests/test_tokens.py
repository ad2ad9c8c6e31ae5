"""Entities: tokens and their characters, tags both ways, reading, measures against the definitions, and the whole of
`dodam classify --task tokens` and `predict` on small files; everything that can be wrong with rows."""

import gzip
import json
import random
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from dodam import cli
from dodam.data.batch import IGNORED
from dodam.data.entities import Entity, TaggedText, labels_of, read_tagged, tags_of
from dodam.errors import DodamError
from dodam.evaluate import entities as measuring
from dodam.folder import load_model, save_model
from dodam.generate.classifier import load_classifier, with_template
from dodam.generate.entities import Tagging, decoded, encode_texts, entities_from, exact, tags_from
from dodam.generate.pieces import Pieces, owned, pieces_of, places, tails_of, windows
from dodam.models.build import build_decoder, decoder_config
from dodam.stages import tokens as stage
from dodam.stages.labelled import LabelledLoader, Rows
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import fill_up, learn

FEW = ["--threads", "1", "--compile", "no", "--checkpoint-seconds", "0"]
NAMES = ("민수", "영희", "Anna", "철수", "Boris", "지우")
PLACES = ("서울", "부산", "Paris", "제주", "Rome")
VERBS = ("갔다", "왔다", "went there", "stayed", "살았다")


def sentence(rng: random.Random) -> TaggedText:
    """One with a name, its particle joined to it, and mostly a place."""
    parts: list[tuple[str, str]] = [
        (rng.choice(("", " ", "  ")), ""),
        (rng.choice(NAMES), "PS"),
        (rng.choice(("는 ", "가 ", " ")), ""),
    ]
    if rng.random() < 0.8:
        parts += [(rng.choice(PLACES), "LC"), (rng.choice(("에 ", "에서 ", " ")), "")]
    parts += [(rng.choice(VERBS) + rng.choice((".", "")), "")]
    text, entities = "", []
    for part, label in parts:
        if label:
            entities.append(Entity(len(text), len(text) + len(part), label))
        text += part
    return TaggedText(text, tuple(entities), "")


def sentences(count: int, seed: int = 0) -> list[TaggedText]:
    rng = random.Random(seed)
    return [sentence(rng) for _ in range(count)]


def write_rows(path: Path, texts: list[TaggedText]) -> Path:
    rows = [{"text": one.text, "entities": [entity._asdict() for entity in one.entities]} for one in texts]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    raw = learn([one.text for one in sentences(200)], 448, SPECIAL_TOKENS)
    fill_up(raw, 448)
    return Tokenizer(raw.to_str())


def run(*words: object) -> None:
    assert cli.main([str(word) for word in words]) == 0


# --- tokens and characters

HARD = [
    "  민수는  서울에서 뷁! (서울) 갔다 ",
    unicodedata.normalize("NFD", "민수는 café 서울에 갔다"),
    "😀 Anna 👨‍👩‍👧\r\n부산에\t왔다",
    "e\u0301tude: 김뷁뷁서울 \ud83d.",
    " \n ",
    "",
]


@pytest.mark.parametrize("text", HARD)
def test_every_character_that_is_no_space_is_of_one_token_and_in_order(text: str, tokenizer: Tokenizer) -> None:
    (pieces,) = pieces_of(tokenizer, [text])
    assert pieces.ids == tokenizer.encode(text)
    covered = []
    for start, end in zip(pieces.starts, pieces.ends, strict=True):
        covered += range(start, end)
        assert start == end or not (text[start].isspace() or text[end - 1].isspace())
    assert covered == sorted(set(covered))
    assert {place for place, sign in enumerate(text) if not sign.isspace()} <= set(covered)


def test_bytes_of_a_character_belong_to_the_first_token_that_has_any() -> None:
    # ` 뷁!` in three tokens: the space and two bytes, one byte and the sign, nothing new
    assert places(" 뷁!", [(0, 2), (1, 3), (2, 3)]) == ([1, 2, 3], [2, 3, 3])
    # a mark that was composed with its letter and is in no offset
    assert places("e\u0301t", [(0, 1), (2, 3)]) == ([0, 2], [2, 3])


def test_windows_hold_every_token_and_each_is_told_once_where_it_stands_furthest_inside() -> None:
    for count in (0, 1, 9, 10, 11, 13, 24, 25, 100):
        for room in (3, 10, 16):
            spans = windows(count, room)
            told = owned(spans)
            assert [place for first, last in told for place in range(first, last)] == list(range(count))
            assert all(last - first == min(room, count) for first, last in spans)
            for (first, last), (tell_first, tell_last) in zip(spans, told, strict=True):
                assert first <= tell_first <= tell_last <= last
            for number, (first, last) in enumerate(told):
                for place in range(first, last):
                    for other in {number - 1, number + 1} & set(range(len(spans))):
                        if spans[other][0] <= place < spans[other][1]:
                            assert inside(spans, number, place) >= inside(spans, other, place) - 1


def inside(spans: list[tuple[int, int]], number: int, place: int) -> float:
    """How many tokens lie between one and the nearer edge of a window; where the text ends there is no edge."""
    first, last = spans[number]
    return min(place - first if number else np.inf, last - 1 - place if number + 1 < len(spans) else np.inf)


def character_reference(pieces: Pieces, entities: tuple[Entity, ...]) -> list[str | None]:
    """The rule once more, character by character."""
    of = {place: number for number, one in enumerate(entities) for place in range(one.start, one.end)}
    tags, begun = [], set()
    for start, end in zip(pieces.starts, pieces.ends, strict=True):
        mine = [of[place] for place in range(start, end) if place in of]
        if start == end or not mine:
            tags.append(None if start == end else "O")
            continue
        best = max(sorted(set(mine)), key=mine.count)
        tags.append(f"{'I' if best in begun else 'B'}-{entities[best].label}")
        begun.add(best)
    return tags


def test_tags_are_those_of_the_rule_and_tell_what_begins_and_ends_with_tokens(tokenizer: Tokenizer) -> None:
    rng = random.Random(3)
    for one in sentences(150, seed=4):
        (pieces,) = pieces_of(tokenizer, [one.text])
        assert tags_from(pieces, one.entities) == character_reference(pieces, one.entities)
        cuts = sorted(rng.sample(range(len(one.text) + 1), 6))  # anywhere, inside tokens too
        pairs = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=True) if one.text[a:b].strip() == one.text[a:b]]
        entities = tuple(Entity(a, b, rng.choice("AB")) for a, b in pairs)
        tags = tags_from(pieces, entities)
        assert tags == character_reference(pieces, entities)
        found = [told.entity for told in entities_from(pieces, tags, [1.0] * len(tags))]
        whole = [e for e in entities if e.start in pieces.starts and e.end in pieces.ends]
        shared = [place for place in range(len(tags)) if sum(overlaps(pieces, place, e) for e in entities) > 1]
        if not shared:
            assert [entity for entity in entities if entity in found] == whole == exact(pieces, entities)


def overlaps(pieces: Pieces, place: int, entity: Entity) -> bool:
    return pieces.starts[place] < entity.end and entity.start < pieces.ends[place]


def test_tags_that_break_the_rules_are_read_as_the_page_says() -> None:
    pieces = Pieces("a b c d e f", list(range(6)), [0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11])

    def read(*tags: str | None) -> list[tuple[int, int, str]]:
        return [tuple(told.entity) for told in entities_from(pieces, tags, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])]

    assert read("I-X", "I-X", "O", "I-Y", "I-X", "B-X") == [(0, 3, "X"), (6, 7, "Y"), (8, 9, "X"), (10, 11, "X")]
    assert read("B-X", None, "I-X", "O", "PER", "PER") == [(0, 5, "X"), (8, 11, "PER")]
    (told,) = entities_from(pieces, ["B-X", "I-X", "I-X", "O", "O", "O"], [0.9, 0.2, 0.7, 0.1, 0.1, 0.1])
    assert told.confidence == 0.2


def test_a_tail_is_cut_off_where_that_is_done_more_often_than_not() -> None:
    def word(text: str) -> Pieces:
        return Pieces(text, [0], [0], [len(text)])

    spans = [(word("서울은"), 2), (word("부산은"), 2), (word("조은"), 2), (word("민수이"), 2), (word("길동이"), 3)]
    assert tails_of([*spans, (word("영동이"), 3), (word("은"), 1)]) == ("은",)
    assert word("제주은").end(0, ("은", "주은")) == 1 and word("은").end(0, ("은",)) == 1


def test_tails_tell_entities_that_end_inside_a_token() -> None:
    texts = sentences(300)
    raw = learn([one.text for one in texts], 640, SPECIAL_TOKENS)  # so many that names and particles are one token
    pieces = list(pieces_of(Tokenizer(raw.to_str()), [one.text for one in texts]))
    told = zip(pieces, texts, strict=True)
    tails = tails_of((one, entity.end) for one, text in told for entity in text.entities)
    counts = [sum(len(exact(p, t.entities, cut)) for p, t in zip(pieces, texts, strict=True)) for cut in ((), tails)]
    assert {"는", "가", "에", "에서"} <= set(tails)
    assert counts[0] < 0.9 * counts[1] and counts[1] == sum(len(one.entities) for one in texts)


def test_windows_tell_what_the_whole_text_tells(tokenizer: Tokenizer) -> None:
    """With logits that are a function of the token alone, cutting changes nothing."""
    texts = [" ".join(one.text for one in sentences(20, seed)) for seed in range(3)] + [" ", "짧다"]
    names, framed = tags_of(("LC", "PS")), with_template(tokenizer, "encoder")
    table = np.random.default_rng(0).normal(size=(tokenizer.size, len(names))).astype(np.float32)

    def told(context: int) -> tuple[list[Any], Tagging]:
        tagging = encode_texts(framed, texts, context)
        return decoded(tagging, [table[window.row.ids] for window in tagging.windows], names, ()), tagging

    whole, tagging = told(4096)
    cut, cut_tagging = told(18)
    assert len(tagging.windows) == len(texts) < len(cut_tagging.windows)
    assert all(len(window.row.ids) <= 18 for window in cut_tagging.windows)
    assert cut == whole and sum(map(len, whole)) > 20
    targets = [stage.targets_of(one, [TaggedText(t, (), "") for t in texts], names) for one in (tagging, cut_tagging)]
    assert len({sum(int((row != IGNORED).sum()) for row in side) for side in targets}) == 1  # each token once


# --- what is minimised


def test_the_loss_is_torchs_over_the_tokens_that_are_told(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    encoded = encode_texts(with_template(tokenizer, "encoder"), [one.text for one in sentences(6)], 64)
    rows = [window.row for window in encoded.windows]
    targets = [rng.integers(-1, 3, len(row.ids)) for row in rows]
    targets = [np.where(target < 0, IGNORED, target) for target in targets]
    batch = LabelledLoader(Rows(rows, targets), 6, 0, 0, 8, 64).batch(0, 6)[0]
    assert batch.targets is not None and batch.targets.shape == batch.ids_BT.shape
    model: Any = build_decoder(decoder_config(vocabulary=448, context=64, depth=1, width=32, heads=2), 0)
    model.classifier = lambda hidden_BTD, real_BT: hidden_BTD[..., :3]
    loss, logits = stage.TagLoss(torch.float32), model(batch.ids_BT)[..., :3]
    each = [
        F.cross_entropy(logits[row, place][None], batch.targets[row, place][None])
        for row, place in (batch.targets != IGNORED).nonzero().tolist()
    ]
    assert loss.weight(batch) == len(each)
    torch.testing.assert_close(loss(model, batch), torch.stack(each).sum())
    kept = Rows(rows, [np.full(3, IGNORED), *targets[1:]]).told()
    assert len(kept.texts) == 5 and kept.texts[0] is rows[1]


# --- reading

KLUE = (
    "## 컬럼명 : CHAR\tNE_TAG\n## doc-1\t<민수:PS>는 <서울:LC>에.\n"
    "민\tB-PS\n수\tI-PS\n는\tO\n \tO\n서\tB-LC\n울\tI-LC\n에\tO\n.\tO\n\n## doc-2\n#\tO\n#\tO\nA\tB-PS\nB\tB-PS\n"
)
KLUE_TEXTS = [
    ("민수는 서울에.", [(0, 2, "PS"), (4, 6, "LC")]),
    ("##AB", [(2, 3, "PS"), (3, 4, "PS")]),
]
WORDS = (
    "-DOCSTART- -X- O O\n\nAnna NNP I-NP B-PER\nwent VBD O O\nto TO O O\nNew NNP I-NP I-LOC\nYork NNP I-NP I-LOC\n\n"
    "No DT O O\nnames NNS O O\n"
)
WORD_TEXTS = [("Anna went to New York", [(0, 4, "PER"), (13, 21, "LOC")]), ("No names", [])]


def told(found: list[TaggedText]) -> list[tuple[str, list[tuple[int, int, str]]]]:
    return [(one.text, [tuple(entity) for entity in one.entities]) for one in found]


def test_conll_files_of_characters_and_of_words(tmp_path: Path) -> None:
    (tmp_path / "k.tsv.gz").write_bytes(gzip.compress(KLUE.encode()))
    assert told(read_tagged([str(tmp_path / "k.tsv.gz")])) == KLUE_TEXTS
    (tmp_path / "w.conll").write_text(WORDS)
    found = read_tagged([str(tmp_path / "w.conll")])
    assert told(found) == WORD_TEXTS and found[1].where.endswith("w.conll:9")
    assert labels_of(found).names == ("LOC", "PER") and tags_of(("A", "B")) == ("O", "B-A", "I-A", "B-B", "I-B")


def test_rows_of_entities_and_of_tags(tmp_path: Path) -> None:
    rows = [
        {"body": " Anna  went", "spans": [{"start": 0, "end": 6, "label": "PER"}], "id": 1},
        {"body": "no one", "spans": [], "id": 2},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_tagged([str(tmp_path / "a.jsonl")], columns={"text": "body", "entities": "spans"})
    assert told(found) == [(" Anna  went", [(1, 5, "PER")]), ("no one", [])]  # the text stays, white space goes
    (tmp_path / "b.json").write_text(json.dumps([{"tokens": ["Anna", "B."], "tags": ["B-PER", "I-PER"]}]))
    assert told(read_tagged([str(tmp_path / "b.json")])) == [("Anna B.", [(0, 7, "PER")])]


GOOD = '{"text": "Anna went", "entities": [{"start": 0, "end": 4, "label": "PER"}]}\n'
HARMS: dict[str, tuple[str, str, list[str], int, str]] = {
    "a tag of another kind": ("in.tsv", "Anna\tB-PER\nwent\tX-PER\n", [], 1, "in.tsv:2: the tag 'X-PER' is none of O"),
    "a tag without a label": ("in.tsv", "Anna\tB-\n", [], 1, "in.tsv:1: the tag 'B-' is none of O"),
    "a line of one column": ("in.tsv", "Anna\tB-PER\n\nwent\n", [], 1, "in.tsv:3: a line holds a word and its tag"),
    "a label of another set": ("in.tsv", "a\tO\nb\tB-XX\n", ["--labels", "set.txt"], 1, "in.tsv:2: the label 'XX'"),
    "a label of a row": ("in.jsonl", GOOD.replace("PER", "X"), ["--labels", "set.txt"], 1, "in.jsonl:1: the label 'X'"),
    "outside": ("in.jsonl", GOOD + GOOD.replace("4", "90"), [], 1, "in.jsonl:2: the entity 0-90 lies outside the"),
    "before": ("in.jsonl", GOOD.replace("0", "-1"), [], 1, "in.jsonl:1: the entity -1-4 lies outside"),
    "empty entity": ("in.jsonl", GOOD.replace("4", "0"), [], 1, "in.jsonl:1: the entity 0-0 is empty"),
    "white space": (
        "in.jsonl", GOOD.replace('0, "end": 4', '4, "end": 5'), [], 1, "in.jsonl:1: the entity 4-5 is white space"
    ),
    "overlapping": (
        "in.jsonl", GOOD.replace("[", '[{"start": 3, "end": 7, "label": "LOC"}, '), [], 1,
        "in.jsonl:1: the entities 0-4 and 3-7 overlap",
    ),
    "no numbers": ("in.jsonl", GOOD.replace("4", '"4"'), [], 1, "in.jsonl:1: an entity cannot be read"),
    "an empty text": ("in.jsonl", '{"text": " ", "entities": []}\n', [], 1, "in.jsonl:1: the text is empty"),
    "no text": ("in.jsonl", '{"text": 3, "entities": []}\n', [], 1, "in.jsonl:1: the text is no text but int"),
    "tags of numbers": ("in.jsonl", '{"tokens": ["a"], "tags": [3]}\n', [], 1, "tags are a list of texts, not [3]"),
    "fewer tags": ("in.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n', [], 1, "there are 2 tokens and 1 tags"),
    "no entities": ("in.jsonl", '{"text": "a", "entities": []}\n', [], 1, "no text has an entity"),
    "no columns": ("in.jsonl", '{"body": "a"}\n', [], 2, "there are no columns of texts and entities, or of tokens"),
    "no such column": ("in.jsonl", GOOD, ["--columns", "text=body"], 2, "there is no column `body`"),
    "unknown role": ("in.jsonl", GOOD, ["--columns", "label=entities"], 2, "label is nothing a tagged text has"),
    "csv": ("in.csv", "text,entities\na,b\n", [], 1, "in.csv: entities are not read from CSV"),
    "nothing held back": ("in.jsonl", GOOD * 3, ["--validation", "0.0001"], 1, "none of 3 texts is held back"),
    "weights": ("in.jsonl", GOOD, ["--class-weights", "balanced"], 2, "labels are not weighted for tokens"),
    "smoothed": ("in.jsonl", GOOD, ["--label-smoothing", "0.1"], 2, "labels are not smoothed for tokens"),
    "pooling": ("in.jsonl", GOOD, ["--pooling", "cls"], 2, "every token speaks for itself in tokens"),
    "answers": ("in.jsonl", GOOD, ["--longest-answer", "9"], 2, "there are no answers in tokens"),
    "cuts": ("in.jsonl", GOOD, ["--bpe-dropout", "0.1"], 2, "labels belong to tokens in tokens"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_wrong_is_one_message_and_no_model_is_written(harm: str, tmp_path: Path, monkeypatch, capsys) -> None:
    name, content, flags, code, message = HARMS[harm]
    (tmp_path / name).write_text(content)
    (tmp_path / "set.txt").write_text("PER\nLOC\n")
    monkeypatch.chdir(tmp_path)
    words = ["classify", "--task", "tokens", "--data", name, "--out", "out", "--depth", "1", *FEW, *flags]
    assert cli.main(words) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err and "mistake in dodam" not in err
    assert not (tmp_path / "out" / "model").exists()


def test_bad_rows_are_left_out_where_that_is_asked_for(tmp_path: Path, capsys) -> None:
    (tmp_path / "in.jsonl").write_text(GOOD + GOOD.replace("4", "90") + "{\n" + GOOD)
    assert len(read_tagged([str(tmp_path / "in.jsonl")], skip_bad=True)) == 2
    (tmp_path / "in.tsv").write_text("a\tB-X\n\nb\tQ-X\n\nc\tO\n")
    assert [one.text for one in read_tagged([str(tmp_path / "in.tsv")], skip_bad=True)] == ["a", "c"]
    assert capsys.readouterr().err.count("2 left out") == 1


# --- measures


def measured(truth: list[list[Entity]], given: list[list[Entity]], labels: tuple[str, ...]) -> measuring.Measured:
    texts = ["x" * 40] * len(truth)
    return measuring.Measured(labels, texts, truth, given, [[0.5] * len(one) for one in given])


def values(one: measuring.Measured) -> dict[str, float]:
    return {name: statistic(np.arange(one.n)) for name, statistic in measuring.measures(one).items()}


def test_the_example_of_seqevals_own_page() -> None:
    """Two sentences of words, one entity found too early and one rightly; all of its figures are 0.5."""
    truth = [[Entity(3, 6, "MISC")], [Entity(0, 2, "PER")]]
    given = [[Entity(2, 6, "MISC")], [Entity(0, 2, "PER")]]
    one = measured(truth, given, ("MISC", "PER"))
    found = values(one)
    assert [found[name] for name in ("micro-f1", "macro-f1", "precision", "recall")] == [0.5] * 4
    f1s = {row["task"]: row["value"] for row in measuring.rows_of(one, "m", "t", 0, 0.0) if row["metric"] == "f1"}
    assert f1s == {"t:MISC": 0.0, "t:PER": 1.0}


def random_entities(rng: random.Random) -> list[Entity]:
    cuts = sorted(rng.sample(range(40), 8))
    return [Entity(a, b, rng.choice("ABC")) for a, b in zip(cuts[::2], cuts[1::2], strict=True)]


def test_measures_are_those_of_scikit_learn_and_of_counting() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = random.Random(0)
    truth = [random_entities(rng) for _ in range(30)]
    given = [
        [e for e in side if rng.random() < 0.6] + random_entities(rng)[:1] * (rng.random() < 0.5) for side in truth
    ]
    given = [sorted({e.start: e for e in side}.values()) for side in given]
    one = measured(truth, given, ("A", "B", "C", "D"))  # D is nowhere
    found = values(one)

    def letters(side: list[Entity]) -> list[str]:
        tags = ["O"] * 40
        for start, end, label in side:
            for place in range(start, end):
                tags[place] = f"{'B' if place == start else 'I'}-{label}"
        return tags

    apart = [n for n, side in enumerate(given) if all(a.end <= b.start for a, b in pairwise(side))]
    some = measured([truth[n] for n in apart], [given[n] for n in apart], ("A", "B", "C", "D"))
    true, said = ([tag for n in apart for tag in letters(side[n])] for side in (truth, given))
    tags = sorted({*true, *said} - {"O"})
    expected = metrics.f1_score(true, said, labels=tags, average="macro", zero_division=0)
    assert values(some)["character-macro-f1"] == pytest.approx(expected) and len(tags) == 6

    f1s = []
    for label in "ABC":
        right = sum(len({e for e in t if e.label == label} & set(g)) for t, g in zip(truth, given, strict=True))
        counts = [sum(e.label == label for one_side in side for e in one_side) for side in (truth, given)]
        f1s.append(2 * right / sum(counts))
    assert found["macro-f1"] == pytest.approx(np.mean(f1s))
    right = sum(len(set(t) & set(g)) for t, g in zip(truth, given, strict=True))
    num_true, num_given = (sum(map(len, side)) for side in (truth, given))
    assert found["recall"] == pytest.approx(right / num_true)
    assert found["precision"] == pytest.approx(right / num_given)
    assert found["micro-f1"] == pytest.approx(2 * right / (num_true + num_given))
    for row in measuring.rows_of(one, "m", "t", 0, 0.0):
        assert row["low"] <= row["value"] <= row["high"]


def test_mistakes_are_the_most_confident_first() -> None:
    truth, given = [[Entity(0, 2, "A")]], [[Entity(0, 3, "A"), Entity(5, 6, "B"), Entity(7, 8, "B")]]
    one = measuring.Measured(("A", "B"), ["abcdefgh" * 99], [[*truth[0], Entity(7, 8, "B")]], given, [[0.5, 0.9, 0.99]])
    first, second = measuring.mistakes(one)
    assert (first["given"], first["truth"], first["sure"]) == ("f B", "", 0.9)
    assert (second["given"], second["truth"]) == ("abc A", "ab A") and len(second["text"]) < 220


# --- the whole stage


def test_from_nothing_to_a_report_to_predictions_and_the_same_for_transformers(tmp_path: Path, capsys) -> None:
    data, out = write_rows(tmp_path / "d.jsonl", sentences(500)), tmp_path / "run"
    words = ["classify", "--task", "tokens", "--data", data, "--out", out, "--depth", 1, "--epochs", 5, "--context", 16]
    run(*words, "--validation", "0.2", *FEW)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    rows = {(row["task"], row["metric"]): row for row in report["rows"]}
    assert rows["held-back", "micro-f1"]["value"] > 0.95 and rows["held-back", "character-macro-f1"]["value"] > 0.9
    assert {"held-back", "held-back:LC", "held-back:PS"} == {task for task, _ in rows}
    assert rows["held-back:PS", "f1"]["n"] == rows["held-back", "micro-f1"]["n"]  # one name a sentence
    assert "micro-f1" in (out / "report.md").read_text() and " PS" in (out / "samples.md").read_text()
    capsys.readouterr()
    run(*words, "--validation", "0.2", *FEW, "--json")
    assert json.loads(capsys.readouterr().out)["micro-f1"] == rows["held-back", "micro-f1"]["value"]

    texts = ["  " + one.text for one in sentences(20, seed=9)]
    expected = [[{"start": e.start + 2, "end": e.end + 2, "label": e.label} for e in one.entities]
                for one in sentences(20, seed=9)]  # fmt: skip
    (tmp_path / "in.txt").write_text("\n".join(texts), encoding="utf-8")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    answers = []
    for words in (["in.txt"], ["in.jsonl", "--columns", "text=body"]):
        run("predict", out, "--input", tmp_path / words[0], *words[1:], "--output", tmp_path / "o.jsonl", *FEW[:2])
        answers.append([json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()])
    assert answers[0] == answers[1] and all(one.keys() == {"entities", "confidences"} for one in answers[0])
    assert sum(one["entities"] == true for one, true in zip(answers[0], expected, strict=True)) >= 18

    theirs = transformers.AutoModelForTokenClassification.from_pretrained(out / "model").eval()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(out / "model")
    classifier = load_classifier(out)
    tagging = encode_texts(classifier.tokenizer, texts, 64)
    logits = []
    for text, window in zip(texts, tagging.windows, strict=True):
        inputs = their_tokenizer(text, return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == window.row.ids
        with torch.inference_mode():
            logits.append(theirs(inputs["input_ids"]).logits[0].numpy())
    names = [theirs.config.id2label[number] for number in range(5)]
    assert names == ["O", "B-LC", "I-LC", "B-PS", "I-PS"]
    for found, one in zip(decoded(tagging, logits, names, classifier.info["tails"]), answers[0], strict=True):
        assert [entity._asdict() for entity, _ in found] == one["entities"]


def decoder_base(tokenizer: Tokenizer, folder: Path) -> Path:
    model = build_decoder(decoder_config(vocabulary=448, context=64, depth=2, width=32, heads=2), 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return save_model(folder, model, tokenizer, info={"stage": "pretrain"}, card="")


def test_from_a_decoder_with_an_adapter_and_in_parts(tokenizer: Tokenizer, tmp_path: Path, capsys) -> None:
    base = decoder_base(tokenizer, tmp_path / "base")
    data = write_rows(tmp_path / "d.jsonl", sentences(60))
    words = ["classify", "--task", "tokens", "--data", data, "--dev", data, "--model", base, "--steps", 3, *FEW]
    words += ["--dropout", 0, "--dtype", "float32", "--context", 16]
    run(*words, "--out", tmp_path / "whole")
    assert "texts of --dev are also learned from" in capsys.readouterr().err
    run(*words, "--out", tmp_path / "parts", "--microbatch", "5")
    whole, parts = (load_classifier(tmp_path / name).model.state_dict() for name in ("whole", "parts"))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=2e-3, rtol=1e-2, msg=name)

    run(*words, "--out", tmp_path / "lora", "--lora.rank", "4")
    before, after = load_model(base).model.state_dict(), load_classifier(tmp_path / "lora").model.state_dict()
    changed = {name for name, tensor in after.items() if name in before and (tensor != before[name]).any()}
    assert changed and all(name.startswith("blocks.") and "norm" not in name for name in changed)
    assert after["classifier.output.weight"].shape == (5, 32)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "lora" / "model")
    assert type(theirs).__name__ == "Qwen3ForTokenClassification"


def test_crashed_and_started_again_ends_the_same(tmp_path: Path, monkeypatch) -> None:
    data = write_rows(tmp_path / "d.jsonl", sentences(40))
    words = ["classify", "--task", "tokens", "--data", data, "--depth", 1, "--steps", 6, "--batch", 8, "--context", 16]
    run(*words, *FEW, "--out", tmp_path / "calm")
    calls = []

    def crash(self: stage.TagLoss, model: Any, batch: Any) -> torch.Tensor:
        calls.append(model.training)
        if sum(calls) == 4:
            raise DodamError("stopped")
        return whole(self, model, batch)

    whole = stage.TagLoss.__call__
    with monkeypatch.context() as patch:
        patch.setattr(stage.TagLoss, "__call__", crash)
        assert cli.main([str(word) for word in [*words, *FEW, "--out", tmp_path / "torn"]]) == 1
    assert not (tmp_path / "torn" / "model").exists()
    run(*words, *FEW, "--out", tmp_path / "torn")
    one, two = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("calm", "torn"))
    assert one == two


def test_a_folder_that_transformers_trained_is_read(tokenizer: Tokenizer, tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=448, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=32, id2label={0: "O", 1: "B-PER", 2: "PER"}, pad_token_id=tokenizer.pad,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForTokenClassification(config).eval()
    model.save_pretrained(tmp_path / "bert")
    tokenizer.save(tmp_path / "bert")
    text = "Anna went there. 민수는 서울에서 살았다"
    (tmp_path / "in.txt").write_text(text, encoding="utf-8")
    run("predict", tmp_path / "bert", "--input", tmp_path / "in.txt", "--output", tmp_path / "o.jsonl", *FEW[:2])
    (found,) = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    (pieces,) = pieces_of(tokenizer, [text])
    ids = [tokenizer.token_id("<cls>"), *pieces.ids, tokenizer.token_id("<sep>")]
    with torch.inference_mode():
        numbers = model(torch.tensor([ids])).logits[0, 1:-1].argmax(-1).tolist()
    heads, last = [], 0
    for place, number in enumerate(numbers):
        if pieces.stands(place):
            heads += [place] if number == 1 or (number == 2 and last == 0) else []
            last = number
    assert [one["start"] for one in found["entities"]] == [pieces.starts[n] for n in heads] and heads
    assert {one["label"] for one in found["entities"]} == {"PER"}


PREDICT_HARMS: dict[str, tuple[str, str, list[str], int, str]] = {
    "an empty line": ("in.txt", "one\n\ntwo\n", [], 1, "in.txt:2: the text is empty"),
    "nothing": ("in.txt", "", [], 1, "holds no texts"),
    "no such column": ("in.jsonl", '{"text": "a"}\n', ["--columns", "text=body"], 2, "there is no column `body`"),
    "no column": ("in.jsonl", '{"body": "a"}\n', [], 2, "there is no column of texts"),
    "labels": ("in.txt", "one\n", ["--columns", "label=1"], 2, "label is nothing that is read here"),
}  # fmt: skip


def test_what_is_wrong_with_texts_is_one_message(tokenizer: Tokenizer, tmp_path: Path, monkeypatch, capsys) -> None:
    from dodam.exchange.heads import head_config, save_classifier
    from dodam.models.heads import add_head

    model: Any = build_decoder(decoder_config(vocabulary=448, context=64, depth=1, width=32, heads=2), 0)
    add_head(model, head_config(model.config, 3, problem="tokens"), 0)
    framed = with_template(tokenizer, "decoder")
    save_classifier(tmp_path / "m", model, framed, ["O", "B-A", "I-A"], "tokens", info={"format": 1}, card="")
    monkeypatch.chdir(tmp_path)
    for harm, (name, content, flags, code, message) in PREDICT_HARMS.items():
        (tmp_path / name).write_text(content)
        assert cli.main(["predict", "m", "--input", name, "--output", "o.jsonl", *FEW[:2], *flags]) == code, harm
        err = capsys.readouterr().err
        assert message in err and "mistake in dodam" not in err, harm
    assert not (tmp_path / "o.jsonl").exists()
