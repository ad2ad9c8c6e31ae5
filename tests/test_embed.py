"""Sentence embeddings: what is read, what is minimised and measured, against plain references; the whole of `dodam
embed` on small files; its folders against `transformers`; and everything that can be wrong with rows and flags."""

import json
import math
import random
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from dodam import cli
from dodam.data import triplets as reading
from dodam.data.skipped import Skipped
from dodam.data.triplets import Triplet, TripletBatch, TripletLoader, blocked, distinct_texts
from dodam.errors import DataError, DodamError, FolderError
from dodam.evaluate import similarity
from dodam.evaluate.ngrams import CharacterNgrams
from dodam.exchange.embedders import Layout, pooling_of, read_layout, write_layout
from dodam.folder import load, save_model
from dodam.generate.embedder import Embedder, load_embedder, start_embedder
from dodam.models.build import build_decoder, decoder_config
from dodam.models.encoder import build_encoder, encoder_config
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import fill_up, learn
from dodam.train import contrastive
from dodam.train.contrastive import InfoNCE, info_nce

FEW = ["--threads", "1", "--compile", "no", "--checkpoint-seconds", "0"]
THINGS = {
    "apple": "사과", "house": "집", "river": "강", "teacher": "선생님", "train": "기차", "bread": "빵",
    "winter": "겨울", "mountain": "산", "music": "음악", "letter": "편지", "doctor": "의사", "window": "창문",
}  # fmt: skip
PLAIN = ("the", "was", "there", "old", "new", "오늘", "그", "아주", "또", "다시")


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Two sentences about the same two things, in two scripts, in any order, among words that say nothing."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        things = rng.sample(sorted(THINGS), 2)
        sides = [[*things, *rng.choices(PLAIN, k=2)], [*(THINGS[one] for one in things), *rng.choices(PLAIN, k=2)]]
        found.append(tuple(" ".join(rng.sample(side, len(side))) for side in sides))
    return found


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    raw = learn([text for pair in pairs(300) for text in pair], 512, SPECIAL_TOKENS)
    fill_up(raw, 512)
    return Tokenizer(raw.to_str())


@pytest.fixture(scope="module")
def bases(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small encoder and a small decoder of ours, as model folders."""
    folder = tmp_path_factory.mktemp("bases")
    encoder = build_encoder(encoder_config(vocabulary=512, context=64, depth=2, width=32, heads=2), 0)
    decoder = build_decoder(decoder_config(vocabulary=512, context=64, depth=2, width=32, heads=2), 0)
    shake(encoder, decoder)
    for name, model in (("encoder", encoder), ("decoder", decoder)):
        save_model(folder / name, model, tokenizer, info={"stage": "pretrain"}, card="")
    return {"encoder": folder / "encoder", "decoder": folder / "decoder"}


def shake(*models: torch.nn.Module) -> None:
    """As after some training: no matrix is zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in chain.from_iterable(model.parameters() for model in models):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def run(*words: object) -> None:
    assert cli.main([str(word) for word in words]) == 0


def write_pairs(path: Path, count: int, seed: int = 0) -> Path:
    rows = [{"text": one, "text2": two} for one, two in pairs(count, seed)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_scores(path: Path, count: int = 40) -> Path:
    """Pairs whose score is the number of things they share, on a scale that people use."""
    rng = random.Random(3)
    lines = ["genre\tscore\tsentence1\tsentence2"]
    for one, two in pairs(count, seed=5):
        kept = [word for word in two.split() if rng.random() < 0.6] or ["집"]
        shared = sum(THINGS[word] in kept for word in one.split() if word in THINGS)
        lines.append(f"x\t{2.5 * shared:.3f}\t{one}\t{' '.join(kept)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path, columns: dict[str, str] | None = None, **values: Any) -> list[Triplet]:
    return reading.read_triplets(
        [str(path)], columns=columns or {}, encoding="utf-8", skipped=values.get("skipped", Skipped(False))
    )


# --- reading

NLI = [("sky", "blue sky", "entailment"), ("sky", "red", "contradiction"), ("sky", "high", "neutral"),
       ("sky", "a sky", "Entailment"), ("sea", "wet", "entailment"), ("sun", "cold", "contradiction"),
       ("sky", "green", "contradiction"), ("sun", "far", "-")]  # fmt: skip
GROUPED = [("sky", "blue sky", "red"), ("sky", "a sky", "green"), ("sea", "wet", None)]
FORMATS: dict[str, tuple[str, str, dict[str, str], list[tuple[str, str, str | None]]]] = {
    "pairs": ("a.csv", "id,text,text2\n1,a b,c\n2,d,e\n", {}, [("a b", "c", None), ("d", "e", None)]),
    "other names": ("a.jsonl", '{"anchor": "a", "Positive": "b", "negative": "c"}\n', {}, [("a", "b", "c")]),
    "triplets": ("a.tsv", "premise\tentailment\tcontradiction\na\tb\tc\n", {}, [("a", "b", "c")]),
    "nli": ("a.tsv", "sentence1\tsentence2\tgold_label\n" + "".join("\t".join(row) + "\n" for row in NLI), {}, GROUPED),
    "klue": (
        "a.json",
        json.dumps([{"premise": a, "hypothesis": b, "gold_label": c, "label2": "neutral"} for a, b, c in NLI]),
        {},
        GROUPED,
    ),
    "texts alone": ("a.jsonl", '{"title": "a", "topic": 3, "label": 1}\n', {}, [("a", "a", None)]),
    "lines": ("a.txt", "a b\n\nc\td\ne\tf\tg\n", {}, [("a b", "a b", None), ("c", "d", None), ("e", "f", "g")]),
    "by number": ("a.txt", "x\ta\tb\ny\tc\td\n", {"text": "2", "text2": "3"}, [("a", "b", None), ("c", "d", None)]),
    "only what is named": (
        "a.csv", "q,q2,label,negative\na,b,0,x\n", {"text": "q", "text2": "2"}, [("a", "b", None)]
    ),
    "named": ("a.csv", "q,r,kind\na,b,entailment\n", {"text": "q", "text2": "r", "label": "kind"}, [("a", "b", None)]),
    "composed": ("a.txt", "\u1112\u1161\ttwo\r\n", {}, [("\ud558", "two", None)]),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMATS)
def test_formats_are_found_out(case: str, tmp_path: Path) -> None:
    name, content, columns, expected = FORMATS[case]
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert [one[:3] for one in read(tmp_path / name, columns)] == expected


def test_all_rows_of_a_text_are_on_one_side_of_the_cut() -> None:
    rows = [Triplet(f"text {number % 50}", f"other {number}", None, "") for number in range(200)]
    learned, held_back = reading.split(rows, 0.3)
    assert learned and held_back and len(learned) + len(held_back) == 200
    assert not {one.anchor for one in learned} & {one.anchor for one in held_back}
    assert reading.fingerprint(rows) != reading.fingerprint([*rows[:-1], rows[-1]._replace(negative="x")])


def test_bad_rows_are_counted_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,text2\na,b\n,c\nd,\ne,f\n")
    skipped = Skipped(True)
    assert [one[:2] for one in read(tmp_path / "a.csv", skipped=skipped)] == [("a", "b"), ("e", "f")]
    assert skipped.count == 2 and "a.csv:3: the text is empty" in str(skipped)


# --- batches


def numbered(rows: list[Triplet], batch: int, seed: int = 0) -> TripletLoader:
    ids = {text: [number + 1] * (1 + number % 5) for number, text in enumerate(distinct_texts(rows))}
    return TripletLoader(rows, ids, batch=batch, pad=0, seed=seed)


def test_every_pass_has_each_triplet_once_and_a_batch_is_a_function_of_its_number() -> None:
    rows = [Triplet(f"a{n}", f"p{n}", f"n{n}" if n % 3 else None, "") for n in range(21)]
    loader = numbered(rows, 7, seed=5)
    numbers = {text: number + 1 for number, text in enumerate(distinct_texts(rows))}
    seen = []
    for step in range(9):
        batch = loader.batch(step)
        first = batch.ids_NT[:, 0].tolist()
        anchors, positives, negatives = first[:7], first[7:14], first[14:]
        texts = {number: text for text, number in numbers.items()}
        drawn = [texts[number] for number in anchors]
        assert [texts[number] for number in positives] == [f"p{text[1:]}" for text in drawn]
        assert [texts[n] for n in negatives] == [f"n{text[1:]}" for text in drawn if int(text[1:]) % 3]
        assert batch.blocked_BC.shape == (7, len(first) - 7) and batch.num_tokens == int((batch.ids_NT != 0).sum())
        seen.append(drawn)
    assert all(Counter(chain(*seen[first : first + 3])) == Counter(f"a{n}" for n in range(21)) for first in (0, 3, 6))
    assert seen[:3] != seen[3:6]
    assert torch.equal(numbered(rows, 7, seed=5).batch(8).ids_NT, loader.batch(8).ids_NT)
    assert numbered(rows, 64).batch_size == 21


def test_what_means_the_same_is_no_negative() -> None:
    """0-1 and 0-2 share their first text; 3 is a negative of both and the second text of 4; 1 is a text of its own."""
    rows = np.array([[0, 1, 3], [0, 2, -1], [4, 3, 5], [1, 6, -1], [7, 7, 0]])
    positives, negatives = [1, 2, 3, 6, 7], [3, 5, 0]
    for row, (anchor, own, _) in enumerate(rows):
        for column, candidate in enumerate([*positives, *negatives]):
            owner = rows[column][0] if column < len(rows) else None
            expected = candidate in (anchor, own) or owner == anchor
            assert blocked(rows)[row, column] == (expected and row != column)


# --- what is minimised


def naive_loss(vectors: np.ndarray, stopped: np.ndarray, temperature: float) -> float:
    """Term by term, in fp64 (Gao et al. 2021, eq. 5)."""
    count, total = len(stopped), 0.0
    for row in range(count):
        scores = []
        for column in range(len(vectors) - count):
            one, two = vectors[row].astype(float), vectors[count + column].astype(float)
            scores.append(one @ two / math.sqrt((one @ one) * (two @ two)) / temperature)
        kept = [score for column, score in enumerate(scores) if not stopped[row, column]]
        total += math.log(sum(map(math.exp, kept))) - scores[row]
    return total


@pytest.mark.parametrize("num_negatives", [0, 3])
def test_the_loss_is_the_one_of_the_definition(num_negatives: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12 + num_negatives, 8)).astype(np.float32)
    stopped = rng.random((6, 6 + num_negatives)) < 0.2
    np.fill_diagonal(stopped, False)
    got = info_nce(torch.from_numpy(vectors), torch.from_numpy(stopped), 0.2)
    assert float(got) == pytest.approx(naive_loss(vectors, stopped, 0.2), rel=1e-5)


def test_dimensions_are_trained_each_as_much_as_the_whole(bases: dict[str, Path]) -> None:
    model = load(bases["encoder"], ("encoder",)).model
    batch = numbered([Triplet(f"a{n}", f"p{n}", None, "") for n in range(6)], 6).batch(0)
    objective = InfoNCE(temperature=0.1, pooling="mean", dimensions=(8, 4))
    vectors = objective.vectors(model, batch).detach()
    losses = [info_nce(vectors[:, :size], batch.blocked_BC, 0.1) for size in (32, 8, 4)]
    torch.testing.assert_close(objective(model, batch), torch.stack(losses).mean())


def gradients(model: Any, batch: TripletBatch, objective: InfoNCE, seed: int = 0) -> tuple[float, dict[str, Any]]:
    model.train().zero_grad()
    torch.manual_seed(seed)
    loss = objective(model, batch) / objective.weight(batch)
    loss.backward()
    return float(loss.detach()), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def mixed_batch() -> TripletBatch:
    return numbered([Triplet(f"a{n}", f"p{n}", f"n{n}" if n % 2 else None, "") for n in range(10)], 10).batch(0)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("microbatch", [1, 4, 7, 100])
def test_the_gradient_of_parts_is_that_of_the_whole_batch(kind: str, microbatch: int, bases: dict[str, Path]) -> None:
    model = load(bases[kind], (kind,)).model
    whole = gradients(model, mixed_batch(), InfoNCE(temperature=0.05, pooling="mean"))
    parts = gradients(model, mixed_batch(), InfoNCE(temperature=0.05, pooling="mean", microbatch=microbatch))
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert parts[1].keys() == whole[1].keys() and "embedding.weight" in whole[1]
    for name, gradient in whole[1].items():
        torch.testing.assert_close(parts[1][name], gradient, atol=2e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("microbatch", [None, 3])
def test_the_gradients_of_shares_add_up_to_that_of_the_whole_batch(
    microbatch: int | None, bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ranks compute them, each given what all of them computed; by size, as texts of a share stand side by side."""
    model, batch, parts = load(bases["encoder"], ("encoder",)).model, mixed_batch(), 3
    objective = InfoNCE(temperature=0.05, pooling="mean", dimensions=(8,), microbatch=microbatch)
    all_ND = objective.vectors(model.train(), batch).detach()
    monkeypatch.setattr("dodam.train.distributed.summed", lambda _: all_ND.clone())
    shares = [replace(batch, share=(part, parts)) for part in range(parts)]
    assert sum(map(objective.weight, shares)) == pytest.approx(objective.weight(batch))
    assert sum(one.num_tokens for one in shares) == batch.num_tokens
    assert sorted(torch.cat([one.computed for one in shares]).tolist()) == list(range(len(batch.ids_NT)))
    found = [gradients(model, one, objective) for one in shares]  # each over the weight of its share
    monkeypatch.undo()
    loss, whole = gradients(model, batch, objective)
    assert sum(loss for loss, _ in found) / parts == pytest.approx(loss, rel=1e-5)
    for name, gradient in whole.items():
        summed = sum(of_share[name] for _, of_share in found) / parts
        torch.testing.assert_close(summed, gradient, atol=2e-5, rtol=1e-3, msg=name)


def set_dropout(model: Any, share: float) -> Any:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
    return model


def test_what_a_part_drops_it_drops_again_when_its_gradient_is_taken(
    bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit the gradient of the same parts computed once."""
    model = set_dropout(load(bases["encoder"], ("encoder",)).model, 0.2)
    monkeypatch.setattr(contrastive, "AT_ONCE", 4)
    once = gradients(model, mixed_batch(), InfoNCE(temperature=0.05, pooling="mean"))
    again = gradients(model, mixed_batch(), InfoNCE(temperature=0.05, pooling="mean", microbatch=4))
    other = gradients(model, mixed_batch(), InfoNCE(temperature=0.05, pooling="mean", microbatch=4), seed=1)
    assert once[0] == again[0] != other[0]
    assert all(torch.equal(again[1][name], gradient) for name, gradient in once[1].items())


def kept_bytes(model: Any, objective: InfoNCE, batch: TripletBatch) -> int:
    """What a loss holds of activations until its gradient is taken."""
    seen: dict[int, int] = {}
    ours = {parameter.data_ptr() for parameter in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in ours:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = objective(model, batch)  # held, so that no storage is used twice
    assert loss.requires_grad
    return sum(seen.values())


def test_of_a_part_only_its_vectors_are_kept(bases: dict[str, Path]) -> None:
    model = load(bases["encoder"], ("encoder",)).model.train()
    batch = mixed_batch()
    whole = kept_bytes(model, InfoNCE(temperature=0.05, pooling="mean"), batch)
    parts = kept_bytes(model, InfoNCE(temperature=0.05, pooling="mean", microbatch=5), batch)
    assert parts < whole / 10


def test_dropout_is_off_unless_asked_for_and_then_a_function_of_the_seed(bases: dict[str, Path]) -> None:
    model = load(bases["encoder"], ("encoder",)).model
    ids = torch.arange(200, 220)[None]
    with torch.no_grad():
        calm = model.eval()(ids)
        assert torch.equal(model.train()(ids), calm)
        set_dropout(model, 0.3)
        drawn = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            drawn.append(model(ids))
        assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
        assert torch.equal(model.eval()(ids), calm)
        # Embeddings too: without any block something is dropped.
        model.blocks = torch.nn.ModuleList()
        assert not torch.equal(model.train()(ids), model.eval()(ids))


# --- measures


def test_character_ngrams_are_those_of_scikit_learn() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    texts = [*dict.fromkeys(text for pair in pairs(25) for text in pair), "  two   blanks ", "a"]
    reference = text.TfidfVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False)
    vectors = reference.fit_transform([" ".join(one.split()) for one in texts]).toarray()
    ours = CharacterNgrams(texts)
    np.testing.assert_allclose(ours.table(texts[:20], texts[10:]), vectors[:20] @ vectors[10:].T, atol=1e-12)
    np.testing.assert_allclose(ours.cosines(texts[:20], texts[5:25]), (vectors[:20] * vectors[5:25]).sum(1), atol=1e-12)
    assert CharacterNgrams(["abc"]).cosines(["xyz"], ["abc"]) == [0.0]  # nothing that was counted


class Table:
    """Likeness that is given."""

    def __init__(self, cosines: np.ndarray, table: np.ndarray) -> None:
        self.given = cosines, table

    def cosines(self, one: Any, two: Any) -> np.ndarray:
        return self.given[0]

    def table(self, queries: Any, candidates: Any) -> np.ndarray:
        return self.given[1]


def test_spearman_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, 60).astype(float)
    cosines = (scores + 2 * rng.normal(size=60)).round(1)
    scored = similarity.Scored("sts", ["a"] * 60, ["b"] * 60, scores)
    (row,) = similarity.rows_of("m", Table(cosines, np.zeros((0, 0))), [scored], None, 0)
    assert row["value"] == pytest.approx(stats.spearmanr(cosines, scores).statistic)
    assert row["low"] < row["value"] < row["high"] and row["n"] == 60 and row["task"] == "sts"


def test_places_are_counted_among_what_means_something_else() -> None:
    rows = [Triplet("a", "p", "n", ""), Triplet("a", "q", None, ""), Triplet("b", "r", None, ""),
            Triplet("c", "c", None, ""), Triplet("p", "s", None, "")]  # fmt: skip
    search = similarity.Search.of(rows)
    assert search is not None
    assert list(search.queries) == ["a", "a", "b", "p"] and list(search.candidates) == ["p", "q", "r", "s", "n"]
    table = np.random.default_rng(1).integers(0, 4, (4, 5)) / 4
    excused = [{1}, {0}, set(), {0}]  # the other second text of `a`; and `p` itself, for the query `p`
    for row, place in enumerate(similarity.places_of(search, table)):
        right = search.right_Q[row]
        others = [table[row, c] for c in range(5) if c != right and c not in excused[row]]
        ahead = sum(value > table[row, right] for value in others)
        tied = sum(value == table[row, right] for value in others)
        assert place == 1 + ahead + tied / 2
    flat = similarity.places_of(search, np.ones((4, 5)))
    assert flat.tolist() == [2.5, 2.5, 3.0, 2.5], "a model that says the same of everything finds nothing"
    measured = {row["metric"]: row for row in similarity.rows_of("m", Table(np.zeros(0), table), [], search, 0)}
    places = similarity.places_of(search, table)
    assert measured["accuracy@1"]["value"] == np.mean(places <= 1)
    assert measured["mrr"]["value"] == pytest.approx(np.mean(1 / places))
    assert measured["accuracy@10"]["value"] == 1.0 and measured["accuracy@10"]["low"] < 1.0
    assert similarity.Search.of([Triplet("a", "a", None, "")] * 3) is None


def test_vectors_are_computed_once_and_cut() -> None:
    asked: list[str] = []

    def embed(texts: Any) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), 2.0, 0.5] for text in texts])

    vectors = similarity.Vectors(embed)
    assert vectors.cosines(["a", "bb"], ["a", "a"]) == pytest.approx([1.0, 6.25 / math.sqrt(8.25 * 5.25)])
    assert vectors.cut_to(2).table(["a"], ["bb"])[0, 0] == pytest.approx(6 / math.sqrt(5 * 8))
    assert asked == ["a", "bb"]


# --- the folder


def test_layout_is_written_and_read(tmp_path: Path) -> None:
    for pooling, normalized in (("mean", True), ("cls", False), ("last", True)):
        write_layout(tmp_path, Layout(pooling, normalized, 77), 32, {"pytorch": "2"})  # type: ignore[arg-type]
        assert read_layout(tmp_path) == Layout(pooling, normalized, 77)  # type: ignore[arg-type]
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert modules[0] == {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    assert modules[1] == {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    assert [one["path"] for one in modules] == ["", "1_Pooling", "2_Normalize"]
    pooling_config = json.loads((tmp_path / "1_Pooling" / "config.json").read_text())
    assert pooling_config["word_embedding_dimension"] == 32
    switched = {key for key, value in pooling_config.items() if key.startswith("pooling_mode") and value}
    assert switched == {"pooling_mode_lasttoken"} and len(pooling_config) == 8
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text()) == {
        "max_seq_length": 77, "do_lower_case": False,
    }  # fmt: skip
    assert json.loads((tmp_path / "config_sentence_transformers.json").read_text())["prompts"] == {}


LAYOUTS: dict[str, tuple[str, Any, str]] = {
    "a dense layer": ("modules.json", [{"path": "", "type": "m.Transformer"}, {"path": "2_Dense", "type": "m.Dense"}],
                      "not known here (Dense)"),
    "no pooling": ("modules.json", [{"path": "", "type": "m.Transformer"}], "has the modules Transformer, not"),
    "elsewhere": ("modules.json", [{"path": "0_Transformer", "type": "m.Transformer"},
                                   {"path": "1_Pooling", "type": "m.Pooling"}], "not a transformer beside it"),
    "torn": ("modules.json", "[{", "cannot be read"),
    "two poolings": ("1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
                     "pooling_mode_cls_token, pooling_mode_mean_tokens is not known"),
    "the largest": ("1_Pooling/config.json", {"pooling_mode": "max"}, "the pooling max is not known"),
    "a prompt": ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "puts a prompt"),
    "small letters": ("sentence_bert_config.json", {"do_lower_case": True}, "lower-cases"),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS)
def test_folders_whose_vectors_would_be_others_are_refused(case: str, tmp_path: Path) -> None:
    write_layout(tmp_path, Layout("mean", True, 64), 32, {})
    name, content, message = LAYOUTS[case]
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(FolderError) as caught:
        read_layout(tmp_path)
    assert message in str(caught.value)


def test_newer_names_of_poolings_are_read() -> None:
    where = Path("x")
    assert pooling_of({"pooling_mode": "lasttoken", "embedding_dimension": 3}, where) == "last"
    assert pooling_of({"pooling_mode": ["cls"]}, where) == "cls"
    assert pooling_of({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, where) == "mean"


def their_vectors(folder: Path, texts: list[str], pooling: str) -> np.ndarray:
    """What the layout says, done with `transformers` alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    limit = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state
    real = inputs["attention_mask"][..., None].float()
    if pooling == "mean":
        pooled = (hidden * real).sum(1) / real.sum(1)
    else:
        places = {"cls": torch.zeros(len(texts), dtype=torch.long), "last": inputs["attention_mask"].sum(1) - 1}
        pooled = hidden[torch.arange(len(texts)), places[pooling]]
    return torch.nn.functional.normalize(pooled, dim=-1).numpy()


def foreign(folder: Path, kind: str) -> Path:
    """A folder as others save it: a BERT with its template, a GPT-2 without any and without a token for padding."""
    from tokenizers import Tokenizer as Raw
    from tokenizers import models, pre_tokenizers, processors

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "<|endoftext|>",
        *sorted({*THINGS, *THINGS.values(), *PLAIN}),
    ]
    raw = Raw(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    settings: dict[str, Any] = {"unk_token": "[UNK]"}
    if kind == "bert":
        raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        raw.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "cls_token": "[CLS]"}
        settings |= {"sep_token": "[SEP]", "mask_token": "[MASK]"}
        model: Any = transformers.BertForMaskedLM(
            transformers.BertConfig(
                vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                intermediate_size=48, max_position_embeddings=32, pad_token_id=0,
            )
        )  # fmt: skip
    else:
        raw.add_special_tokens(["<|endoftext|>"])
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "add_bos_token": False}
        model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=len(words), n_embd=32, n_layer=2, n_head=2, n_positions=32, bos_token_id=5, eos_token_id=5
            )
        )
    model.save_pretrained(folder)
    raw.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


# --- the whole stage


def report_rows(out: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    rows = json.loads((out / "report.json").read_text(encoding="utf-8"))["rows"]
    return {(row["model"], row["task"], row["metric"]): row for row in rows}


def test_pairs_are_found_again_and_scores_follow_people(bases: dict[str, Path], tmp_path: Path, capsys) -> None:
    data, sts = write_pairs(tmp_path / "pairs.jsonl", 360), write_scores(tmp_path / "sts-toy.tsv")
    out = tmp_path / "run"
    words = ["embed", "--data", data, "--sts", sts, "--model", bases["encoder"], "--out", out, "--epochs", 12, *FEW]
    words += ["--batch", 32, "--dimensions", "16", "--dropout", "0.05", "--context", 16]
    run(*words)
    err = capsys.readouterr().err
    assert "pairs learned from" in err and "held back" in err
    rows = report_rows(out)
    models = ["run", "run, first 16", "the start", "character n-grams"]
    assert list(dict.fromkeys(model for model, _, _ in rows)) == models
    for task, metric in (("retrieval", "accuracy@1"), ("retrieval", "mrr"), ("sts-toy", "spearman")):
        values = [rows[model, task, metric]["value"] for model in models]
        assert values[0] > max(values[2:]) + 0.2, (task, metric, values)
        assert values[1] > max(values[2:]), (task, metric, values)
    own = rows["run", "retrieval", "accuracy@1"]
    assert own["low"] < own["value"] <= own["high"] and own["n"] == rows["the start", "retrieval", "mrr"]["n"]
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "| sts-toy | spearman | 40 |" in report and "furthest from what people say" in report
    assert (out / "loss.png").stat().st_size > 1000 and "Step" in (out / "samples.md").read_text()

    run(*words, "--json")
    captured = capsys.readouterr()
    assert "already done" in captured.err
    assert json.loads(captured.out)["retrieval accuracy@1"] == own["value"]

    # The folder elsewhere, and here from the command line.
    texts = [text for pair in pairs(12, seed=9) for text in pair]
    embedder = load_embedder(out)
    vectors, num_cut = embedder.embed(texts)
    assert embedder.pooling == "mean" and num_cut == 0
    np.testing.assert_allclose(vectors, their_vectors(out / "model", texts, "mean"), atol=1e-5)
    (tmp_path / "in.txt").write_text("\n".join([*texts, "apple " * 40]), encoding="utf-8")
    run("predict", out, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl", "--batch", "5",
        "--threads", "1")  # fmt: skip
    assert "1 texts are longer than 16 tokens and were cut" in capsys.readouterr().err
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(found) == 25 and all(one.keys() == {"embedding"} for one in found)
    np.testing.assert_allclose([one["embedding"] for one in found[:-1]], vectors, atol=1e-5)
    assert np.linalg.norm([one["embedding"] for one in found], axis=1) == pytest.approx(np.ones(25), abs=1e-5)


def test_what_predict_writes_is_every_bit_of_a_vector(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    loaded = load(bases["encoder"], ("encoder",))
    save_model(folder, loaded.model, loaded.tokenizer, info={}, card="")
    write_layout(folder, Layout("mean", False, 64), 32, {})
    (tmp_path / "in.txt").write_text("apple was there\n")
    run("predict", folder, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl", "--threads", "1")
    written = json.loads((tmp_path / "out.jsonl").read_text())["embedding"]
    vectors, _ = load_embedder(folder).embed(["apple was there"])
    assert np.array_equal(np.array(written, dtype=np.float32), vectors[0])
    assert np.linalg.norm(vectors[0]) != pytest.approx(1.0, abs=1e-3), "this one is not normalised"


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_company_and_padding_change_no_vector(kind: str, bases: dict[str, Path]) -> None:
    embedder = start_embedder(bases[kind])
    texts = [*(one for one, _ in pairs(20)), "apple", "apple " * 20]
    together, _ = embedder.embed(texts, batch=22)
    for row, text in enumerate(texts):
        np.testing.assert_allclose(embedder.embed([text])[0][0], together[row], atol=1e-5)


TUNINGS: dict[str, tuple[str, list[object]]] = {
    "lora": ("decoder", ["--lora.rank", 4, "--lora.dropout", 0.1, "--microbatch", 5]),
    "frozen": ("encoder", ["--freeze", "embedding*", "--freeze", "blocks.0.*"]),
    "layer decay": ("decoder", ["--layer-decay", 0.5, "--pooling", "mean"]),
    "first token": ("encoder", ["--pooling", "cls", "--microbatch", 4]),
}


@pytest.mark.parametrize("tuning", TUNINGS)
def test_texts_alone_in_every_way_of_tuning(tuning: str, bases: dict[str, Path], tmp_path: Path, capsys) -> None:
    kind, flags = TUNINGS[tuning]
    (tmp_path / "texts.txt").write_text("\n".join(one for one, _ in pairs(60)), encoding="utf-8")
    out = tmp_path / "run"
    words = ["embed", "--data", tmp_path / "texts.txt", "--model", bases[kind], "--out", out, "--steps", 4]
    run(*words, "--batch", 8, *flags, *FEW, "--json")
    captured = capsys.readouterr()
    assert "texts alone learned from" in captured.err
    result = json.loads(captured.out.splitlines()[-1])
    assert result["validation"] > 0 and not report_rows(out)
    assert "Nothing was measured" in (out / "report.md").read_text()
    before, after = load(bases[kind], (kind,)).model.state_dict(), load(out, (kind,)).model.state_dict()
    changed = {name for name, tensor in after.items() if (tensor != before[name]).any()}
    head = {"output.weight"} if kind == "decoder" else {"output.bias", "dense.weight", "head_norm.weight"}
    assert changed and not changed & head, "what fills masks in or goes on with a text stays"
    if tuning == "lora":
        assert all(name.startswith("blocks.") and "norm" not in name for name in changed)
        assert (out / "adapter" / "adapter_model.safetensors").is_file()
    if tuning == "frozen":
        assert not any(name.startswith(("embedding", "blocks.0.")) for name in changed)
    pooling = {"lora": "last", "frozen": "mean", "layer decay": "mean", "first token": "cls"}[tuning]
    texts = [text for pair in pairs(6, seed=4) for text in pair]
    np.testing.assert_allclose(
        load_embedder(out).embed(texts)[0], their_vectors(out / "model", texts, pooling), atol=1e-5
    )


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_what_others_trained_is_gone_on_with(kind: str, tmp_path: Path, capsys) -> None:
    """Also with tokenizers of their own, and a run of `embed` with what it was made with."""
    base = foreign(tmp_path / kind, kind)
    rows = ["premise\thypothesis\tlabel"]
    for number, (one, two) in enumerate(pairs(60)):
        rows += [f"{one}\t{two}\tentailment", f"{one}\t{pairs(1, seed=number + 100)[0][1]}\tcontradiction"]
    (tmp_path / "nli.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    words = ["embed", "--data", tmp_path / "nli.tsv", "--steps", 3, "--batch", 16, *FEW]
    pooling = "cls" if kind == "bert" else "last"
    run(*words, "--model", base, "--out", tmp_path / "run", *(["--pooling", "cls"] if kind == "bert" else []))
    assert "triplets learned from" in capsys.readouterr().err
    run(*words, "--model", tmp_path / "run", "--out", tmp_path / "more")
    texts = [text for pair in pairs(6, seed=4) for text in pair] + ["apple " * 40]
    for out in ("run", "more"):
        embedder = load_embedder(tmp_path / out)
        assert embedder.pooling == pooling and embedder.context == 32
        vectors, num_cut = embedder.embed(texts)
        assert num_cut == 1
        np.testing.assert_allclose(vectors, their_vectors(tmp_path / out / "model", texts, pooling), atol=1e-5)
    first = load_embedder(tmp_path / "run").tokenizer.raw.encode("apple", add_special_tokens=True).tokens
    assert first == (["[CLS]", "apple", "[SEP]"] if kind == "bert" else ["<|endoftext|>", "apple", "<|endoftext|>"])
    starts = [report_rows(tmp_path / out)["the start", "retrieval", "mrr"]["value"] for out in ("run", "more")]
    assert starts[1] == pytest.approx(report_rows(tmp_path / "run")["run", "retrieval", "mrr"]["value"])


def test_microbatches_change_nothing_of_a_run(bases: dict[str, Path], tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl", 40)
    words = ["embed", "--data", data, "--model", bases["encoder"], "--steps", 3, "--dropout", 0, "--batch", 12, *FEW]
    words += ["--dtype", "float32"]
    run(*words, "--out", tmp_path / "whole")
    run(*words, "--out", tmp_path / "parts", "--microbatch", 5)
    whole, parts = (load(tmp_path / name, ("encoder",)).model.state_dict() for name in ("whole", "parts"))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=2e-3, rtol=1e-2, msg=name)


def test_a_run_stopped_before_its_report_is_finished(bases: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    data, out = write_pairs(tmp_path / "pairs.jsonl", 40), tmp_path / "run"
    words = ["embed", "--data", data, "--model", bases["encoder"], "--out", out, "--steps", 2, *FEW]

    def stopped(*_: object, **__: object) -> None:
        raise DodamError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(similarity, "write", stopped)
        assert cli.main([str(word) for word in words]) == 1
    before = (out / "model" / "model.safetensors").read_bytes()
    run(*words)
    assert (out / "model" / "model.safetensors").read_bytes() == before
    assert ("run", "retrieval", "mrr") in report_rows(out)


PAIRS = "text\ttext2\n" + "".join(f"one {n}\tother {n}\n" for n in range(30))
HARMS: dict[str, tuple[str, list[str], int, str]] = {
    "an empty text": (PAIRS + "\tb\n", [], 1, "in.tsv:32: the text is empty"),
    "an empty second text": (PAIRS + "a\t\n", [], 1, "in.tsv:32: the second text is empty"),
    "a score for a label": (
        "sentence1\tsentence2\tscore\na\tb\t3.8\n", [], 1, "in.tsv:2: the label '3.8' does not say whether two texts"
    ),
    "no entailment": ("sentence1\tsentence2\tlabel\na\tb\tneutral\n", [], 1, "in.tsv: nothing means the same as"),
    "no column": ("body\tkind\na\tb\n", [], 2, "no column of texts. Name it: --columns text=NAME. There are `b"),
    "no such column": (PAIRS, ["--columns", "text=text", "--columns", "text2=b"], 1, "there is no column `b`"),
    "texts not named": (PAIRS, ["--columns", "text2=text2"], 2, "only what is named is read"),
    "a label of nothing": (PAIRS, ["--columns", "text=text", "--columns", "label=text2"], 2, "a label is about two"),
    "unknown role": (PAIRS, ["--columns", "source=text"], 2, "source is nothing a row has"),
    "one text only": ("text\ttext2\na\tb\na\tc\n", ["--validation", "0.0001"], 1, "a batch needs another row"),
    "nothing to tell apart": ("text\na\nb\nc\nd\n", ["--dropout", "0"], 2, "told from each other by dropout"),
    "empty": ("text\ttext2\n", [], 1, "holds no texts"),
    "too long": (PAIRS, ["--context", "65"], 2, "the model reads 64 tokens at most"),
    "too many dimensions": (PAIRS, ["--dimensions", "32"], 2, "the vector has 32 numbers"),
    "no dimension": (PAIRS, ["--dimensions", "0"], 2, "must be greater than 0"),
    "too many bounds": (PAIRS, ["--steps", "2", "--epochs", "1"], 2, "bound the same run"),
    "held back twice": (PAIRS, ["--dev", "in.tsv", "--validation", "0.2"], 2, "name the held-back rows"),
    "no adapter": (PAIRS, ["--lora.alpha", "4"], 2, "there is no adapter without a rank"),
    "no scores": (PAIRS, ["--sts", "in.tsv"], 2, "there is no column of labels"),
    "one score": (PAIRS, ["--sts", "same.tsv"], 1, "same.tsv: all rows have one score"),
    "a row too short": (PAIRS + "text\n", [], 1, "in.tsv:32: has 1 fields"),
    "a file that is not there": (PAIRS, ["--dev", "nowhere.tsv"], 1, "there is no such file or folder"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_wrong_is_one_message_and_no_model_is_written(
    harm: str, bases: dict[str, Path], tmp_path: Path, monkeypatch, capsys
) -> None:
    content, flags, code, message = HARMS[harm]
    (tmp_path / "in.tsv").write_text(content)
    (tmp_path / "same.tsv").write_text("score\tsentence1\tsentence2\n1\ta\tb\n1\tc\td\n")
    monkeypatch.chdir(tmp_path)
    words = ["embed", "--data", "in.tsv", "--out", "out", "--model", str(bases["encoder"]), *FEW, *flags]
    assert cli.main(words) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err and "mistake in dodam" not in err
    assert not (tmp_path / "out" / "model").exists()


def test_models_of_another_kind_are_refused_by_name(bases: dict[str, Path], tmp_path: Path, capsys) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl", 20)
    base = tmp_path / "moe"
    transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            vocab_size=512, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
            intermediate_size=48, num_local_experts=2, num_experts_per_tok=1, max_position_embeddings=64,
        )
    ).save_pretrained(base)  # fmt: skip
    load(bases["decoder"], ("decoder",)).tokenizer.save(base)
    words = ["embed", "--data", data, "--out", tmp_path / "out", *FEW]
    assert cli.main([str(word) for word in [*words, "--model", base]]) == 2
    assert "mixtures of experts are not trained for embeddings" in capsys.readouterr().err
    assert cli.main([str(word) for word in [*words, "--model", tmp_path / "none"]]) == 1
    assert "there is no such folder" in capsys.readouterr().err


def test_held_back_rows_named_by_themselves_are_looked_for(bases: dict[str, Path], tmp_path: Path, capsys) -> None:
    data, dev = write_pairs(tmp_path / "pairs.jsonl", 30), write_pairs(tmp_path / "dev.jsonl", 8)
    words = ["embed", "--data", data, "--dev", dev, "--model", bases["encoder"], "--out", tmp_path / "run"]
    run(*words, "--steps", 2, *FEW)
    assert "8 of 8 rows of --dev have a text learned from" in capsys.readouterr().err
    assert report_rows(tmp_path / "run")["run", "retrieval", "mrr"]["n"] == 8


def test_an_embedder_is_what_its_folder_says(bases: dict[str, Path]) -> None:
    start = start_embedder(bases["decoder"])
    assert isinstance(start, Embedder) and start.pooling == "mean" and start.normalized and start.context == 64
    with pytest.raises(FolderError, match="cannot be read"):
        load_embedder(bases["decoder"])
    with pytest.raises(DataError, match="holds no texts"):
        reading.read_triplets([], columns={}, encoding="utf-8", skipped=Skipped(False))
