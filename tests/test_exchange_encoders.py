"""Every family of encoders against `transformers`: its folder in, the same logits and gradients, and out again; what
must change nothing (padding, packing); fresh encoders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from dodam import cli
from dodam.data.batch import IGNORED
from dodam.data.corrupt import Units, mask_tokens
from dodam.errors import FolderError
from dodam.exchange.encoders import FAMILIES
from dodam.exchange.mapping import expanded, load_theirs, to_theirs
from dodam.folder import load
from dodam.models.build import outline
from dodam.models.encoder import Encoder, EncoderConfig, EncoderFamily, build_encoder, encoder_config
from dodam.nn.mask import document_mask, padding_mask
from dodam.tensors import read_tensors, write_tensors

PAD = 1
SMALL = {
    "vocab_size": 160,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
MODERN = {"cls_token_id": 2, "sep_token_id": 3, "local_attention": 6}
OLDER = {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True, "decoder_bias": False}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {}),
    "bert, other activation": ("bert", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "type_vocab_size": 3}),
    "roberta": ("roberta", {}),
    "roberta, one segment, relu": ("roberta", {"type_vocab_size": 1, "hidden_act": "relu"}),
    "modernbert": ("modernbert", MODERN),
    "modernbert, biases, every second": (
        "modernbert",
        {**MODERN, **OLDER, "layer_types": ["full_attention", "sliding_attention"] * 2, "global_rope_theta": 5e4},
    ),
    "modernbert, no pattern": (
        "modernbert",
        {**MODERN, "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
         "hidden_activation": "silu"},
    ),
}  # fmt: skip


@pytest.fixture
def theirs(tmp_path: Path) -> Callable[..., tuple[Any, Path]]:
    """Makes a small random model of a case with `transformers`, and the folder it saves."""

    def make(case: str, kind: str = "AutoModelForMaskedLM") -> tuple[Any, Path]:
        model_type, options = CASES[case]
        config = transformers.AutoConfig.for_model(model_type, **{**SMALL, **options})
        torch.manual_seed(0)
        model = getattr(transformers, kind).from_config(config, attn_implementation="eager").float().eval()
        with torch.no_grad():
            for parameter in model.parameters():  # norms and biases too must matter
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(tmp_path / "theirs")
        return model, tmp_path / "theirs"

    return make


def read(folder: Path) -> tuple[Any, Encoder, list]:
    """Our model of their folder."""
    values = json.loads((folder / "config.json").read_text())
    family = next(one for one in FAMILIES if one.model_type == values["model_type"])
    config = family.from_theirs(values)
    model = Encoder(config)
    table = expanded(family.weights(config), config.depth)
    file = folder / "model.safetensors"
    load_theirs(model, read_tensors(file), table, where=file, ignored=family.ignored)
    return family, model, table


def random_ids(rows: int = 2, length: int = 40, seed: int = 1) -> torch.Tensor:
    return torch.randint(4, 160, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients_are_those_of_transformers(case: str, theirs: Callable) -> None:
    reference, folder = theirs(case)
    _, model, table = read(folder)
    ids = random_ids()
    segments: dict[str, torch.Tensor] = {}
    if model.config.segments > 1:
        segments = {"token_type_ids": (torch.arange(40) > 22).long().expand(2, -1).contiguous()}
    expected = reference(ids, **segments).logits
    got = model.head(model(ids, segments_BT=segments.get("token_type_ids")))
    assert torch.allclose(got, expected, atol=1e-5, rtol=1e-4)
    labels = ids.roll(-1, 1).where(torch.rand(2, 40, generator=torch.Generator().manual_seed(2)) < 0.5, IGNORED)
    F.cross_entropy(expected.flatten(0, 1), labels.flatten()).backward()
    F.cross_entropy(got.flatten(0, 1), labels.flatten()).backward()
    weights = {weight.theirs: weight for weight in table}
    compared = set()
    for name, parameter in reference.named_parameters():
        grads = torch.cat([model.get_parameter(part).grad for part in weights[name].parts])
        assert torch.allclose(grads, parameter.grad, atol=1e-5, rtol=1e-3), name
        compared |= set(weights[name].parts)
    assert {name for name, _ in model.named_parameters()} == compared


@pytest.mark.parametrize("case", CASES)
def test_out_again_is_the_same_for_transformers(case: str, theirs: Callable, tmp_path: Path) -> None:
    reference, folder = theirs(case)
    family, model, table = read(folder)
    out = tmp_path / "out"
    out.mkdir()
    ours = {"pad_token_id": PAD, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    values = {
        "model_type": family.model_type,
        "architectures": [family.architecture],
        **ours,
        **family.to_theirs(model.config),
    }
    (out / "config.json").write_text(json.dumps(values))
    write_tensors(to_theirs(model, table), out / "model.safetensors", metadata={"format": "pt"})
    assert family.from_theirs(json.loads((out / "config.json").read_text())) == model.config
    assert EncoderConfig(**json.loads(json.dumps(model.config.to_dict()))) == model.config
    again = transformers.AutoModelForMaskedLM.from_pretrained(out, attn_implementation="eager")
    assert list(reference.state_dict()) == list(again.state_dict())
    for (name, before), after in zip(reference.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(before, after), name
    assert torch.equal(again(random_ids(seed=2)).logits, reference(random_ids(seed=2)).logits)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_padding_changes_nothing(case: str, dtype: torch.dtype, theirs: Callable) -> None:
    reference, folder = theirs(case)
    _, model, _ = read(folder)
    lengths = (40, 11)  # the padding is longer than any window
    ids = random_ids()
    real = torch.arange(40) < torch.tensor(lengths)[:, None]
    ids = ids.where(real, PAD)
    with torch.inference_mode():
        expected = reference(ids, attention_mask=real.long()).logits
        model.to(dtype)
        got = model.head(model(ids, mask=padding_mask(real)))
        atol, alone_atol = (1e-5, 1e-5) if dtype == torch.float32 else (0.06, 0.01)
        assert torch.allclose(got.float()[real], expected[real], atol=atol, rtol=1e-4)
        for row, length in enumerate(lengths):
            alone = model.head(model(ids[row : row + 1, :length]))
            assert torch.allclose(got[row, :length], alone[0], atol=alone_atol)


@pytest.mark.parametrize("case", CASES)
def test_packed_documents_do_not_see_each_other(case: str, theirs: Callable) -> None:
    _, folder = theirs(case)
    _, model, _ = read(folder)
    ids = random_ids(rows=1)
    documents, positions = torch.tensor([[1] * 13 + [2] * 27]), torch.tensor([[*range(13), *range(27)]])
    with torch.inference_mode():
        packed = model(ids, positions_BT=positions, mask=document_mask(documents, causal=False))
        alone = torch.cat([model(ids[:, :13]), model(ids[:, 13:])], dim=1)
        together = model(ids)
    assert torch.allclose(packed, alone, atol=1e-5)
    assert not torch.allclose(packed, together, atol=1e-2)


def test_what_fills_no_masks_in_is_left_aside_and_a_folder_without_that_head_is_refused(theirs: Callable) -> None:
    reference, folder = theirs("bert", "AutoModelForPreTraining")  # it has a pooler and a next-sentence head
    _, model, _ = read(folder)
    expected = reference(random_ids()).prediction_logits
    assert torch.allclose(model.head(model(random_ids())), expected, atol=1e-4, rtol=1e-4)
    for kind in ("AutoModel", "AutoModelForSequenceClassification"):
        _, folder = theirs("bert", kind)
        with pytest.raises(ValueError, match=r"saved as Bert.*without the head.*BertForMaskedLM or BertForPreTraining"):
            read(folder)


def small_tokenizer(folder: Path) -> None:
    """By bytes, with the special tokens that a BERT has."""
    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=260, special_tokens=special, initial_alphabet=alphabet)
    raw.train_from_iterator(["a text"], trainer)
    roles = {"cls_token": "<s>", "sep_token": "</s>", "bos_token": "<s>", "eos_token": "</s>"}
    named = {"pad_token": "<pad>", "mask_token": "<mask>", **roles}
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **named).save_pretrained(folder)


@pytest.mark.parametrize("case", ["bert", "roberta", "modernbert"])
def test_an_encoder_without_that_head_is_imported_with_a_fresh_one(case: str, tmp_path: Path, capsys) -> None:
    """As models that make vectors are saved; its hidden states are the same here and in transformers."""
    kind, options = CASES[case]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **{**SMALL, **options, "vocab_size": 320})
    reference = transformers.AutoModel.from_config(config).eval()
    reference.save_pretrained(tmp_path / "bare")
    small_tokenizer(tmp_path / "bare")
    assert cli.main(["import", str(tmp_path / "bare"), "--out", str(tmp_path / "in"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["head"] == "fresh" and "gets a fresh one" in err
    ids = torch.randint(4, 260, (2, 12), generator=torch.Generator().manual_seed(1))
    model = load(tmp_path / "in", ("encoder",)).model.eval()
    with torch.no_grad():
        expected = reference(ids).last_hidden_state
        torch.testing.assert_close(model(ids), expected, atol=1e-4, rtol=1e-4)
        again = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "in").eval()
        torch.testing.assert_close(model.head(model(ids)), again(ids).logits, atol=1e-4, rtol=1e-4)
    torn = read_tensors(tmp_path / "bare" / "model.safetensors")
    torn.pop(next(name for name in torn if "attn" in name or "attention.self.key.weight" in name))
    write_tensors(torn, tmp_path / "bare" / "model.safetensors")
    assert cli.main(["import", str(tmp_path / "bare"), "--out", str(tmp_path / "torn")]) == 1
    assert "tensors missing" in capsys.readouterr().err and not (tmp_path / "torn").exists()


def test_a_folder_of_an_older_program_with_copies_of_tied_weights_is_read(theirs: Callable) -> None:
    reference, folder = theirs("roberta")
    file = folder / "model.safetensors"
    tensors = read_tensors(file)
    tensors["lm_head.decoder.weight"] = tensors["roberta.embeddings.word_embeddings.weight"].clone()
    tensors["lm_head.decoder.bias"] = tensors["lm_head.bias"].clone()
    tensors["roberta.embeddings.position_ids"] = torch.arange(64)[None]
    write_tensors(tensors, file)
    _, model, _ = read(folder)
    assert torch.allclose(model.head(model(random_ids())), reference(random_ids()).logits, atol=1e-4, rtol=1e-4)
    del tensors["lm_head.dense.bias"]
    write_tensors(tensors, file)
    with pytest.raises(FolderError, match=r"tensors missing: \['lm_head\.dense\.bias'\]"):
        read(folder)


@pytest.mark.parametrize(
    ("case", "changed", "message"),
    [
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("roberta", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("bert", {"hidden_act": "mish"}, "mish"),
        ("bert", {"num_attention_heads": 5}, "multiple of the heads"),
        ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}}}, "linear"),
    ],
)
def test_settings_we_do_not_have_are_refused(
    case: str, changed: dict[str, Any], message: str, theirs: Callable
) -> None:
    _, folder = theirs(case)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **changed}))
    with pytest.raises(ValueError, match=message):
        read(folder)


def test_modernbert_config_of_before_2026_means_the_same(theirs: Callable) -> None:
    _, folder = theirs("modernbert, biases, every second")
    family, model, _ = read(folder)
    values = family.to_theirs(model.config)
    assert values["global_attn_every_n_layers"] == 2
    del values["layer_types"], values["rope_parameters"]
    assert family.from_theirs(values) == model.config
    assert (model.config.theta, model.config.window_theta, model.config.window) == (5e4, 1e4, 4)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_a_fresh_encoder_comes_from_its_seed_and_its_blocks_begin_as_the_identity(family: EncoderFamily) -> None:
    config = encoder_config(vocabulary=160, context=40, depth=3, width=32, family=family)
    model, same, other = build_encoder(config, 7), build_encoder(config, 7), build_encoder(config, 8)
    for one, two in zip(model.parameters(), same.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(model.embedding.weight, other.embedding.weight)
    assert model.output.weight is model.embedding.weight
    assert torch.allclose(model(random_ids()), model.norm(embedded(model, random_ids())), atol=1e-5)


def test_the_sizes_of_a_fresh_encoder_are_its_familys() -> None:
    base = encoder_config(vocabulary=32_000, context=512, depth=12, family="bert")
    assert (base.width, base.heads, base.head_dim, base.feedforward_size) == (768, 12, 64, 3072)
    modern = encoder_config(vocabulary=32_000, context=512, depth=12)
    assert (modern.width, modern.heads, modern.feedforward_size, modern.gated) == (768, 12, 2048, True)
    inside = [
        sum(parameter.numel() for name, parameter in outline(Encoder, one).named_parameters() if "blocks" in name)
        for one in (base, modern)
    ]
    assert inside[0] == pytest.approx(inside[1], rel=0.01)


def embedded(model: Encoder, ids: torch.Tensor) -> torch.Tensor:
    """What a fresh model's first block gets, written out."""
    x = model.embedding(ids)
    if model.positions is not None and model.segments is not None:
        x = x + model.positions.weight[: ids.shape[1]] + model.segments.weight[0]
    return model.input_norm(x)


@pytest.mark.parametrize(("family", "steps", "share"), [("bert", 210, 0.5), ("modernbert", 100, 0.85)])
def test_masked_language_modelling_gets_below_the_unigram_plateau(
    family: EncoderFamily, steps: int, share: float
) -> None:
    """Each token stands twice in a row, so a masked one can be read off its neighbour and off nothing else. A
    ModernBERT is soon off the plateau, but is not told which of two neighbours it is."""
    config = encoder_config(vocabulary=32, context=16, depth=2, width=32, heads=2, family=family)
    model = build_encoder(config, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    rng = np.random.default_rng(0)
    units = Units(starts=np.ones(32, bool), ends=np.ones(32, bool), special=np.arange(32) < 2)
    losses = []
    for step in range(steps):
        rows = rng.integers(2, 32, (32, 8)).repeat(2, axis=1)
        ids, labels = map(torch.from_numpy, mask_tokens(rows, units=units, mask=1, seed=0, first=32 * step))
        kept = labels != IGNORED
        loss = F.cross_entropy(model.head(model(ids)[kept]), labels[kept])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    plateau = np.log(30)
    assert abs(losses[0] - plateau) < 0.3
    assert np.mean(losses[-10:]) < share * plateau
