"""Sequence to sequence: the loss against a naive one, batches, framing, and stories through the command: what is
learned, what `transformers` makes of the folder, and everything that can be wrong with pairs."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from tokenizers import processors

from dodam import cli
from dodam.data.batch import IGNORED
from dodam.data.pairs import (
    EncodedPair,
    PairBatch,
    PairLoader,
    encode_pairs,
    framed_tokenizer,
    framing,
    is_held_back,
    padded_batch,
    pairs_of,
)
from dodam.errors import DataError
from dodam.folder import load
from dodam.generate.beam import BeamParams, beam_search
from dodam.models.encoder_decoder import EncoderDecoder, build_encoder_decoder, encoder_decoder_config
from dodam.nn.mask import padding_mask
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import learn
from dodam.train.label_smoothing import SmoothedCrossEntropy

ENGLISH = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
GERMAN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]
KOREAN = ["하나", "둘", "셋", "넷", "다섯", "여섯", "일곱", "여덟", "아홉", "열"]


def numbers(count: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """Numbers in words: English, German, Korean."""
    rng = random.Random(seed)
    rows = [[rng.randrange(10) for _ in range(rng.randint(2, 5))] for _ in range(count)]
    return [tuple(" ".join(words[n] for n in row) for words in (ENGLISH, GERMAN, KOREAN)) for row in rows]  # type: ignore[misc]


def small_tokenizer(folder: Path) -> Tokenizer:
    """A byte-level BPE of ours for these words."""
    raw = learn([" ".join(row) for row in numbers(200)], 512, SPECIAL_TOKENS)
    tokenizer = Tokenizer(raw.to_str())
    folder.mkdir(parents=True)
    tokenizer.save(folder)
    return tokenizer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs in every form, and a tokenizer."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = numbers(400)
    (folder / "a.en").write_text("".join(f"{row[0]}\n" for row in rows), encoding="utf-8")
    with gzip.open(folder / "a.de.gz", "wt", encoding="utf-8") as file:
        file.write("".join(f"{row[1]}\n" for row in rows))
    lines = [json.dumps({"en": row[0], "de": row[1]}, ensure_ascii=False) + "\n" for row in rows]
    (folder / "a.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "a.tsv").write_text("src\tko\n" + "".join(f"{row[0]}\t{row[2]}\n" for row in rows), encoding="utf-8")
    small_tokenizer(folder / "tokenizer")
    return folder


def run(capsys: pytest.CaptureFixture, *words: object) -> dict[str, Any]:
    code = cli.main([*map(str, words), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return {**json.loads(out.splitlines()[-1]), "told": err}


def small_model(vocabulary: int = 60, **sizes: Any) -> EncoderDecoder:
    """A random model in which everything matters, the logits' bias too."""
    config = encoder_decoder_config(
        vocabulary=vocabulary, context=64, start_id=1, **{"depth": 2, "width": 16, "heads": 2, **sizes}
    )
    model = build_encoder_decoder(config, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in [*model.parameters(), model.logits_bias]:
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return model


def random_pairs(count: int, vocabulary: int = 60, longest: int = 20) -> list[EncodedPair]:
    rng = random.Random(2)

    def side() -> Any:
        ids = [rng.randrange(3, vocabulary) for _ in range(rng.randint(1, longest))]
        return torch.tensor([*ids, 2], dtype=torch.int32).numpy()

    return [EncodedPair(side(), side()) for _ in range(count)]


COMPILING = pytest.mark.filterwarnings("ignore")  # of torch, as it compiles


def naive_loss(model: EncoderDecoder, batch: PairBatch, smoothing: float) -> torch.Tensor:
    """The sum over target tokens of -sum_v q_v log p_v, in float64, from all logits at once."""
    logits = model.head(model(batch.source_BS, batch.target_BT, padding_mask(batch.real_BS))).double()
    total = torch.zeros((), dtype=torch.float64)
    for row in range(logits.shape[0]):
        for place, label in enumerate(batch.labels_BT[row].tolist()):
            if label != IGNORED:
                wanted = torch.full((logits.shape[-1],), smoothing / logits.shape[-1], dtype=torch.float64)
                wanted[label] += 1 - smoothing
                total = total - (wanted * logits[row, place].log_softmax(-1)).sum()
    return total


@pytest.mark.parametrize(
    ("smoothing", "compiled"),
    [(0.0, False), (0.1, False), (0.4, False), pytest.param(0.1, True, marks=[pytest.mark.slow, COMPILING])],
)
def test_the_loss_and_its_gradients_are_those_of_a_naive_one(smoothing: float, compiled: bool, monkeypatch) -> None:
    monkeypatch.setattr("dodam.train.objective.CHUNK", 7)  # several chunks, the last one not full
    batch = padded_batch(random_pairs(6), pad=0, start=1)
    model, reference = small_model(), small_model().double()
    loss = SmoothedCrossEntropy(smoothing, compiled=compiled)(model, batch)
    expected = naive_loss(reference, batch, smoothing)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    expected.backward()
    for (name, parameter), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad.double(), other.grad, atol=2e-4, rtol=1e-4, msg=name)


@torch.no_grad()
def test_a_pair_costs_the_same_alone_and_among_others_and_in_parts() -> None:
    objective, model, pairs = SmoothedCrossEntropy(0.1), small_model(), random_pairs(9)
    together = padded_batch(pairs, pad=0, start=1)
    alone = [padded_batch([pair], pad=0, start=1) for pair in pairs]
    assert objective.weight(together) == sum(len(pair.target) for pair in pairs)
    whole = float(objective(model, together))
    assert whole == pytest.approx(sum(float(objective(model, batch)) for batch in alone), rel=1e-5)
    assert whole == pytest.approx(sum(float(objective(model, part)) for part in together.split(2)), rel=1e-5)
    odd = padded_batch(pairs, pad=5, start=1)  # what stands in the padding is nobody's business
    assert float(objective(model, odd)) == pytest.approx(whole, rel=1e-6)


def test_a_batch_says_what_is_read_and_what_is_written() -> None:
    one, two = random_pairs(2)
    batch = padded_batch([one, two], pad=0, start=1)
    for row, pair in enumerate((one, two)):
        source, target = pair.source.tolist(), pair.target.tolist()
        assert batch.source_BS[row][batch.real_BS[row]].tolist() == source
        assert batch.target_BT[row, : len(target)].tolist() == [1, *target[:-1]]
        assert batch.labels_BT[row].tolist() == target + [IGNORED] * (batch.labels_BT.shape[1] - len(target))


@pytest.mark.parametrize(("batch_tokens", "most_pairs"), [(64, None), (200, None), (200, 4), (5, None)])
def test_every_pass_has_every_pair_once_in_batches_that_fit(batch_tokens: int, most_pairs: int | None) -> None:
    pairs = random_pairs(100)
    making = {"batch_tokens": batch_tokens, "pad": 0, "start": 1, "most_pairs": most_pairs}
    loader = PairLoader(pairs, **making, seed=3)
    passes = [loader.batches(epoch) for epoch in range(3)]
    for batches in passes:
        assert sorted(item for batch in batches for item in batch.tolist()) == list(range(100))
        for items in batches:
            longest = max(max(len(pairs[item].source), len(pairs[item].target)) for item in items)
            assert len(items) == 1 or len(items) * longest <= batch_tokens
            assert len(items) <= (most_pairs or 100)
    if batch_tokens > 5:
        together = [{frozenset(batch.tolist()) for batch in batches} for batches in passes]
        assert together[0] != together[1], "always the same pairs meet"
        assert min(map(len, passes)) < 100
    steps = [0, 1, len(passes[0]), len(passes[0]) + len(passes[1]) + 1]
    for step in reversed(steps):  # a fresh loader that jumps there gives the same
        jumped = PairLoader(pairs, **making, seed=3).batch(step)
        assert all(
            torch.equal(a, b) for a, b in zip(vars(jumped).values(), vars(loader.batch(step)).values(), strict=True)
        )
    items = passes[2][1]
    assert loader.batch(steps[-1]).source_BS.shape[0] == len(items)
    assert PairLoader(pairs, **making, seed=4).batches(0)[0].tolist() != passes[0][0].tolist()


def test_like_lengths_go_together() -> None:
    rng = random.Random(0)
    pairs = []
    for _ in range(2000):  # a target is about as long as its source
        length = rng.randint(3, 40)
        sides = [torch.arange(max(2, length + rng.randint(-2, 2))).int().numpy() for _ in range(2)]
        pairs.append(EncodedPair(*sides))
    assert PairLoader(pairs, batch_tokens=1000, pad=0, start=1, seed=0).wasted < 0.1


def test_the_fingerprint_changes_with_every_token() -> None:
    pairs = random_pairs(10)
    made = {"batch_tokens": 99, "pad": 0, "start": 1, "seed": 0}
    first = PairLoader(pairs, **made).fingerprint
    changed = [*pairs[:9], EncodedPair(pairs[9].source, pairs[9].target + 1)]
    moved = [*pairs[:9], EncodedPair(pairs[9].source[:1], pairs[9].target)]
    assert len({first, PairLoader(changed, **made).fingerprint, PairLoader(moved, **made).fingerprint}) == 3
    assert PairLoader(list(pairs), **made).fingerprint == first


@pytest.mark.parametrize(
    ("template", "before", "after"),
    [("$A </s>", [], ["</s>"]), ("<s> $A </s>", ["<s>"], ["</s>"]), (None, [], ["</s>"])],
)
def test_an_imported_tokenizer_keeps_its_framing(
    template: str | None, before: list[str], after: list[str], tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load(foreign_tokenizer(tmp_path, template))
    ids = framing(tokenizer).framed(tokenizer.encode("one two"))
    assert ids == [*map(tokenizer.token_id, before), *tokenizer.encode("one two"), *map(tokenizer.token_id, after)]
    if template:
        assert transformers.AutoTokenizer.from_pretrained(tmp_path)("one two").input_ids == ids
        assert framed_tokenizer(tokenizer) is tokenizer


def foreign_tokenizer(folder: Path, template: str | None) -> Path:
    """A tokenizer as other programs save it: <pad>, <s>, </s> and a template of its own."""
    raw = tokenizers.Tokenizer.from_str(
        learn([" ".join(row) for row in numbers(100)], 448, ("<pad>", "<s>", "</s>")).to_str()
    )
    if template:
        raw.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(folder)
    return folder


def test_our_tokenizer_frames_for_others_and_encodes_as_before(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path / "plain")
    framed = framed_tokenizer(tokenizer)
    (tmp_path / "framed").mkdir()
    framed.save(tmp_path / "framed")
    texts = ["one two", "다섯 여섯", "<eos> and <bos> are text", ""]
    assert framed.encode_batch(texts) == tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "framed")
    assert theirs("one 다섯").input_ids == [*tokenizer.encode("one 다섯"), tokenizer.eos]
    assert framing(framed) == framing(tokenizer) == ([], [tokenizer.eos])


def test_all_forms_of_pairs_are_read(world: Path) -> None:
    reading = {"encoding": "utf-8", "skip_bad": False}
    rows = numbers(400)
    aligned = pairs_of([f"{world}/a.en:{world}/a.de.gz"], columns={}, **reading)
    assert [(pair.source, pair.target) for pair in aligned] == [row[:2] for row in rows]
    assert aligned[7].where == f"{world}/a.en:8"
    named = pairs_of([f"{world}/a.jsonl"], columns={"source": "de", "target": "en"}, **reading)
    assert [(pair.target, pair.source) for pair in named] == [row[:2] for row in rows]
    by_number = pairs_of([f"{world}/a.tsv"], columns={"source": "2", "target": "1"}, **reading)
    found = pairs_of([f"{world}/a.tsv"], columns={"target": "ko"}, **reading)
    assert [(p.target, p.source) for p in by_number] == [(p.source, p.target) for p in found] == [r[::2] for r in rows]


def test_a_table_without_names_loses_no_pair(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("Go.\t가.\tCC-BY\nHi.\t안녕.\tCC-BY\n", encoding="utf-8")
    (tmp_path / "b.tsv").write_text("source\ttarget\nHi.\t안녕.\n", encoding="utf-8")
    reading = {"encoding": "utf-8", "skip_bad": False}
    pairs = pairs_of([str(tmp_path / "a.tsv")], columns={"source": "2", "target": "1"}, **reading)
    assert [(pair.source, pair.target, Path(pair.where).name) for pair in pairs] == [
        ("가.", "Go.", "a.tsv:1"),
        ("안녕.", "Hi.", "a.tsv:2"),
    ]
    named = pairs_of([str(tmp_path / "b.tsv")], columns={"source": "2", "target": "1"}, **reading)
    assert [pair[:2] for pair in named] == [("안녕.", "Hi.")]
    with pytest.raises(DataError, match=r"a.tsv:1: there is no column for the source.*there are `1`, `2`, `3`"):
        pairs_of([str(tmp_path / "a.tsv")], columns={}, **reading)


def test_the_same_source_is_never_on_both_sides() -> None:
    from dodam.data.pairs import Pair

    share = [is_held_back(Pair(f"source {n}", "a", ""), 0.1) for n in range(3000)]
    assert 0.07 < sum(share) / 3000 < 0.13
    assert share == [is_held_back(Pair(f"source {n}", "another", "x:1"), 0.1) for n in range(3000)]


LEARN = ["--depth", "1", "--width", "64", "--dropout", "0", "--label-smoothing", "0.05", "--threads", "1"]


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator of numbers, by the command."""
    out = tmp_path_factory.mktemp("runs") / "en-de"
    words = ["seq2seq", "--data", f"{world}/a.en:{world}/a.de.gz", "--tokenizer", world / "tokenizer", "--out", out]
    rest = ["--epochs", "40", "--batch-tokens", "600", "--validation", "0.1", "--learning-rate", "2"]
    assert cli.main([*map(str, [*words, *rest]), *LEARN]) == 0
    return out


@pytest.mark.slow
@COMPILING
def test_compiled_it_learns_the_same(world: Path, tmp_path: Path) -> None:
    ends = {}
    for wanted in ("yes", "no"):
        words = ["seq2seq", "--data", f"{world}/a.en:{world}/a.de.gz", "--tokenizer", world / "tokenizer"]
        rest = [
            "--steps",
            "5",
            "--batch-tokens",
            "600",
            "--report-pairs",
            "0",
            "--compile",
            wanted,
            "--out",
            tmp_path / wanted,
        ]
        assert cli.main([*map(str, [*words, *rest]), *LEARN]) == 0
        rows = [json.loads(line) for line in (tmp_path / wanted / "metrics.jsonl").read_text().splitlines()]
        ends[wanted] = [row["validation"] for row in rows if "validation" in row]
    assert ends["yes"] == pytest.approx(ends["no"], rel=5e-3)


def test_it_learns_and_says_how_well(trained: Path, capsys) -> None:
    told = json.loads((trained / "report.json").read_text())
    rows = {row["metric"]: row for row in told["rows"]}
    assert rows["bleu"]["value"] > 60 and rows["chrf"]["value"] > 80 and rows["rouge-l"]["value"] > 80
    for row in told["rows"]:
        assert list(row) == ["model", "task", "metric", "value", "low", "high", "n", "seconds"]
        assert 0 <= row["low"] <= row["value"] + 1 and row["value"] - 1 <= row["high"] <= 100
    assert "tok:13a" in told["decoding"]["signatures"]["bleu"] and told["decoding"]["beams"] == 4
    report = (trained / "report.md").read_text(encoding="utf-8")
    assert "tok:13a" in report and "| bleu |" in report and "attention.png" in report
    assert (trained / "attention.png").read_bytes().startswith(b"\x89PNG")
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["validation"] < 0.6
    # The numbers are sacreBLEU's own of what the report was made from.
    import sacrebleu

    from dodam.generate.translate import translate

    held = [row[:2] for row in numbers(400) if is_held_back_text(row[0])]
    given = translate(load(trained, ("encoder-decoder",)), [source for source, _ in held])
    expected = sacrebleu.corpus_bleu(given, [[target for _, target in held]]).score
    assert rows["bleu"]["value"] == pytest.approx(expected) and rows["bleu"]["n"] == len(held)


def is_held_back_text(source: str) -> bool:
    from dodam.data.pairs import Pair

    return is_held_back(Pair(source, "", ""), 0.1)


def test_what_is_done_is_not_done_again_and_a_missing_report_is_made(trained: Path, world: Path, capsys) -> None:
    words = ["seq2seq", "--data", f"{world}/a.en:{world}/a.de.gz", "--tokenizer", world / "tokenizer", "--out", trained]
    rest = ["--epochs", "40", "--batch-tokens", "600", "--validation", "0.1", "--learning-rate", "2"]
    before = (trained / "model" / "model.safetensors").stat().st_mtime_ns
    report = json.loads((trained / "report.json").read_text())
    (trained / "report.json").unlink()
    told = run(capsys, *words, *rest, *LEARN)
    again = json.loads((trained / "report.json").read_text())
    for one, other in zip(report["rows"], again["rows"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert told["bleu"] == report["rows"][0]["value"]
    assert (trained / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_transformers_loads_the_folder_and_writes_the_same(trained: Path) -> None:
    ours = load(trained, ("encoder-decoder",))
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(trained / "model", attn_implementation="eager").eval()
    assert type(theirs).__name__ == "MarianMTModel"
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained / "model")
    texts = ["one two three", "nine", "ten ten two one eight"]
    read = tokenizer(texts, return_tensors="pt", padding=True)
    frame = framing(ours.tokenizer)
    sources = [frame.framed(ours.tokenizer.encode(text)) for text in texts]
    assert [row[: len(source)] for row, source in zip(read.input_ids.tolist(), sources, strict=True)] == sources
    assert read.attention_mask.sum(1).tolist() == list(map(len, sources))

    batch = padded_batch(
        [EncodedPair(*[torch.tensor(source).int().numpy()] * 2) for source in sources],
        pad=ours.tokenizer.pad, start=ours.model.config.start_id,
    )  # fmt: skip
    with torch.inference_mode():
        expected = theirs(
            input_ids=read.input_ids, attention_mask=read.attention_mask, decoder_input_ids=batch.target_BT
        ).logits
        got = ours.model.head(ours.model(batch.source_BS, batch.target_BT, padding_mask(batch.real_BS)))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)

    for beams in (1, 3):
        out = theirs.generate(**read, num_beams=beams, length_penalty=1.0, max_new_tokens=30)
        params = BeamParams(beams=beams, max_tokens=30, never=(ours.tokenizer.pad, ours.model.config.start_id))
        found = beam_search(ours.model, sources, params, stop_ids=ours.stop_ids)
        for row, hypotheses in zip(out.tolist(), found, strict=True):
            assert row[0] == theirs.config.decoder_start_token_id
            ids = row[1:]
            assert ids[: ids.index(ours.tokenizer.eos)] == hypotheses[0].ids
    assert tokenizer.batch_decode(out, skip_special_tokens=True)[1] == "neun"


def test_it_goes_on_from_its_own_model_with_lora(trained: Path, world: Path, tmp_path: Path, capsys) -> None:
    flags = ["--lora.rank", "4", "--steps", "4", "--batch", "8", "--threads", "1", "--report-pairs", "3"]
    words = ["seq2seq", "--data", world / "a.tsv", "--columns", "source=src", "target=ko", "--model", trained]
    run(capsys, *words, *flags, "--out", tmp_path / "ko")
    before, after = load(trained, ("encoder-decoder",)), load(tmp_path / "ko", ("encoder-decoder",))
    assert torch.equal(before.model.embedding.weight, after.model.embedding.weight)
    key = "decoder.blocks.0.cross.query.weight"
    assert not torch.equal(before.model.get_parameter(key), after.model.get_parameter(key))
    assert (tmp_path / "ko" / "adapter" / "adapter_model.safetensors").is_file()
    assert framing(after.tokenizer) == framing(before.tokenizer)


FOREIGN = {
    "t5": ("$A </s>", 0, lambda size: transformers.T5Config(
        vocab_size=size, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=2)),
    "bart": ("<s> $A </s>", 2, lambda size: transformers.BartConfig(
        vocab_size=size, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None)),
}  # fmt: skip


@pytest.mark.parametrize("family", FOREIGN)
def test_an_imported_model_learns_in_its_own_framing(family: str, world: Path, tmp_path: Path, capsys) -> None:
    template, start, config = FOREIGN[family]
    folder = foreign_tokenizer(tmp_path / "theirs", template)
    torch.manual_seed(0)
    theirs = transformers.AutoModelForSeq2SeqLM.from_config(config(448))
    theirs.save_pretrained(folder)
    run(capsys, "import", folder, "--out", tmp_path / "in")
    flags = ["--steps", "6", "--batch", "8", "--threads", "1", "--report-pairs", "2", "--learning-rate", "20"]
    data = ["--data", f"{world}/a.en:{world}/a.de.gz", "--validation", "0.05", "--context", "64"]
    told = run(capsys, "seq2seq", *data, "--model", tmp_path / "in", *flags, "--out", tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    measured = [row["validation"] for row in rows if "validation" in row]
    assert measured[-1] < measured[0] and told["validation"] == measured[-1]
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out" / "model").eval()
    assert again.generation_config.decoder_start_token_id == start
    loaded = load(tmp_path / "out", ("encoder-decoder",))
    pair = encode_pairs(
        loaded.tokenizer,
        pairs_of([f"{world}/a.jsonl"], columns={"source": "en", "target": "de"}, encoding="utf-8", skip_bad=False)[:3],
        64,
    )
    batch = padded_batch([one for one in pair if one], pad=loaded.tokenizer.pad, start=start)
    with torch.inference_mode():
        labels = batch.labels_BT.clone()
        expected = again(input_ids=batch.source_BS, attention_mask=batch.real_BS.long(), labels=labels).loss
        objective = SmoothedCrossEntropy(0.0)
        ours = objective(loaded.model, batch) / objective.weight(batch)
    assert float(ours) == pytest.approx(float(expected), rel=1e-4)  # their own shifting of the labels


def test_without_a_tokenizer_one_is_trained_on_both_sides(world: Path, tmp_path: Path, capsys) -> None:
    flags = ["--steps", "1", "--batch", "4", "--report-pairs", "0", *LEARN]
    told = run(capsys, "seq2seq", "--data", world / "a.tsv", "--columns", "target=ko", "--out", tmp_path / "r", *flags)
    assert "one is trained on both sides with defaults" in told["told"]
    tokenizer = load(tmp_path / "r", ("encoder-decoder",)).tokenizer
    assert len(tokenizer.encode("여섯")) == len(tokenizer.encode("eight")) == 1
    assert tokenizer.size == 4096
    assert not (tmp_path / "r" / "report.json").exists()


def write_bad_files(folder: Path) -> None:
    (folder / "long.en").write_text("one\ntwo\nthree\n")
    (folder / "short.de").write_text("eins\nzwei\n")
    (folder / "hole.de").write_text("eins\n\ndrei\n")
    (folder / "empty.jsonl").write_text("")
    (folder / "good.jsonl").write_text('{"source": "one", "target": "eins"}\n' * 3)
    (folder / "bad.jsonl").write_text('{"source": "one", "target": "eins"}\n{"source": "two", "target": null}\n')
    (folder / "number.jsonl").write_text('{"source": "one", "target": 1}\n')
    (folder / "named.jsonl").write_text('{"en": "one", "de": "eins"}\n')
    (folder / "far.jsonl").write_text(json.dumps({"source": "one " * 99, "target": "eins"}) + "\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--data", "long.en:short.de"], 1, "long.en: goes on after line 2, where short.de ends"),
        (["--data", "short.de:long.en"], 1, "long.en: goes on after line 2, where short.de ends"),
        (["--data", "long.en:hole.de"], 1, "long.en:2: there is no target"),
        (["--data", "long.en:nowhere.de"], 1, "nowhere.de"),
        (["--data", "bad.jsonl"], 1, "bad.jsonl:2: there is no target"),
        (["--data", "number.jsonl"], 1, "number.jsonl:1: `target` is no text but int"),
        (["--data", "named.jsonl"], 1, "there is no column for the source"),
        (["--data", "named.jsonl", "--columns", "text=en"], 2, "text is nothing a pair has"),
        (["--data", "good.jsonl", "empty.jsonl"], 1, "empty.jsonl: holds no pairs"),
        (["--data", "good.jsonl", "--dev", "empty.jsonl"], 1, "empty.jsonl: holds no pairs"),
        (["--data", "far.jsonl", "--context", "64"], 1, "no pair can be learned from"),
        (["--data", "good.jsonl", "--dev", "good.jsonl", "--validation", "0.1"], 2, "--dev and --validation"),
        (["--data", "good.jsonl", "--model", "large", "--depth", "2"], 2, "--depth"),
        (["--data", "good.jsonl", "--model", "large"], 1, "ids, the model only"),
        (["--data", "good.jsonl", "--lora.rank", "2"], 2, "fresh weights"),
        (["--data", "good.jsonl", "--width", "64", "--heads", "5"], 2, "multiple of heads"),
        (["--data", "good.jsonl", "--steps", "2", "--epochs", "2"], 2, "bound the same run"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_written(
    words: list[str], code: int, message: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    write_bad_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    if "large" in words:  # a model whose tokenizer has more ids than it has rows
        folder = foreign_tokenizer(tmp_path / "large", "$A </s>")
        transformers.AutoModelForSeq2SeqLM.from_config(FOREIGN["t5"][2](100)).save_pretrained(folder)
    elif "--tokenizer" not in words:
        small_tokenizer(tmp_path / "tokenizer")
        words = [*words, "--tokenizer", "tokenizer"]
    assert cli.main(["seq2seq", *words, "--out", "run", "--threads", "1"]) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err and "mistake in dodam" not in err
    assert not (tmp_path / "run" / "model").exists()


def test_bad_pairs_are_left_out_and_counted_when_asked(tmp_path: Path, capsys) -> None:
    write_bad_files(tmp_path)
    pairs = pairs_of(
        [f"{tmp_path}/long.en:{tmp_path}/hole.de", f"{tmp_path}/bad.jsonl"], columns={}, encoding="utf-8", skip_bad=True
    )
    assert [pair.target for pair in pairs] == ["eins", "drei", "eins"]
    assert "2 left out" in capsys.readouterr().err


def test_pairs_longer_than_the_context_are_left_out_and_counted(world: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "far.jsonl").write_text(json.dumps({"src": "one " * 99, "ko": "eins"}) + "\n")
    flags = ["--steps", "1", "--batch", "4", "--report-pairs", "0", "--tokenizer", world / "tokenizer", *LEARN]
    words = ["--data", world / "a.tsv", tmp_path / "far.jsonl", "--columns", "source=src", "target=ko"]
    told = run(capsys, "seq2seq", *words, "--context", "64", "--out", tmp_path / "r", *flags)["told"]
    assert "left out: 1 pairs with a side of more than 64 tokens" in told
