"""The decoder against transformers' Qwen3, forward and backward; causality, cache and padding invariants; the
folder."""

from pathlib import Path

import pytest
import torch

from dodam.errors import FolderError
from dodam.folder import config_json, load_model, save_model
from dodam.models.build import build_decoder, decoder_config, flops_per_token, num_parameters
from dodam.models.decoder import Decoder
from dodam.nn.attention import attend, attend_explicitly
from dodam.nn.cache import Cache
from dodam.nn.mask import CAUSAL, Mask, document_mask
from dodam.tokenizer import train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

SIZES = [
    {"depth": 2, "width": 64, "heads": 4, "kv_heads": 2, "tied": False},
    {"depth": 1, "width": 96, "heads": 3, "kv_heads": 1, "tied": False},
    {"depth": 2, "width": 64, "heads": 2, "kv_heads": 2, "tied": True},
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = ["The sky is blue.", "하늘은 파랗습니다."] * 4
    raw = train.learn(texts, 512, SPECIAL_TOKENS)
    train.fill_up(raw, 512)
    return Tokenizer(raw.to_str())


def decoder(seed: int = 0, **sizes: object) -> Decoder:
    """Random weights everywhere: fresh models have zero output projections, which would hide mistakes."""
    model = build_decoder(decoder_config(vocabulary=512, context=32, **{**SIZES[0], **sizes}), seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.6 if parameter.ndim == 1 else 0.0, 0.15, generator=generator)
    return model


def ids(rows: int = 3, length: int = 17, seed: int = 5) -> torch.Tensor:
    return torch.randint(110, 512, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sizes", SIZES)
def test_logits_and_gradients_equal_transformers(sizes: dict[str, int], tokenizer: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    ours = decoder(**sizes)
    save_model(tmp_path / "model", ours, tokenizer, info={"stage": "test"}, card="")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32, attn_implementation="eager")
    ours.train()
    theirs.train()
    batch = ids()
    our_logits = ours.head(ours(batch))
    their_logits = theirs(batch).logits
    torch.testing.assert_close(our_logits, their_logits, atol=1e-4, rtol=1e-4)
    weight = torch.randn(our_logits.shape, generator=torch.Generator().manual_seed(0))
    (our_logits * weight).sum().backward()
    (their_logits * weight).sum().backward()
    pairs = [
        (ours.blocks[0].attention.query.weight, theirs.model.layers[0].self_attn.q_proj.weight),
        (ours.blocks[0].attention.key_norm.weight, theirs.model.layers[0].self_attn.k_norm.weight),
        (ours.blocks[-1].feedforward.down.weight, theirs.model.layers[-1].mlp.down_proj.weight),
        (ours.blocks[0].attention_norm.weight, theirs.model.layers[0].input_layernorm.weight),
        (ours.embedding.weight, theirs.model.embed_tokens.weight),
    ]
    for mine, other in pairs:
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-3)


def test_the_folder_comes_back_as_it_was_and_the_embedding_norm_is_folded_exactly(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = decoder()
    assert model.normalize_embedding
    before = model.head(model(ids())).detach()
    save_model(tmp_path / "m", model, tokenizer, chat_template="x", info={"stage": "test"}, card="# card")
    loaded = load_model(tmp_path / "m")
    assert not loaded.model.normalize_embedding
    torch.testing.assert_close(loaded.model.head(loaded.model(ids())), before, atol=1e-5, rtol=1e-5)
    assert loaded.stop_ids == (tokenizer.eos, tokenizer.end)
    assert loaded.tokenizer.chat_template == "x"
    assert loaded.info["stage"] == "test"


@pytest.mark.parametrize(
    "harm", ["torn weights", "missing tensor", "misshapen", "unknown type", "newer format", "torn json"]
)
def test_a_harmed_folder_is_named(harm: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    import json

    from safetensors.torch import load_file, save_file

    folder = save_model(tmp_path / "m", decoder(), tokenizer, info={}, card="")
    weights = folder / "model.safetensors"
    config = folder / "config.json"
    if harm == "torn weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "missing tensor":
        save_file({k: v for k, v in load_file(weights).items() if "q_proj" not in k}, weights)
    elif harm == "misshapen":
        save_file(
            {k: v[:-1].contiguous() if k == "lm_head.weight" else v for k, v in load_file(weights).items()}, weights
        )
    elif harm == "unknown type":
        config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "mamba"}))
    elif harm == "newer format":
        (folder / "dodam.json").write_text('{"format": 99}')
    else:
        config.write_text(config.read_text()[:20])
    with pytest.raises(FolderError, match="m/"):
        load_model(folder)


def test_no_position_sees_the_future() -> None:
    model = decoder()
    batch = ids(1, 20)
    changed = batch.clone()
    changed[0, 12:] = 111
    torch.testing.assert_close(model(batch)[:, :12], model(changed)[:, :12], atol=1e-6, rtol=0)
    assert not torch.allclose(model(batch)[:, 12:], model(changed)[:, 12:])


@pytest.mark.parametrize("split", [1, 7, 19])
def test_cached_equals_uncached_for_rows_at_different_places(split: int) -> None:
    model = decoder()
    batch = ids(3, 20)
    whole = model(batch)
    cache = Cache.empty(model.config, rows=4, capacity=32)
    starts = torch.tensor([0, 0, 0])
    first = model(batch[:, :split], cache=cache.rows(0, 3), starts_B=starts)
    torch.testing.assert_close(first, whole[:, :split], atol=1e-5, rtol=1e-5)
    for place in range(split, 20):
        step = model(batch[:, place : place + 1], cache=cache.rows(0, 3), starts_B=starts + place)
        torch.testing.assert_close(step, whole[:, place : place + 1], atol=1e-5, rtol=1e-5)
    cache.move(2, 0)  # the last row takes the first one's place and goes on there
    step = model(batch[2:3, 19:20], cache=cache.rows(0, 1), starts_B=torch.tensor([19]))
    torch.testing.assert_close(step, whole[2:3, 19:20], atol=1e-5, rtol=1e-5)


def test_documents_in_one_row_equal_documents_in_rows_of_their_own() -> None:
    model = decoder()
    one, two = ids(1, 9, seed=1), ids(1, 13, seed=2)
    packed = torch.cat([one, two], dim=1)
    documents = torch.tensor([[1] * 9 + [2] * 13])
    positions = torch.cat([torch.arange(9), torch.arange(13)])[None]
    hidden = model(packed, positions_BT=positions, mask=document_mask(documents))
    torch.testing.assert_close(hidden[:, :9], model(one), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(hidden[:, 9:], model(two), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("queries", "keys"), [(130, 130), (64, 64), (1, 50), (70, 90)])
@pytest.mark.parametrize("heads", [(4, 2), (3, 1), (2, 2)])
def test_attention_written_out_equals_the_fused_kernel(queries: int, keys: int, heads: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    q = torch.randn(2, heads[0], queries, 16, generator=generator, requires_grad=True)
    k = torch.randn(2, heads[1], keys, 16, generator=generator, requires_grad=True)
    v = torch.randn(2, heads[1], keys, 16, generator=generator, requires_grad=True)
    allowed = torch.rand(2, 1, queries, keys, generator=generator) > 0.4
    allowed[..., 0] = True
    masks = [Mask(causal=False, allowed=allowed)]
    if queries == keys:
        masks += [CAUSAL, Mask(causal=True, allowed=allowed.tril())]
    for mask in masks:
        fused = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask.allowed, is_causal=mask.causal and mask.allowed is None, enable_gqa=True
        )
        written = attend_explicitly(q, k, v, mask)
        torch.testing.assert_close(written, fused, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(attend(q, k, v, mask), fused, atol=1e-5, rtol=1e-5)
        gradients = [torch.autograd.grad(out.square().sum(), (q, k, v)) for out in (written, fused)]
        for mine, other in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_counts() -> None:
    for sizes in SIZES:
        config = decoder_config(vocabulary=512, context=32, **sizes)
        model = Decoder(config)
        assert num_parameters(config) == sum(parameter.numel() for parameter in model.parameters())
    from torch.utils.flop_counter import FlopCounterMode

    config = decoder_config(vocabulary=512, context=32, **SIZES[0])
    model = decoder()
    with FlopCounterMode(display=False) as counter:
        model.head(model(ids(2, 32))).sum().backward()
    # torch's counter does not know the fused CPU attention; everything else must agree to the last operation.
    attention = 6 * config.depth * config.heads * config.head_dim * 32
    assert counter.get_total_flops() == (flops_per_token(config, 32) - attention) * 64


def test_the_same_seed_gives_the_same_weights_and_sizes_follow_depth() -> None:
    config = decoder_config(vocabulary=512, context=32, depth=4)
    assert (config.width, config.heads, config.kv_heads, config.feedforward_size) == (192, 3, 1, 512)
    one, two, other = build_decoder(config, 7), build_decoder(config, 7), build_decoder(config, 8)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.embedding.weight, other.embedding.weight)
    assert config_json(one)["hidden_size"] == 192
    with pytest.raises(ValueError, match="multiple"):
        decoder_config(vocabulary=512, context=32, depth=2, width=64, heads=3, kv_heads=2)
    with pytest.raises(ValueError, match="at least 2"):
        decoder_config(vocabulary=512, context=32, depth=2, width=64, heads=64)
