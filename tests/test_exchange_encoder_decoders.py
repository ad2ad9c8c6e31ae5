"""Every family of encoder-decoders against `transformers`: its folder in, the same logits and gradients, out again."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers

from dodam.errors import FolderError
from dodam.exchange.encoder_decoders import FAMILIES
from dodam.exchange.mapping import expanded, load_theirs, to_theirs
from dodam.models.encoder_decoder import (
    DecoderBlock,
    EncoderDecoder,
    EncoderDecoderConfig,
    build_encoder_decoder,
    encoder_decoder_config,
)
from dodam.nn.attention import watched
from dodam.nn.block import Block
from dodam.nn.cache import Cache
from dodam.nn.mask import padding_mask
from dodam.tensors import read_tensors, write_tensors

BART = {
    "vocab_size": 120, "d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
    "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
T5 = {
    "vocab_size": 120, "d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 24, "pad_token_id": 0, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "marian": ("marian", {**BART, "scale_embedding": True, "activation_function": "swish"}),
    "marian, unscaled": ("marian", {**BART, "activation_function": "relu"}),
    "bart": ("bart", BART),
    "bart, scaled": ("bart", {**BART, "scale_embedding": True, "activation_function": "gelu_new"}),
    "t5": ("t5", T5),
    "t5 v1.1": ("t5", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "t5, silu": ("t5", {**T5, "feed_forward_proj": "gated-silu"}),
}


@pytest.fixture
def theirs(tmp_path: Path) -> Callable[[str], tuple[Any, Path]]:
    """Makes a small random model of a case with `transformers`, and the folder it saves."""

    def make(case: str) -> tuple[Any, Path]:
        model_type, options = CASES[case]
        config = transformers.AutoConfig.for_model(model_type, **options)
        torch.manual_seed(0)
        model = transformers.AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager").float().eval()
        if case == "t5 v1.1":  # `transformers` 5 ties what v1.1 does not
            model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
        with torch.no_grad():
            for name, tensor in model.state_dict(keep_vars=True).items():  # norms and biases too must matter
                if tensor.requires_grad or name == "final_logits_bias":
                    tensor.add_(0.1 * torch.randn_like(tensor))
        model.save_pretrained(tmp_path / "theirs")
        return model, tmp_path / "theirs"

    return make


def family_of(values: dict[str, Any]) -> Any:
    return next(one for one in FAMILIES if one.model_type == values["model_type"])


def read(folder: Path) -> tuple[Any, EncoderDecoder, list]:
    """Our model of their folder."""
    values = json.loads((folder / "config.json").read_text())
    family = family_of(values)
    config = family.from_theirs(values)
    with torch.device("meta"):
        model = EncoderDecoder(config)
    model = model.to_empty(device="cpu")
    model.complete()
    table = expanded(family.weights(config), config.depth)
    file = folder / "model.safetensors"
    load_theirs(model, read_tensors(file), table, where=file, ignored=family.ignored)
    return family, model.eval(), table


def pairs(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sources of which the second is padded, which of them are tokens, and targets; longer than the furthest bucket."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(3, 120, (2, 40), generator=generator)
    source[1, 29:] = 0
    return source, source != 0, torch.randint(3, 120, (2, 34), generator=generator)


@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients_are_those_of_transformers(case: str, theirs: Callable) -> None:
    reference, folder = theirs(case)
    _, model, table = read(folder)
    source, real, target = pairs(1)
    expected = reference(input_ids=source, attention_mask=real, decoder_input_ids=target, use_cache=False).logits
    got = model.head(model(source, target, padding_mask(real)))
    assert torch.allclose(got, expected, atol=1e-4, rtol=1e-4)
    labels = target.roll(-1, 1)
    F.cross_entropy(expected.flatten(0, 1), labels.flatten()).backward()
    F.cross_entropy(got.flatten(0, 1), labels.flatten()).backward()
    trained = [weight for weight in table if weight.parts != ("logits_bias",)]
    ours = {weight.theirs: model.get_parameter(*weight.parts).grad for weight in trained}
    compared = 0
    for name, parameter in reference.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(ours[name], parameter.grad, atol=1e-5, rtol=1e-3), name
            compared += 1
    assert compared == len(ours) == len(list(model.parameters()))


@pytest.mark.parametrize("case", CASES)
def test_out_again_is_the_same_for_transformers(case: str, theirs: Callable, tmp_path: Path) -> None:
    reference, folder = theirs(case)
    family, model, table = read(folder)
    out = tmp_path / "out"
    out.mkdir()
    about = {"model_type": family.model_type, "architectures": [family.architecture], "pad_token_id": 0}
    values = {**about, "eos_token_id": 2, **family.to_theirs(model.config)}
    (out / "config.json").write_text(json.dumps(values))
    write_tensors(to_theirs(model, table), out / "model.safetensors", metadata={"format": "pt"})
    assert family.from_theirs(json.loads((out / "config.json").read_text())) == model.config
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(out, attn_implementation="eager")
    for (name, before), after in zip(reference.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(before, after), name
    source, real, target = pairs(2)
    batch = {"input_ids": source, "attention_mask": real, "decoder_input_ids": target, "use_cache": False}
    assert torch.equal(again(**batch).logits, reference(**batch).logits)


@pytest.mark.parametrize("case", ["marian", "bart", "t5"])
def test_a_padded_source_says_what_it_says_alone(case: str, theirs: Callable) -> None:
    _, model, _ = read(theirs(case)[1])
    source, real, target = pairs(3)
    together = model(source, target, padding_mask(real))[1]
    alone = model(source[1:, :29], target[1:])[0]
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(model(source, target)[1], alone, atol=1e-2)


@pytest.mark.parametrize("case", ["marian", "bart", "t5", "t5 v1.1"])
def test_with_a_cache_it_says_the_same(case: str, theirs: Callable) -> None:
    """Two targets for each source, which stand at different positions in the end."""
    _, model, _ = read(theirs(case)[1])
    source, real, _ = pairs(4)
    target = torch.randint(3, 120, (4, 30), generator=torch.Generator().manual_seed(5))
    mask = padding_mask(real)
    with torch.inference_mode():
        memory = model.remember(model.encode(source, mask))
        whole = model.decode(target, memory, mask)
        cache = Cache.empty(model.config, 4, 32)
        begun = model.decode(target[:, :20], memory, mask, cache=cache, starts_R=torch.zeros(4, dtype=torch.long))
        assert torch.allclose(begun, whole[:, :20], atol=1e-5)
        for step in range(10):
            starts = torch.tensor([20, 19, 18, 17]) + step
            ids = target.gather(1, starts[:, None])
            got = model.decode(ids, memory, mask, cache=cache, starts_R=starts)[:, 0]
            assert torch.allclose(got, whole[torch.arange(4), starts], atol=1e-5)


def test_one_row_for_each_source_is_what_two_are(theirs: Callable) -> None:
    _, model, _ = read(theirs("t5")[1])
    source, real, target = pairs(6)
    both = torch.stack([target, target.flip(1)], dim=1).flatten(0, 1)
    got = model(source, both, padding_mask(real))
    assert torch.allclose(got[0::2], model(source, target, padding_mask(real)), atol=1e-5)
    assert torch.allclose(got[1::2], model(source, target.flip(1), padding_mask(real)), atol=1e-5)


REFUSED = {
    "encoder and decoder of different heads": ("marian", {"decoder_attention_heads": 2}, "decoder_attention_heads"),
    "two vocabularies": ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings"),
    "a decoder's vocabulary": ("marian", {"decoder_vocab_size": 90}, "decoder_vocab_size"),
    "its own head": ("bart", {"tie_word_embeddings": False}, "tie_word_embeddings"),
    "pre-norm": ("bart", {"normalize_before": True}, "normalize_before"),
    "an activation": ("bart", {"activation_function": "quick_gelu"}, "quick_gelu"),
    "a feed-forward": ("t5", {"feed_forward_proj": "gated-quick_gelu"}, "gated-quick_gelu"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_setting_that_we_do_not_have_is_refused_by_name(what: str) -> None:
    case, changed, named = REFUSED[what]
    values = {**CASES[case][1], "model_type": case, **changed}
    with pytest.raises(ValueError, match=named):
        family_of(values).from_theirs(values)


def test_a_shape_that_no_marian_has_is_not_written() -> None:
    values = {**CASES["marian"][1], "model_type": "marian"}
    family = family_of(values)
    config = family.from_theirs(values)
    other = EncoderDecoderConfig(**{**config.to_dict(), "norm_place": "before"})
    with pytest.raises(ValueError, match="marian"):
        family.to_theirs(other)


def test_a_head_is_the_table_where_t5_stores_none_and_a_missing_matrix_is_named(theirs: Callable) -> None:
    """`transformers` 5 ties the head of a v1.1 that it makes, and does not store it."""
    _, folder = theirs("t5 v1.1")
    values = json.loads((folder / "config.json").read_text())
    family = family_of(values)
    model, table = EncoderDecoder(family.from_theirs(values)), family.weights(family.from_theirs(values))
    weights = read_tensors(folder / "model.safetensors")
    del weights["lm_head.weight"]
    load_theirs(model, weights, table, where=folder, ignored=family.ignored)
    assert torch.equal(model.output.weight, model.embedding.weight)
    assert model.output.weight is not model.embedding.weight
    del weights["encoder.block.1.layer.0.SelfAttention.q.weight"]
    with pytest.raises(FolderError, match=r"encoder\.block\.1"):
        load_theirs(model, weights, table, where=folder, ignored=family.ignored)


def small() -> EncoderDecoderConfig:
    return encoder_decoder_config(vocabulary=120, context=64, depth=2, width=32, heads=4, start_id=1)


def test_a_fresh_model_is_a_marian_and_comes_from_its_seed() -> None:
    model, same = build_encoder_decoder(small(), 7), build_encoder_decoder(small(), 7)
    other = build_encoder_decoder(small(), 8)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    assert not torch.equal(model.embedding.weight, other.embedding.weight)
    marian = next(one for one in FAMILIES if one.model_type == "marian")
    assert marian.from_theirs(marian.to_theirs(small())) == small()
    with pytest.raises(ValueError, match="heads"):
        encoder_decoder_config(vocabulary=120, context=64, depth=2, width=32, heads=3, start_id=1)


def test_dropout_acts_while_training_only() -> None:
    model = build_encoder_decoder(small(), 0, dropout=0.3)
    plain = build_encoder_decoder(small(), 0)
    source, _, target = pairs(7)
    assert not torch.equal(model(source, target), model(source, target))
    assert torch.equal(model.eval()(source, target), plain(source, target))


@pytest.mark.filterwarnings("ignore")  # of torch, as it compiles
@pytest.mark.parametrize("case", ["marian", "t5"])
def test_blocks_of_both_sides_can_be_compiled(case: str) -> None:
    """As one graph each, whatever then makes code of it."""
    model_type, options = CASES[case]
    model = EncoderDecoder(family_of({"model_type": model_type}).from_theirs(options))
    source, real, target = pairs(8)
    expected = model(source, target, padding_mask(real))
    for hook, block in (("run_block", Block), ("run_decoder_block", DecoderBlock)):
        setattr(model, hook, torch.compile(block.__call__, backend="eager", fullgraph=True))
    got = model(source, target, padding_mask(real))
    assert torch.allclose(got, expected, atol=1e-5)
    got.sum().backward()


def test_attention_to_the_source_can_be_watched() -> None:
    model = build_encoder_decoder(small(), 0)
    source, real, target = pairs(9)
    with watched(model) as seen:
        model(source, target, padding_mask(real))
    (weights,) = seen["decoder.blocks.1.cross"]
    assert weights.shape == (2, 4, 34, 40)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 4, 34))
    assert weights[1, :, :, 29:].abs().max() == 0


def test_it_learns_to_turn_a_sequence_around() -> None:
    """Which needs attention to the source: what a target says is nowhere else."""
    torch.manual_seed(0)
    model = build_encoder_decoder(replace(small(), encoder_depth=1, decoder_depth=1), 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        source = torch.randint(3, 10, (32, 4))
        wanted = source.flip(1)
        target = torch.cat([torch.ones(32, 1, dtype=torch.long), wanted[:, :-1]], dim=1)
        loss = F.cross_entropy(model.head(model(source, target)).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3  # guessing costs log(7) = 1.9
