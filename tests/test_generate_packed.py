"""A packed decoder says what the decoder says: prompts of several lengths, then steps against the cache."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dodam.generate.engine import generate
from dodam.generate.packed import Packed, may_pack
from dodam.generate.sequence import SamplingParams
from dodam.models.build import build_decoder, decoder_config
from dodam.models.decoder import Decoder
from dodam.nn.cache import Cache
from dodam.nn.lora import LoraConfig, add_lora

CONFIG = decoder_config(vocabulary=97, context=32, depth=2, width=32, heads=4, kv_heads=2)


def lively(config=CONFIG) -> Decoder:
    """Random weights, those of the norms among them, and an embedding that is normalised."""
    model = build_decoder(config, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
            else:
                nn.init.uniform_(parameter, 0.5, 1.5, generator=generator)
    return model.eval()


@torch.inference_mode()
def logits_of(model: Decoder | Packed, dtype: torch.dtype, config=CONFIG) -> list[Tensor]:
    """Of two prompts of 7 and 4 tokens on rows 1 and 2 of a cache, then of three more tokens of each."""
    generator = torch.Generator().manual_seed(2)
    ids_BT = torch.randint(0, 97, (2, 10), generator=generator)
    cache = Cache.empty(config, 4, 20, dtype).rows(1, 3)
    lengths_B = torch.tensor([7, 4])
    hidden_BTD = model(ids_BT[:, :7], cache=cache, starts_B=torch.zeros(2, dtype=torch.long))
    found = [model.head(hidden_BTD[torch.arange(2), lengths_B - 1]).float()]
    for step in range(3):
        hidden_BTD = model(ids_BT[:, 7 + step : 8 + step], cache=cache, starts_B=lengths_B + step)
        found.append(model.head(hidden_BTD[:, 0]).float())
    return found


@pytest.mark.parametrize("changed", [{}, {"qk_norm": False}, {"kv_heads": 4, "activation": "gelu"}, {"tied": True}])
def test_it_says_what_the_decoder_says(changed: dict) -> None:
    config = replace(CONFIG, **changed)
    model = lively(config)
    assert may_pack(model)
    packed = logits_of(Packed(model, torch.float32), torch.float32, config)
    torch.testing.assert_close(packed, logits_of(model, torch.float32, config), atol=1e-4, rtol=1e-4)


def test_in_bf16_it_is_as_near_as_the_trainer_is() -> None:
    model = lively()
    exact = torch.cat(logits_of(model, torch.float32)).log_softmax(-1)
    with torch.autocast("cpu", torch.bfloat16):
        trained = torch.cat(logits_of(model, torch.float32)).log_softmax(-1)
    packed = torch.cat(logits_of(Packed(model, torch.bfloat16), torch.bfloat16)).log_softmax(-1)
    near = (trained - exact).square().mean().sqrt()
    assert float((packed - exact).square().mean().sqrt()) < 1.5 * float(near)
    assert float(near) > 0


@pytest.mark.parametrize(
    "changed",
    [
        {"norm_place": "around"}, {"norm": "rms-offset"}, {"norm": "layer"}, {"qkv_bias": True}, {"gated": False},
        {"window": 4, "windowed": (True, False)}, {"unrotated": (True, False)}, {"logit_softcap": 30.0},
        {"attention_softcap": 50.0}, {"attention_scale": 0.5}, {"embedding_scale": 2.0}, {"learned_positions": True},
        {"experts": 2, "experts_chosen": 1},
    ],
)  # fmt: skip
def test_what_it_cannot_say_it_leaves_alone(changed: dict) -> None:
    assert not may_pack(Decoder(replace(CONFIG, **changed)))


def test_a_model_with_an_adapter_is_left_alone() -> None:
    model = lively()
    add_lora(model, LoraConfig(rank=2), 0)
    assert not may_pack(model)


def test_prompts_that_are_asked_often_are_read_once_and_answered_as_alone() -> None:
    model = lively()
    read: list[int] = []
    model.embedding.register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
    prompts = [[3, 4, 5, 6], [7, 8, 9], [3, 4, 5, 6], [7, 8, 9], [3, 4, 5, 6]]
    params = [SamplingParams(max_tokens=6, seed=seed) for seed in range(5)]
    together = generate(model, prompts, params, stop_ids=[])
    assert read[0] == 2 * 4
    alone = [generate(model, [ids], [one], stop_ids=[])[0] for ids, one in zip(prompts, params, strict=True)]
    assert together == alone
    assert len({tuple(one.ids) for one in together}) == 5
