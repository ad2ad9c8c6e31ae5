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
from dodam.folder import load_model
from dodam.tokenizer.train import PATTERN

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
        split = pre_tokenizers.Split(tokenizers.Regex(PATTERN), "isolated")
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
