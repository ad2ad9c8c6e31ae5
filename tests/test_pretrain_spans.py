"""Span corruption: rows and the pairs made of them, what is measured on held-back text, sentinels, a run's story."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors
from torch.utils.flop_counter import FlopCounterMode

from dodam import cli
from dodam.config import build
from dodam.data.corrupt import span_counts
from dodam.data.loader import RowLoader
from dodam.data.pairs import Framing, framing
from dodam.errors import UsageError
from dodam.folder import load
from dodam.generate.beam import BeamParams, Hypothesis, beam_search
from dodam.models import build as models
from dodam.models.encoder_decoder import EncoderDecoder, build_encoder_decoder, encoder_decoder_config
from dodam.stages import validation
from dodam.stages.corrupted import Corruption, Measure, row_length, sentinels_of, unigram_nats
from dodam.stages.pretrain import Pretrain
from dodam.stages.start import encoder_decoder_rates
from dodam.stages.validation import span_loss, written_spans
from dodam.tokenizer import train as tokenizer_train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.train import budget

SENTENCES = [f"{number}번째 나무에는 새가 {number + 3}마리 앉아 있다." for number in range(400)]
SIZE, PAD, START, END, FIRST_PLAIN = 96, 0, 1, 2, 20
SENTINELS = tuple(range(3, FIRST_PLAIN))


def corruption(**changes: Any) -> Corruption:
    plain = Corruption(
        sentinels=SENTINELS, special=np.arange(SIZE) < FIRST_PLAIN, frame=Framing([], [END]), start=START, share=0.3,
        length=2.0, seed=0,
    )  # fmt: skip
    return replace(plain, **changes)


def rows(count: int, length: int) -> np.ndarray:
    """Rows with the border of two documents in each."""
    drawn = np.random.default_rng(0).integers(FIRST_PLAIN, SIZE, (count, length + 1))
    drawn[:, 5], drawn[:, 6] = END, START
    return drawn


def loader(length: int = 16, size: int = 400) -> RowLoader:
    tokens = np.random.default_rng(3).zipf(1.5, size) % (SIZE - FIRST_PLAIN) + FIRST_PLAIN
    return RowLoader([SimpleNamespace(name="a", tokens=tokens, weight=1.0, epochs=0.0)], length, 0)


def small_model() -> EncoderDecoder:
    """A random model in which everything matters, the logits' bias too."""
    sizes = encoder_decoder_config(vocabulary=SIZE, context=32, start_id=START, depth=2, width=16, heads=2)
    model = build_encoder_decoder(sizes, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in [*model.parameters(), model.logits_bias]:
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return model


def configured(**values: Any) -> Pretrain:
    return build(Pretrain, {"data": "somewhere", "out": "o", "architecture": "encoder-decoder", **values}, "test")


def ours() -> Tokenizer:
    raw = tokenizer_train.learn(SENTENCES[:40], 448, SPECIAL_TOKENS)
    return Tokenizer(raw.to_str())


TOKENIZER = ours()


# Rows and pairs


def test_a_pair_holds_the_whole_row_framed_and_the_decoder_reads_what_it_wrote() -> None:
    taken, made = rows(5, 24), corruption(frame=Framing([PAD], [END]))
    batch = made.batch(taken, 7)
    assert bool(batch.real_BS.all()) and batch.source_BS.shape == batch.real_BS.shape
    assert torch.equal(batch.target_BT[:, 1:], batch.labels_BT[:, :-1])
    assert batch.target_BT[:, 0].tolist() == [START] * 5
    for row, source, target in zip(taken.tolist(), batch.source_BS.tolist(), batch.labels_BT.tolist(), strict=True):
        assert source[0] == target[0] == PAD and source[-1] == target[-1] == END
        spans = made.spans(target[:-1])
        used = [token for token in source if token in SENTINELS]
        assert list(spans) == [*used, SENTINELS[len(used)]] and spans[SENTINELS[len(used)]] == []
        back = [token for one in source[1:-1] for token in spans.get(one, [one])]
        assert back == row[:-1]


def test_what_is_dropped_follows_from_the_number_of_a_row_alone() -> None:
    taken, made = rows(6, 24), corruption()
    whole = made.batch(taken, 40)
    parts = [made.batch(taken[first : first + 2], 40 + first) for first in (0, 2, 4)]
    assert torch.equal(torch.cat([part.source_BS for part in parts]), whole.source_BS)
    assert torch.equal(torch.cat([part.labels_BT for part in parts]), whole.labels_BT)
    for other in (made.batch(taken, 46), corruption(seed=1).batch(taken, 40)):
        assert not torch.equal(other.labels_BT, whole.labels_BT)


def test_rows_are_as_long_as_t5s_where_the_model_reads_512() -> None:
    assert framing(TOKENIZER).size == 1
    length = row_length(configured(), TOKENIZER, 512)
    dropped, spans = span_counts(length)
    # Raffel et al. 2020, section 3.1.4 and their code: 568 tokens, of which 512 are read. 114 are written, and here
    # also one more sentinel before the end.
    assert (length, length - dropped + spans + 1, dropped + spans + 1 + 1) == (568, 512, 115)


@settings(max_examples=30, deadline=None)
@given(st.integers(16, 80), st.floats(0.02, 0.98), st.floats(1.0, 9.0))
def test_a_row_is_the_longest_whose_pair_fits(context: int, share: float, length: float) -> None:
    config, tokenizer = configured(drop_share=share, span_length=length), TOKENIZER
    made = corruption(share=share, length=length, sentinels=tuple(range(200, 300)), special=np.ones(300, bool))

    def longest_side(size: int) -> int:
        batch = made.batch(np.ones((1, size + 1), dtype=np.int64), 0)
        return max(batch.source_BS.shape[1], batch.labels_BT.shape[1])

    found = row_length(config, tokenizer, context)
    assert longest_side(found) <= context
    assert all(longest_side(size) > context for size in range(found + 1, found + 9))


# Sentinels


def theirs(folder: Path, special: list[str], template: str = "$A </s>") -> Tokenizer:
    """A tokenizer as other programs save it, with tokens of its own behind the vocabulary."""
    raw = tokenizers.Tokenizer.from_str(tokenizer_train.learn(SENTENCES, 400, ("<pad>", "<s>", "</s>")).to_str())
    raw.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", additional_special_tokens=special
    )
    fast.save_pretrained(folder)
    return Tokenizer.load(folder)


def test_sentinels_are_the_spares_of_ours_and_t5s_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    assert sentinels_of(TOKENIZER) == tuple(range(10, 110))
    names = [f"<extra_id_{number}>" for number in reversed(range(12))]  # T5's stand the other way round
    tokenizer = theirs(tmp_path / "t5", names)
    assert [tokenizer.raw.id_to_token(token) for token in sentinels_of(tokenizer)] == names[::-1]
    with pytest.raises(UsageError, match=r"15% of them dropped in spans of 3, need 29 sentinels, the tokenizer has 12"):
        row_length(configured(), tokenizer, 512)
    assert row_length(configured(span_length=9), tokenizer, 512) > 512
    bare = theirs(tmp_path / "bart", [])
    assert sentinels_of(bare) == ()
    with pytest.raises(UsageError, match=r"somewhere: the tokenizer has no sentinels.*<extra_id_0> or <\|spare_0\|>"):
        row_length(configured(), bare, 512)


# What is measured and shown


def test_held_back_text_is_measured_as_a_naive_count_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "ROWS_AT_ONCE", 3)
    model, held_back, made = small_model(), loader(), corruption()
    nats, right, count = 0.0, 0, 0
    batch = made.batch(held_back.rows(0, held_back.rows_per_epoch), 0)
    with torch.no_grad():
        for row in range(len(batch.source_BS)):
            logits = model.head(model(batch.source_BS[row : row + 1], batch.target_BT[row : row + 1]))[0].double()
            for place, label in enumerate(batch.labels_BT[row].tolist()):
                if label >= FIRST_PLAIN:
                    nats -= float(logits[place].log_softmax(-1)[label])
                    right += int(logits[place].argmax()) == label
                    count += 1
    assert count == len(batch.source_BS) * span_counts(16, 0.3, 2.0)[0]
    measured = span_loss(model, held_back, made, torch.float32)
    assert measured == (pytest.approx(nats / count, rel=1e-5), right / count, count)
    assert span_loss(model, held_back, made, torch.float32) == measured


def test_a_model_of_frequencies_alone_stands_at_the_plateau() -> None:
    training, held_back = loader(size=2000), loader()
    counts = Counter(training.rows(0, training.rows_per_epoch)[:, :-1].ravel().tolist())
    plain = range(FIRST_PLAIN, SIZE)
    total = sum(counts[token] + 1 for token in plain)
    shares = [log((counts[token] + 1) / total) if token in plain else -50.0 for token in range(SIZE)]
    model = small_model()
    with torch.no_grad():
        model.output.weight.zero_()
        model.logits_bias.copy_(torch.tensor([shares]))
    plateau = unigram_nats(corruption(), training, held_back)
    assert span_loss(model, held_back, corruption(), torch.float32)[0] == pytest.approx(plateau, rel=1e-5)


@pytest.mark.parametrize(("progress", "above", "alarm"), [(0.4, True, False), (0.6, True, True), (0.6, False, False)])
def test_the_alarm_when_half_the_run_taught_nothing(
    progress: float, above: bool, alarm: bool, tmp_path: Path, capsys
) -> None:
    measure = Measure(corruption(), loader(), loader(), torch.float32, tmp_path)
    measure.unigram = -1.0 if above else 1e9
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 10, "loss": 1.0, "progress": progress}) + "\n")
    measure(small_model())
    told = capsys.readouterr().err
    assert ("% of the run is over, and" in told) == alarm and "dropped tokens told right" in told


def test_samples_show_what_is_written_for_each_span_and_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {token: f" w{token}" for token in range(FIRST_PLAIN, SIZE)}
    raw = SimpleNamespace(id_to_token=names.get)
    tokenizer: Any = SimpleNamespace(decode=lambda ids: "".join(names.get(token, "") for token in ids), raw=raw)
    taken, made = rows(1, 12), corruption(share=0.4)  # five tokens in two spans
    first, second, closing = SENTINELS[:3]
    batch = made.batch(taken, 0)
    spans = made.spans(batch.labels_BT[0].tolist())
    asked = []

    def search(model: Any, sources: Any, params: BeamParams, *, stop_ids: Any) -> Any:
        asked.append((sources, params.beams, tuple(stop_ids)))
        return [[Hypothesis([50, first, *spans[first], second, 60, 61], 0.0, 0.0, "stop")]]

    monkeypatch.setattr(validation, "beam_search", search)
    held_back: Any = SimpleNamespace(rows=lambda start, count: taken[:count], rows_per_epoch=1)
    shown = written_spans(small_model(), tokenizer, held_back, made)
    assert asked == [(batch.source_BS.tolist(), 1, (closing,))]
    expected = ""
    for token in batch.source_BS[0].tolist():
        if token == first:
            expected += f" **{tokenizer.decode(spans[first]).strip()}**"
        elif token == second:
            expected += f" **w60 w61** ({tokenizer.decode(spans[second]).strip()})"
        else:
            expected += names.get(token, "")
    assert shown == f"> {expected}"


# Counts and rates


def test_operations_are_counted_as_torch_counts_them() -> None:
    model = small_model()
    sizes = replace(model.config, decoder_depth=3, encoder_depth=2)
    model = build_encoder_decoder(sizes, 0)
    assert models.num_parameters(sizes) == sum(parameter.numel() for parameter in model.parameters())
    source, target = torch.full((2, 30), END), torch.full((2, 7), END)
    with FlopCounterMode(display=False) as counter:
        hidden = model(source, target)
        model.head(hidden).sum().backward()
    # torch's counter does not know the fused CPU attention; everything else must agree to the last operation.
    attention = 6 * sizes.width * (2 * 2 * 30**2 + 3 * (7**2 + 2 * 7 * 30))
    assert counter.get_total_flops() == 2 * (models.pair_flops(sizes, 30, 7) - attention)
    for context in (64, 512):
        per_row = models.pair_flops(sizes, 0.9 * context, 0.2 * context)
        assert models.flops_per_token(sizes, context) == pytest.approx(per_row / context)
        dropped, spans = span_counts(context)
        assert (context - dropped + spans) / context == pytest.approx(models.SOURCE_SHARE, abs=0.01)
        assert (dropped + spans) / context == pytest.approx(models.TARGET_SHARE, abs=0.02)


def test_a_model_that_goes_on_learns_slower() -> None:
    model, config = small_model(), configured(learning_rate=2.0)
    fresh, further = (encoder_decoder_rates(config, model, fresh=fresh) for fresh in (True, False))
    assert all(further[key] < fresh[key] for key in ("matrix", "embedding", "head", "scalar"))
    assert further["lora"] == pytest.approx(2 * 0.8 / 16)
    assert fresh["matrix"] == 2 * encoder_decoder_rates(configured(), model, fresh=True)["matrix"]


# The story


def run(capsys: pytest.CaptureFixture, *words: object) -> dict[str, Any]:
    code = cli.main([*map(str, words), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return {**json.loads(out.splitlines()[-1]), "told": err}


FEW = ["--batch", "8", "--context", "64", "--compile", "no", "--threads", "1", "--validate-every", "0.5"]
TINY = ["--architecture", "encoder-decoder", "--depth", "1", "--width", "64"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with text in `data` and a tokenizer for it in `tokenizer`."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("TORCHDYNAMO_SUPPRESS_ERRORS", "1"), ("TORCHINDUCTOR_CACHE_DIR", str(folder / "kernels"))):
            patch.setenv(name, value)  # which a run sets, and which must not outlive the test
        raw = tokenizer_train.learn(SENTENCES, 448, SPECIAL_TOKENS)
        tokenizer_train.fill_up(raw, 448)
        Tokenizer(raw.to_str()).save(folder / "tokenizer")
        words = ["--data", str(folder / "text.jsonl"), "--out", str(folder / "data"), "--validation", "0.1"]
        assert cli.main(["prepare", *words]) == 0
        yield folder


@pytest.fixture(scope="module")
def trained(world: Path) -> Path:
    """An encoder-decoder of 60 steps."""
    words = ["--data", world / "data", "--tokenizer", world / "tokenizer", "--out", world / "run", "--steps", 60]
    assert cli.main([*map(str, ["pretrain", *TINY, *words]), *FEW]) == 0
    return world / "run"


def test_a_fresh_encoder_decoder_learns_from_the_context_and_is_a_marian(trained: Path) -> None:
    result = json.loads((trained / "result.json").read_text())
    assert result["unit"] == "nats per dropped token"
    assert result["validation"] < 0.9 * result["unigram"] and 0.2 < result["accuracy"] < 1
    samples = (trained / "samples.md").read_text(encoding="utf-8")
    assert "**" in samples.rpartition("## Step 60")[2]
    loaded = load(trained, ("encoder-decoder",))
    assert loaded.model.config.start_id == loaded.tokenizer.bos
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(trained / "model").eval()
    read = transformers.AutoTokenizer.from_pretrained(trained / "model")(SENTENCES[7], return_tensors="pt")
    ids = read.input_ids[0].tolist()
    assert ids == framing(loaded.tokenizer).framed(loaded.tokenizer.encode(SENTENCES[7]))
    ids[2] = sentinels_of(loaded.tokenizer)[0]
    told = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=12, num_beams=1, do_sample=False)[0].tolist()
    ours = beam_search(loaded.model, [ids], BeamParams(beams=1, max_tokens=12), stop_ids=loaded.stop_ids)[0][0]
    written = told[1:-1] if told[-1] == loaded.tokenizer.eos else told[1:]
    assert told[0] == loaded.model.config.start_id and written == ours.ids


def test_the_story_goes_on_from_a_model(trained: Path, world: Path, tmp_path: Path, capsys) -> None:
    words = ["pretrain", "--data", world / "data", "--model", trained, "--steps", 3, *FEW]
    more = ["--drop-share", "0.3", "--span-length", "2", "--microbatch", "3", "--layer-decay", "0.9"]
    result = run(capsys, *words, *more, "--out", tmp_path / "on")
    assert "is an encoder-decoder, so it learns to write dropped spans" in result["told"]
    rows = [json.loads(line) for line in (tmp_path / "on" / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = [row["validation"] for row in rows if "validation" in row]
    assert last < first  # more sentinels than it has met: it begins above what it had
    told = run(capsys, *words, "--lora.rank", "2", "--out", tmp_path / "lora")
    assert (tmp_path / "lora" / "adapter" / "adapter_model.safetensors").is_file()
    assert "numbers are trained" in told["told"] and told["validation"] < told["unigram"]
    again = run(capsys, *words, "--lora.rank", "2", "--out", tmp_path / "lora")
    assert again["accuracy"] == told["accuracy"] and "is already done" in again["told"]
    pairs = [json.dumps({"source": text, "target": text.split()[0]}) + "\n" for text in SENTENCES]
    (tmp_path / "pairs.jsonl").write_text("".join(pairs), encoding="utf-8")
    few = ["--steps", "1", "--batch", "4", "--report-pairs", "0", "--threads", "1", "--out", tmp_path / "pairs"]
    run(capsys, "seq2seq", "--data", tmp_path / "pairs.jsonl", "--model", trained, *few)
    assert framing(load(tmp_path / "pairs", ("encoder-decoder",)).tokenizer).after == [2]


def test_an_imported_t5_goes_on_with_its_own_sentinels_and_start(world: Path, tmp_path: Path, capsys) -> None:
    names = [f"<extra_id_{number}>" for number in reversed(range(30))]
    tokenizer = theirs(tmp_path / "t5", names)
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=448, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    transformers.AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path / "t5")
    run(capsys, "import", tmp_path / "t5", "--out", tmp_path / "in")
    words = ["--architecture", "encoder-decoder", "--data", world / "data", "--model", tmp_path / "in", "--steps", 8]
    result = run(capsys, "pretrain", *words, *FEW, "--learning-rate", "20", "--out", tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    measured = [row["validation"] for row in rows if "validation" in row]
    assert measured[-1] < measured[0] and measured[-1] == result["validation"]
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out" / "model")
    assert again.generation_config.decoder_start_token_id == 0
    assert sentinels_of(load(tmp_path / "out", ("encoder-decoder",)).tokenizer) == sentinels_of(tokenizer)
    bare = theirs(tmp_path / "bare", [])
    assert bare.size <= 448
    transformers.AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path / "bare")
    words = ["--data", str(world / "data"), "--model", str(tmp_path / "bare"), "--steps", "1", *FEW]
    assert cli.main(["pretrain", *words, "--out", str(tmp_path / "no")]) == 2
    assert "bare: the tokenizer has no sentinels" in capsys.readouterr().err
    assert not (world / "data" / "shards" / bare.fingerprint).exists()  # refused before anything is read


def test_a_budget_reads_the_data_four_times_at_most(world: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(budget, "LEAST_STEPS", 2)
    words = ["--data", world / "data", "--tokenizer", world / "tokenizer", "--out", tmp_path / "run", "--budget", "2h"]
    few = [*FEW[2:], "--batch", "64"]
    result = run(capsys, "pretrain", *TINY, *words, *few)
    assert f"to repeat it: --depth 1 --batch 64 --steps {result['steps']}\n" in result["told"]
    data = int(result["told"].split(" rows of ")[0].split()[-1].replace(",", ""))
    assert 4 * data <= result["steps"] * 64 < 4 * data + 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*TINY, "--kv-heads", "1"], "--kv-heads: only a model with --architecture decoder has it"),
        ([*TINY, "--document-mask"], "--document-mask: only a model with --architecture decoder or encoder has it"),
        ([*TINY, "--mask-share", "0.2"], "--mask-share: only a model with --architecture encoder has it"),
        (["--drop-share", "0.2"], "--drop-share: only a model with --architecture encoder-decoder has it"),
        (["--architecture", "encoder", "--span-length", "2"], "--span-length: only a model with"),
        (["--decoder-depth", "2"], "--decoder-depth: only a model with --architecture encoder-decoder has it"),
        (["--model", "{run}", "--decoder-depth", "2"], "the model to go on with has its own"),
        (["--model", "{run}", "--context", "65"], "the model looks back on 64 tokens at most"),
        ([*TINY, "--heads", "7"], "must be a multiple of heads"),
        ([*TINY, "--span-length", "0.5"], "--span-length"),
        ([*TINY, "--lora.rank", "2"], "fresh weights have to be trained themselves"),
        ([*TINY, "--drop-share", "0.5", "--span-length", "1", "--context", "512"], "sentinels, the tokenizer has 100"),
    ],
)
def test_wrong_use_is_one_message(words: list[str], message: str, trained: Path, world: Path, tmp_path: Path, capsys):
    words = [word.format(run=trained) for word in words]
    tokenizer = [] if "--model" in words else ["--tokenizer", str(world / "tokenizer")]
    common = ["--data", str(world / "data"), "--steps", "2", "--threads", "1", "--out", str(tmp_path / "run")]
    assert cli.main(["pretrain", *common, *tokenizer, *words]) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not (tmp_path / "run" / "model").exists()
