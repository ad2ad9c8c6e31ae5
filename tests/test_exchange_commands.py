"""Open weights through the commands: in, trained on, out, and the same for `transformers` all the way; and everything
that can be wrong with a folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import decoders, models, pre_tokenizers, trainers

from dodam import cli
from dodam.data.conversation import encode, render, template_of
from dodam.folder import load_model, save_model
from dodam.models.encoder import build_encoder, encoder_config
from dodam.models.encoder_decoder import build_encoder_decoder, encoder_decoder_config
from dodam.tokenizer.patterns import QWEN2
from talking_models import make_tokenizer

TEXTS = [
    f"{number}번 상자에는 사과가 {number + 2}개 있다. Box {number} holds {number + 2} apples. 🙂"
    for number in range(60)
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FAMILIES: dict[str, Callable[[int], transformers.PreTrainedConfig]] = {
    "gpt2": lambda size: transformers.GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "llama": lambda size: transformers.LlamaConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=128,
    ),
    "qwen2": lambda size: transformers.Qwen2Config(
        vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=128, tie_word_embeddings=True,
    ),
}  # fmt: skip
FEW = ["--steps", "3", "--batch", "4", "--context", "64", "--compile", "no", "--threads", "1"]


def foreign_tokenizer(family: str) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE as the family's models have it: one token for everything, or a chat's own."""
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if family == "qwen2":  # transformers gives this family its own pattern, whatever the file says
        split = pre_tokenizers.Split(tokenizers.Regex(QWEN2), "isolated")
        raw.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    raw.decoder = decoders.ByteLevel()
    special = {
        "gpt2": ["<|endoftext|>"],
        "llama": ["<|begin_of_text|>", "<|end_of_text|>"],
        "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    }[family]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(TEXTS, trainer)
    names: dict[str, Any] = {
        "gpt2": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
        "llama": {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
        "qwen2": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    }[family]
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **names)
    if family == "qwen2":
        tokenizer.chat_template = CHATML
    return tokenizer


def foreign_folder(family: str, folder: Path, **saving: Any) -> transformers.PreTrainedModel:
    tokenizer = foreign_tokenizer(family)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES[family](len(tokenizer))).eval()
    model.save_pretrained(folder, **saving)
    tokenizer.save_pretrained(folder)
    return model


def run(capsys: pytest.CaptureFixture, *words: object) -> dict[str, Any]:
    code = cli.main([*map(str, words), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_in_trained_on_out_and_the_same_for_transformers(family: str, tmp_path: Path, capsys) -> None:
    reference = foreign_folder(family, tmp_path / "theirs", max_shard_size="40KB" if family == "qwen2" else "5GB")
    told = run(capsys, "import", tmp_path / "theirs", "--out", tmp_path / "in")
    assert told["family"] == family and told["parameters"] == reference.num_parameters()
    ids = torch.randint(0, told["vocabulary"], (2, 20), generator=torch.Generator().manual_seed(1))
    loaded = load_model(tmp_path / "in")
    with torch.inference_mode():
        expected = reference(ids).logits
        torch.testing.assert_close(loaded.model.head(loaded.model(ids)), expected, atol=1e-4, rtol=1e-4)

    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    chats = [{"question": text[:20], "answer": text[20:40]} for text in TEXTS]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    run(capsys, "prepare", "--data", tmp_path / "text.jsonl", "--out", tmp_path / "data")
    run(capsys, "pretrain", "--data", tmp_path / "data", "--model", tmp_path / "in", "--out", tmp_path / "p", *FEW)
    run(capsys, "sft", "--data", tmp_path / "chat.jsonl", "--model", tmp_path / "p", "--out", tmp_path / "s", *FEW)

    told = run(capsys, "export", tmp_path / "s", "--to", "hf", "--out", tmp_path / "out", "--type", "f32")
    assert told["logits"] == 0
    tuned = load_model(tmp_path / "s")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.inference_mode():
        ours = tuned.model.head(tuned.model(ids))
        torch.testing.assert_close(again(ids).logits, ours, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(ours, expected, atol=1e-3), "nothing was learned"

    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    messages = [{"role": "user", "content": "상자 🙂"}, {"role": "assistant", "content": "Box 3"}]
    text = theirs.apply_chat_template(messages, tokenize=False)
    names = tuned.tokenizer.names
    assert render(template_of(tuned.tokenizer), messages, bos=names.bos, end=names.end) == text
    assert theirs.encode(text, add_special_tokens=False) == encode(tuned.tokenizer, messages).ids
    assert tuned.tokenizer.end in tuned.stop_ids


def test_only_the_answer_and_its_end_are_learned_in_a_template_without_marks(tmp_path: Path) -> None:
    foreign_folder("qwen2", tmp_path)
    tokenizer = load_model(tmp_path).tokenizer
    turns = [{"role": role, "content": role[:1] * 3} for role in ("system", "user", "assistant", "user", "assistant")]
    encoded = encode(tokenizer, turns)
    learned = [token for token, trained in zip(encoded.ids, encoded.trained, strict=True) if trained]
    assert tokenizer.decode(learned, special=True) == "aaa<|im_end|>" * 2


@pytest.mark.parametrize("number_type", ["f16", "bf16"])
def test_another_number_type_is_told_with_its_difference(number_type: str, tmp_path: Path, capsys) -> None:
    foreign_folder("llama", tmp_path / "theirs")
    told = run(capsys, "export", tmp_path / "theirs", "--to", "hf", "--out", tmp_path / "out", "--type", number_type)
    assert 0 < told["differences"][number_type] < 1e-3
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in stored.values()} == {
        {"f16": "torch.float16", "bf16": "torch.bfloat16"}[number_type]
    }
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "llama"


@pytest.mark.parametrize("number_type", ["f32", "bf16"])
def test_encoders_and_encoder_decoders_in_another_number_type(number_type: str, tmp_path: Path, capsys) -> None:
    tokenizer = make_tokenizer()
    sizes: Any = {"vocabulary": tokenizer.size, "context": 32, "depth": 1, "width": 32, "heads": 2}
    encoder = build_encoder(encoder_config(**sizes), 0)
    translator = build_encoder_decoder(encoder_decoder_config(**sizes, start_id=tokenizer.bos), 0)
    for name, model in {"encoder": encoder, "translator": translator}.items():
        save_model(tmp_path / name, model, tokenizer, info={}, card="")
        flags = ["--to", "hf", "--out", tmp_path / f"{name}-out", "--type", number_type]
        told = run(capsys, "export", tmp_path / name, *flags)
        assert (told["logits"] == 0) == (number_type == "f32") and told["differences"][number_type] < 1e-2
        build = transformers.AutoModelForMaskedLM if name == "encoder" else transformers.AutoModelForSeq2SeqLM
        assert build.from_pretrained(tmp_path / f"{name}-out").num_parameters() > 0
        assert cli.main(["export", str(tmp_path / name), "--to", "gguf", "--out", str(tmp_path / "x.gguf")]) == 1
        assert "here a model must be: decoder" in capsys.readouterr().err


KOREAN = [
    f"{place}에는 {fruit}가 {number}개 있었고, 우리는 그 {fruit}를 모두 먹었습니다."
    for number in range(20)
    for place in ("바구니", "창고", "서랍")
    for fruit in ("복숭아", "참외", "수박")
]
NEW = 60
TABLES = {
    "gpt2": ["transformer.wte.weight"],
    "llama": ["lm_head.weight", "model.embed_tokens.weight"],
    "qwen2": ["model.embed_tokens.weight"],
}


def korean_rows(folder: Path) -> Path:
    (folder / "korean.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in KOREAN))
    return folder / "korean.jsonl"


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_larger_vocabulary_for_us_and_for_transformers(family: str, tmp_path: Path, capsys) -> None:
    dtype = torch.bfloat16 if family == "llama" else torch.float32
    rounding = {"atol": 1e-6, "rtol": 1e-5 if dtype == torch.float32 else 2**-8}
    foreign_folder(family, tmp_path / "theirs", max_shard_size="40KB" if family != "gpt2" else "5GB")
    if dtype != torch.float32:
        reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs", dtype=dtype)
        reference.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    words = ["--extend-vocabulary", NEW, "--data", korean_rows(tmp_path)]
    told = run(capsys, "import", tmp_path / "theirs", "--out", tmp_path / "in", *words)
    loaded, before = load_model(tmp_path / "in"), load_model(tmp_path / "theirs")
    first, rows = before.tokenizer.size, told["vocabulary"]
    assert rows % 64 == 0 and 0 <= rows - (first + NEW) < 64 and loaded.tokenizer.size == first + NEW
    assert told["parameters"] == sum(parameter.numel() for parameter in loaded.model.parameters())
    per_token = told["extension"]["bytes_per_token"]
    assert per_token["after"] > 1.3 * per_token["before"] and len(told["extension"]["most_used"]) == 10

    theirs, ours = stored(tmp_path / "theirs"), stored(tmp_path / "in")
    assert theirs.keys() == ours.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype == dtype
        if name not in TABLES[family]:
            assert torch.equal(ours[name], tensor)
            continue
        assert ours[name].shape == (rows, 32) and torch.equal(ours[name][:first], tensor)
        for token in range(first, first + NEW):
            spelt = loaded.tokenizer.raw.id_to_token(token)
            ids = [piece.id for piece in before.tokenizer.raw.model.tokenize(spelt)]
            assert len(ids) > 1
            mean = torch.stack([tensor[one].double() for one in ids]).mean(0)
            torch.testing.assert_close(ours[name][token].double(), mean, **rounding)
        for row in ours[name][first + NEW :].double():
            torch.testing.assert_close(row, tensor.double().mean(0), **rounding)
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert json.loads((tmp_path / "in" / "config.json").read_text()) == {**config, "vocab_size": rows}
    index = tmp_path / "in" / "model.safetensors.index.json"
    assert index.is_file() == (family != "gpt2")
    if index.is_file():
        assert json.loads(index.read_text())["metadata"]["total_size"] == sum(t.nbytes for t in ours.values())

    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "in", dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "in")
    for text in [*KOREAN[:20], *TEXTS[:5]]:
        assert tokenizer.encode(text, add_special_tokens=False) == loaded.tokenizer.encode(text)
    ids = torch.tensor([loaded.tokenizer.encode(KOREAN[0])])
    assert int(ids.max()) >= first
    with torch.inference_mode():
        logits = loaded.model.head(loaded.model(ids))
        torch.testing.assert_close(again(ids).logits, logits, atol=1e-4, rtol=1e-4)
        old = torch.tensor([before.tokenizer.encode(TEXTS[0])])
        expected = before.model.head(before.model(old))
        torch.testing.assert_close(loaded.model.head(loaded.model(old))[..., :first], expected, atol=1e-5, rtol=1e-5)

    assert run(capsys, "export", tmp_path / "in", "--to", "gguf", "--out", tmp_path / "m.gguf")["logits"] == 0
    run(capsys, "prepare", "--data", tmp_path / "korean.jsonl", "--out", tmp_path / "data")
    run(capsys, "pretrain", "--data", tmp_path / "data", "--model", tmp_path / "in", "--out", tmp_path / "p", *FEW)
    assert load_model(tmp_path / "p").tokenizer.json == loaded.tokenizer.json


def test_rows_that_no_token_used_are_taken_first(tmp_path: Path, capsys) -> None:
    foreign_folder("qwen2", tmp_path / "theirs")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")
    first = model.config.vocab_size
    model.resize_token_embeddings(first + 21)  # no multiple of 64, and it stays so
    model.save_pretrained(tmp_path / "theirs")
    words = ["--extend-vocabulary", 20, "--data", korean_rows(tmp_path)]
    told = run(capsys, "import", tmp_path / "theirs", "--out", tmp_path / "in", *words)
    assert told["vocabulary"] == first + 21
    assert (tmp_path / "in" / "config.json").read_bytes() == (tmp_path / "theirs" / "config.json").read_bytes()
    theirs, ours = stored(tmp_path / "theirs"), stored(tmp_path / "in")
    (name,) = TABLES["qwen2"]
    same = [row for row in range(first + 21) if torch.equal(theirs[name][row], ours[name][row])]
    assert same == [*range(first), first + 20]
    assert load_model(tmp_path / "in").tokenizer.token_id("<|im_end|>") == load_model(tmp_path / "theirs").tokenizer.end


def test_no_new_tokens_leave_the_folder_as_it_is(tmp_path: Path, capsys) -> None:
    foreign_folder("llama", tmp_path / "theirs")
    run(capsys, "import", tmp_path / "theirs", "--out", tmp_path / "in")
    files = {file.name: file.read_bytes() for file in (tmp_path / "in").iterdir()}
    run(capsys, "import", tmp_path / "theirs", "--out", tmp_path / "in", "--extend-vocabulary", 0)
    assert {file.name: file.read_bytes() for file in (tmp_path / "in").iterdir()} == files
    copied = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert all(files[name] == (tmp_path / "theirs" / name).read_bytes() for name in copied)


def with_an_encoder(folder: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=foreign_tokenizer("gpt2").backend_tokenizer, sep_token="<|endoftext|>"
    ).save_pretrained(folder)


def with_sentence_piece(folder: Path) -> None:
    foreign_folder("llama", folder)
    raw = tokenizers.Tokenizer(models.BPE({"<unk>": 0, "</s>": 1, "a": 2}, [], unk_token="<unk>", byte_fallback=True))
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>").save_pretrained(folder)


MORE = ["--extend-vocabulary", "40", "--data", "korean.jsonl"]


@pytest.mark.parametrize(
    ("made", "words", "code", "message"),
    [
        (None, ["--extend-vocabulary", "40"], 2, "--extend-vocabulary: needs a text to learn from"),
        (None, ["--data", "korean.jsonl"], 2, "--data: is what new tokens are learned from"),
        (None, ["--encoding", "cp949"], 2, "--encoding: is that of --data"),
        (None, ["--extend-vocabulary", "-1"], 2, "greater than or equal to 0"),
        (None, ["--extend-vocabulary", "9999", *MORE[2:]], 2, "pairs to merge. Name more text, or ask for fewer."),
        (None, [*MORE[:3], "nowhere"], 1, "nowhere: there is no such file"),
        (with_an_encoder, MORE, 2, "is for decoders, and this is an encoder (bert)"),
        (with_sentence_piece, MORE, 1, "the tokenizer is SentencePiece (BPE)"),
    ],
)
def test_wrong_use_of_a_larger_vocabulary(made, words, code, message, tmp_path: Path, monkeypatch, capsys) -> None:
    (made or (lambda folder: foreign_folder("llama", folder)))(tmp_path / "theirs")
    korean_rows(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["import", "theirs", "--out", "in", *words]) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not (tmp_path / "in").exists()


def unknown_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))


def other_rope(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0}
    (folder / "config.json").write_text(json.dumps(config))


def change_tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return harm


def truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def large_tokenizer(folder: Path) -> None:
    tokenizer = foreign_tokenizer("llama")
    tokenizer.add_tokens(["도담", "새싹"])
    tokenizer.save_pretrained(folder)


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


Q = "model.layers.0.self_attn.q_proj.weight"
HARMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "unknown type": (unknown_type, "model_type 'mamba' is not known"),
    "unknown scaling": (other_rope, "rope_type = 'longrope' is not supported"),
    "missing tensor": (change_tensors(lambda tensors: tensors.pop(Q)), f"tensors missing: ['{Q}']"),
    "a tensor more": (change_tensors(lambda tensors: tensors.update(more=torch.ones(1))), "nobody asked for: ['more']"),
    "misshapen tensor": (
        change_tensors(lambda tensors: tensors.update({Q: torch.ones(3, 32)})), "is (3, 32), config.json says (32, 32)"
    ),
    "truncated file": (truncated, "the weights cannot be read"),
    "pickles": (pickled, "as pickles only"),
    "a tokenizer too large": (large_tokenizer, "ids, the model only"),
    "no tokenizer": (no_tokenizer, "holds no tokenizer.json"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_wrong_with_a_folder_is_named_and_nothing_is_written(harm: str, tmp_path: Path, capsys) -> None:
    foreign_folder("llama", tmp_path / "theirs")
    change, message = HARMS[harm]
    change(tmp_path / "theirs")
    assert cli.main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "in")]) == 1
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not (tmp_path / "in").exists()


def test_a_missing_shard_is_named(tmp_path: Path, capsys) -> None:
    foreign_folder("llama", tmp_path / "theirs", max_shard_size="40KB")
    gone = sorted((tmp_path / "theirs").glob("model-*.safetensors"))[1]
    gone.unlink()
    assert cli.main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "in")]) == 1
    assert gone.name in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["import", "nowhere", "--out", "x"], 2, "there is no such folder, and a hub name is like org/model"),
        (["import", "theirs", "--out", "theirs"], 2, "is the folder to read"),
        (["import", "theirs", "--out", "full"], 2, "holds no model of ours"),
        (["export", "theirs", "--to", "hf", "--out", "x", "--type", "q8_0"], 2, "has no q8_0"),
        (["export", "theirs", "--to", "hf", "--out", "full"], 2, "holds no model of ours"),
        (["pretrain", "--data", "d", "--model", "theirs", "--depth", "3", "--out", "x"], 2, "--depth"),
        (["pretrain", "--data", "d", "--model", "theirs", "--context", "999", "--out", "y"], 2, "looks back on 128"),
    ],
)
def test_wrong_use(words: list[str], code: int, message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    foreign_folder("llama", tmp_path / "theirs")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["prepare", "--data", "t.jsonl", "--out", "d"]) == 0
    capsys.readouterr()
    assert cli.main(words) == code
    assert message in capsys.readouterr().err
    assert (tmp_path / "full" / "diary.txt").read_text() == "mine"


def test_a_hub_name_without_a_network_is_one_message(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert cli.main(["import", "nobody/nothing", "--out", str(tmp_path / "in")]) == 1
    err = capsys.readouterr().err
    assert "nobody/nothing: cannot be fetched" in err and len(err.strip().splitlines()) == 1


def test_a_hub_name_is_taken_from_the_copy_on_the_disk(tmp_path: Path, monkeypatch, capsys) -> None:
    foreign_folder("llama", tmp_path / "theirs")
    asked: list[str] = []

    def fetched(name: str, **options: Any) -> str:
        asked.append(f"{name}@{options['revision']}")
        return str(tmp_path / "theirs")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    told = run(capsys, "import", "org/model", "--revision", "v1", "--out", tmp_path / "in")
    assert asked == ["org/model@v1"] and told["family"] == "llama"
    lineage = json.loads((tmp_path / "in" / "dodam.json").read_text())["lineage"]
    assert lineage["source"] == "org/model" and lineage["revision"] == "v1"
