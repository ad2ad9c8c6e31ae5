"""GGUF against `transformers`, which reads it, against the names of the `gguf` library, and against itself."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGUFReader, GGUFWriter, get_tensor_name_map
from gguf.constants import MODEL_ARCH_NAMES
from gguf.quants import dequantize

from dodam.data.conversation import CHAT_TEMPLATE, encode
from dodam.errors import FolderError, StorageError, UsageError
from dodam.exchange.decoders import FAMILIES
from dodam.exchange.gguf import KINDS, LAYOUTS, Written, layout_of, read_gguf, write_gguf
from dodam.exchange.gguf_reader import open_gguf
from dodam.exchange.gguf_tokenizer import PRE_TOKENIZERS, pre_tokenizer, without_marks
from dodam.exchange.mapping import expanded, to_theirs
from dodam.generate.engine import generate
from dodam.generate.sequence import SamplingParams
from dodam.models.build import build_decoder, decoder_config
from dodam.models.decoder import Decoder, DecoderConfig
from dodam.nn.mask import CAUSAL
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import fill_up, learn

TEXTS = [
    "도담은 글에서 시작해 네 것이 되는 언어 모델까지 이어지는 도구이다. 오늘은 하늘이 맑고 바람이 분다.",
    "Dodam takes your own text to a language model you own. It's 2026, and we're 12 months older!",
    "이모지 🙂🙃🎉와 ㄱㄴㄷ, 한자 漢字 그리고\n\n  들여쓰기\t탭,   빈칸 여럿   ",
    "def f(x):\n    return x**2  # 제곱 -- \"quoted\" 'S THEY'LL",
]
SIZES = {
    "vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 64, "max_position_embeddings": 128,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "original_max_position_embeddings": 32,
    "low_freq_factor": 1.0, "high_freq_factor": 4.0,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_experts": 4, "norm_topk_prob": True}
GEMMA = {"query_pre_attn_scalar": 8, "sliding_window": 7, "num_hidden_layers": 7}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("qwen3", {}),
    "qwen3, tied": ("qwen3", {"tie_word_embeddings": True}),
    "qwen2": ("qwen2", {}),
    "llama": ("llama", {}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama 3": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": ("qwen3_moe", EXPERTS),
    "smollm3": ("smollm3", {}),
    "exaone4": ("exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 4}),
    "gemma2": ("gemma2", GEMMA),
    "gemma3": ("gemma3_text", GEMMA),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 128}),
}
READ_BY_TRANSFORMERS = [case for case in CASES if case not in ("mixtral", "smollm3", "exaone4")]
TOLD_BY_METADATA = ("qwen2", "llama", "mistral")
"""Families of which transformers reads the whole config from the file; of the others it leaves things out."""


def family(case: str) -> Any:
    return next(one for one in FAMILIES if one.model_type == CASES[case][0])


def their_config(case: str) -> dict[str, Any]:
    """A config.json of a case, as transformers completes it."""
    model_type, options = CASES[case]
    values = options if model_type == "gpt2" else {**SIZES, **options}
    config = transformers.AutoConfig.for_model(model_type, **values)
    return {**config.to_dict(), "vocab_size": 512}


def random_model(config: DecoderConfig, seed: int = 0) -> Decoder:
    """Every weight random, those of norms and biases too."""
    torch.manual_seed(seed)
    model = Decoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def model_of(case: str) -> Decoder:
    return random_model(family(case).from_theirs(their_config(case)))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    raw = learn(TEXTS * 3, 512, SPECIAL_TOKENS)
    fill_up(raw, 512)
    return Tokenizer(raw.to_str())


@pytest.fixture
def write(tmp_path: Path, tokenizer: Tokenizer) -> Callable[..., Written]:
    """Writes model.gguf into the test's folder."""

    def call(
        model: Decoder, kind: Any = "f32", *, words: Tokenizer = tokenizer, template: str | None = None
    ) -> Written:
        path = tmp_path / "model.gguf"
        return write_gguf(path, model, words, kind=kind, chat_template=template, name="small")

    return call


@pytest.mark.parametrize("case", READ_BY_TRANSFORMERS)
def test_transformers_reads_the_same_model(case: str, write: Callable[..., Written]) -> None:
    model = model_of(case)
    written = write(model)
    given = {}
    if CASES[case][0] not in TOLD_BY_METADATA or "rope_parameters" in CASES[case][1] or "biases" in case:
        values = {**family(case).to_theirs(model.config), "pad_token_id": 0}
        given = {"config": transformers.AutoConfig.for_model(CASES[case][0], **values)}
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        written.path.parent, gguf_file="model.gguf", dtype=torch.float32, attn_implementation="eager", **given
    ).eval()
    ids = torch.randint(0, 512, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.head(model(ids, mask=CAUSAL))
        got = theirs(ids, use_cache=False).logits
    assert torch.allclose(got, expected, atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.05


@pytest.mark.parametrize("case", CASES)
def test_names_are_those_of_the_gguf_library(case: str, write: Callable[..., Written]) -> None:
    """The library's table from Hugging Face's names, which llama.cpp's own converter goes by."""
    model = model_of(case)
    written = write(model)
    config, table = model.config, family(case).weights(model.config)
    architecture = LAYOUTS[config.family].architecture
    number = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(number, config.depth)
    expected = {}
    for theirs, tensor in to_theirs(model, expanded(table, config.depth, config.experts)).items():
        if ".experts." in theirs:  # one tensor for all there: below
            continue
        name = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        assert name is not None, theirs
        expected[name] = tuple(
            tensor.T.shape if "gpt2" in case and tensor.ndim == 2 and ".c_" in theirs else tensor.shape
        )
    stored = {one.name: tuple(reversed(one.shape.tolist())) for one in GGUFReader(written.path).tensors}
    extra = {name: shape for name, shape in stored.items() if name not in expected}
    assert stored == {**expected, **extra}
    if config.experts:
        size, width = config.feedforward_size, config.width
        shapes = {"gate": (4, size, width), "up": (4, size, width), "down": (4, width, size)}
        assert extra == {f"blk.{i}.ffn_{part}_exps.weight": shape for i in range(4) for part, shape in shapes.items()}
    else:
        assert extra == ({"rope_freqs.weight": (4,)} if case == "llama 3" else {})


@pytest.mark.parametrize("case", CASES)
def test_reloaded_it_is_the_same(case: str, write: Callable[..., Written]) -> None:
    model = model_of(case)
    written = write(model)
    _, tensors = read_gguf(written.path, model.config)
    state = model.state_dict()
    assert tensors.keys() == state.keys() - ({"output.weight"} if model.config.tied else set())
    # 1 + weight is what Gemma's norms multiply with: that is exact, and the weight within its rounding.
    exact = model.config.norm != "rms-offset"
    assert written.differences.keys() == {"F32"}
    assert written.differences["F32"] <= (0.0 if exact else 2**-23)
    for name, tensor in tensors.items():
        offset = 1.0 if not exact and "norm" in name else 0.0
        assert torch.equal(tensor + offset, state[name] + offset), name


def interleaved_rotation(x_TE: np.ndarray, theta: float) -> np.ndarray:
    """Neighbours turned by their position, in fp64, as llama.cpp does it for a Llama."""
    T, E = x_TE.shape
    angles = np.arange(T)[:, None] * theta ** (-np.arange(0, E, 2) / E)
    even, odd = x_TE[:, ::2], x_TE[:, 1::2]
    out = np.empty_like(x_TE)
    out[:, ::2] = even * np.cos(angles) - odd * np.sin(angles)
    out[:, 1::2] = even * np.sin(angles) + odd * np.cos(angles)
    return out


@pytest.mark.parametrize("case", ["llama", "smollm3", "mixtral"])
def test_scores_of_interleaved_heads_are_ours(case: str, write: Callable[..., Written]) -> None:
    model = model_of(case)
    stored = {one.name: one.data.astype(np.float64) for one in GGUFReader(write(model).path).tensors}
    x_TD = np.random.default_rng(0).normal(size=(10, 32))
    block = model.blocks[0].attention
    theta, E = model.config.theta, model.config.head_dim
    for name, layer in (("attn_q", block.query), ("attn_k", block.key)):
        rows = stored[f"blk.0.{name}.weight"]
        ours = (x_TD @ layer.weight.detach().double().numpy().T).reshape(10, -1, E)
        theirs = (x_TD @ rows.T).reshape(10, -1, E)
        for head in range(ours.shape[1]):
            halves = np.concatenate([theirs[:, head, ::2], theirs[:, head, 1::2]], axis=-1)
            assert np.allclose(halves, ours[:, head], atol=1e-12)
            turned = interleaved_rotation(theirs[:, head], theta)
            left, right = np.split(ours[:, head], 2, axis=-1)
            angles = np.arange(10)[:, None] * theta ** (-np.arange(0, E, 2) / E)
            expected = np.concatenate(
                [left * np.cos(angles) - right * np.sin(angles), left * np.sin(angles) + right * np.cos(angles)],
                axis=-1,
            )
            assert np.allclose(turned @ turned.T, expected @ expected.T, atol=1e-9)


def test_llama3_factors_divide_the_frequencies(write: Callable[..., Written]) -> None:
    model = model_of("llama 3")
    stored = {one.name: one.data for one in GGUFReader(write(model).path).tensors}
    plain = 5e5 ** (-np.arange(0, 8, 2) / 8)
    angle = torch.atan2(model.sin[1, :4], model.cos[1, :4]).numpy()  # of the first position: the frequency itself
    assert np.allclose(plain / stored["rope_freqs.weight"], angle, rtol=1e-5)
    assert stored["rope_freqs.weight"].max() == pytest.approx(8.0)


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_blocks_are_as_near_as_their_format_allows(kind: Any, write: Callable[..., Written]) -> None:
    """Q8_0: half a step of max/127. Q4_0: its 16 steps of max/8 leave out the far end, so up to one step. The scale
    itself is an F16."""
    model = model_of("qwen3")
    written = write(model, kind)
    assert written.differences.keys() == {"F32", kind.upper()} and written.differences["F32"] == 0.0
    assert not written.fallbacks
    _, tensors = read_gguf(written.path, model.config)
    largest = 0.0
    for name, tensor in tensors.items():
        before = model.state_dict()[name]
        if before.ndim == 1:
            assert torch.equal(tensor, before), name
            continue
        blocks, after = before.reshape(-1, 32), tensor.reshape(-1, 32)
        peak = blocks.abs().amax(1, keepdim=True)
        step = peak / 127 * 0.5 if kind == "q8_0" else peak / 8
        rounding = peak * 2**-11
        assert ((blocks - after).abs() <= step + rounding + 1e-7).all(), name
        largest = max(largest, (before - tensor).abs().max().item())
    assert largest == pytest.approx(written.differences[kind.upper()]) and largest > 0


@pytest.mark.parametrize(("kind", "dtype"), [("f16", torch.float16), ("bf16", torch.bfloat16)])
def test_halves_are_rounded_to_the_nearest(kind: Any, dtype: torch.dtype, write: Callable[..., Written]) -> None:
    model = model_of("gpt2")
    written = write(model, kind)
    types = {one.name: one.tensor_type.name for one in GGUFReader(written.path).tensors}
    assert types["token_embd.weight"] == types["blk.0.attn_qkv.weight"] == kind.upper()
    assert types["position_embd.weight"] == types["output_norm.weight"] == types["blk.0.ffn_up.bias"] == "F32"
    _, tensors = read_gguf(written.path, model.config)
    largest = 0.0
    for name, tensor in tensors.items():
        before = model.state_dict()[name]
        rounded = before.to(dtype).float() if before.ndim == 2 and name != "positions.weight" else before
        assert torch.equal(tensor, rounded), name
        largest = max(largest, (before - rounded).abs().max().item())
    assert written.differences == {"F32": 0.0, kind.upper(): largest} and largest > 0


def test_what_does_not_divide_into_blocks_falls_back(write: Callable[..., Written]) -> None:
    config = replace(model_of("qwen3").config, feedforward_size=48, depth=2)
    model = random_model(config)
    with torch.no_grad():
        model.blocks[1].feedforward.down.weight[0, 0] = 1e5
    written = write(model, "q8_0")
    types = {one.name: one.tensor_type.name for one in GGUFReader(written.path).tensors}
    assert written.fallbacks == {
        "blk.0.ffn_down.weight": "F16: rows of 48 do not divide by 32",
        "blk.1.ffn_down.weight": "F32: holds values too large for F16",
    }
    assert types["blk.0.ffn_down.weight"] == "F16" and types["blk.1.ffn_down.weight"] == "F32"
    assert types["blk.0.ffn_up.weight"] == "Q8_0" and types["token_embd.weight"] == "Q8_0"


def test_metadata_of_our_model(write: Callable[..., Written], tokenizer: Tokenizer) -> None:
    config = replace(model_of("qwen3").config, theta=50_000.0, eps=1e-5, context=96)
    written = write(random_model(config), "q4_0", template=CHAT_TEMPLATE)
    metadata, _ = read_gguf(written.path, config)
    golden = {
        "general.architecture": "qwen3",
        "general.name": "small",
        "general.file_type": 2,
        "general.quantization_version": 2,
        "qwen3.vocab_size": 512,
        "qwen3.context_length": 96,
        "qwen3.embedding_length": 32,
        "qwen3.block_count": 4,
        "qwen3.feed_forward_length": 64,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 8,
        "qwen3.attention.value_length": 8,
        "qwen3.attention.layer_norm_rms_epsilon": pytest.approx(1e-5),
        "qwen3.rope.dimension_count": 8,
        "qwen3.rope.freq_base": 50_000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.eot_token_id": 9,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE.replace("endgeneration", "endif").replace("generation %", "if true %"),
    }
    assert {key: metadata[key] for key in golden} == golden
    left = metadata.keys() - golden.keys()
    assert left == {"general.type", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"}
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert tokens == [tokenizer.raw.id_to_token(number) for number in range(512)]
    assert types[:110] == [3] * 110 and types[110:366] == [1] * 256
    assert written.context == 96


GOLDEN = {
    "gemma3": {
        "gemma3.attention.sliding_window": 7,
        "gemma3.rope.freq_base": 1e6,
        "gemma3.rope.freq_base_swa": 1e4,
        "gemma3.attention.key_length": 8,
    },
    "gemma2": {
        "gemma2.attention.sliding_window": 7,
        "gemma2.attn_logit_softcapping": 50.0,
        "gemma2.final_logit_softcapping": 30.0,
    },
    "mixtral": {"llama.expert_count": 4, "llama.expert_used_count": 2, "general.architecture": "llama"},
    "qwen3_moe": {"qwen3moe.expert_feed_forward_length": 32, "qwen3moe.expert_count": 4},
    "gpt2": {"gpt2.attention.layer_norm_epsilon": pytest.approx(1e-5), "gpt2.context_length": 128},
    "llama 3": {"llama.rope.freq_base": 5e5},
}


@pytest.mark.parametrize("case", GOLDEN)
def test_metadata_of_families(case: str, write: Callable[..., Written]) -> None:
    model = model_of(case)
    metadata, _ = read_gguf(write(model).path, model.config)
    assert {key: metadata.get(key) for key in GOLDEN[case]} == GOLDEN[case]
    assert not any("scaling" in key for key in metadata)
    assert case != "gpt2" or not any(".rope." in key for key in metadata)


def test_scaling_is_told(write: Callable[..., Written]) -> None:
    values = {**their_config("qwen3"), "rope_parameters": YARN}
    config = family("qwen3").from_theirs(values)
    metadata, _ = read_gguf(write(random_model(config)).path, config)
    assert metadata["qwen3.rope.scaling.type"] == "yarn"
    assert metadata["qwen3.rope.scaling.factor"] == 4.0
    assert metadata["qwen3.rope.scaling.original_context_length"] == 32
    linear = replace(config, rotary_scaling=replace(config.rotary_scaling, kind="linear"))
    metadata, _ = read_gguf(write(random_model(linear)).path, linear)
    assert metadata["qwen3.rope.scaling.type"] == "linear"
    assert "qwen3.rope.scaling.original_context_length" not in metadata


def test_a_window_llama_cpp_does_not_know_shortens_the_context(write: Callable[..., Written]) -> None:
    config = replace(model_of("mistral").config, window=24, windowed=(True,) * 4)
    written = write(random_model(config))
    metadata, _ = read_gguf(written.path, config)
    assert written.context == metadata["llama.context_length"] == 24
    assert "llama.attention.sliding_window" not in metadata


def test_transformers_cuts_texts_as_we_do(write: Callable[..., Written], tokenizer: Tokenizer) -> None:
    written = write(model_of("qwen3"), template=CHAT_TEMPLATE)
    theirs = transformers.AutoTokenizer.from_pretrained(written.path.parent, gguf_file="model.gguf")
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert theirs(text, add_special_tokens=False).input_ids == ids
        assert len(ids) < len(text.encode())
    marked = "<bos><|user|> 안녕<|end|><|assistant|>"
    assert theirs(marked, add_special_tokens=False).input_ids == tokenizer.encode_template(marked)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (1, 2, 0)
    messages = [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "네, 안녕하세요."}]
    rendered = theirs.apply_chat_template(messages, tokenize=False)
    assert theirs(rendered, add_special_tokens=False).input_ids == encode(tokenizer, messages).ids


def test_names_of_pre_tokenizers_mean_what_transformers_takes_them_for() -> None:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS as THEIRS

    found = {name: THEIRS[name] for _, name in PRE_TOKENIZERS.items() if name in THEIRS}
    assert found == {name: cut[0] for (cut, _), name in PRE_TOKENIZERS.items() if name in THEIRS}
    assert found.keys() == {"qwen2", "llama-bpe", "dbrx", "gpt-4o"}


def test_gpt2_and_smollm_are_known_by_their_stages(tokenizer: Tokenizer) -> None:
    settings = json.loads(tokenizer.json)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    assert pre_tokenizer({**settings, "pre_tokenizer": level}) == "gpt-2"
    digits = {"type": "Digits", "individual_digits": True}
    both = {"type": "Sequence", "pretokenizers": [digits, level]}
    assert pre_tokenizer({**settings, "pre_tokenizer": both}) == "smollm"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"pre_tokenizer": None}, "none"),
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        ({"model": {"type": "Unigram"}}, "byte-level"),
        ({"model": {"type": "BPE", "byte_fallback": True}}, "byte-level"),
    ],
)
def test_an_unknown_tokenizer_is_refused(change: dict, told: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(FolderError, match=told) as caught:
        pre_tokenizer({**json.loads(tokenizer.json), **change})
    assert "qwen2" in caught.value.mend


@pytest.mark.parametrize("begins", [False, True])
def test_a_foreign_tokenizer_keeps_its_ways(begins: bool, tokenizer: Tokenizer, write: Callable[..., Written]) -> None:
    """Its bos is added where its own file adds it; a word that only fills up rows is not called padding."""
    settings = json.loads(tokenizer.json)
    if begins:
        bos = {"id": "<bos>", "ids": [1], "tokens": ["<bos>"]}
        single = [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
        settings["post_processor"] = {
            "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": {"<bos>": bos},
        }  # fmt: skip
    foreign = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": tokenizer.raw.id_to_token(400)}
    model = model_of("qwen3")
    written = write(model, words=Tokenizer(json.dumps(settings), None, foreign))
    metadata, _ = read_gguf(written.path, model.config)
    assert metadata["tokenizer.ggml.add_bos_token"] is begins
    assert metadata["tokenizer.ggml.eos_token_id"] == 2
    assert "tokenizer.ggml.padding_token_id" not in metadata and "tokenizer.ggml.eot_token_id" not in metadata


def test_the_reader_finds_what_the_librarys_finds(write: Callable[..., Written]) -> None:
    model = model_of("gemma3")
    written = write(model, "q8_0", template=CHAT_TEMPLATE)
    metadata, stored = open_gguf(written.path)
    library = GGUFReader(written.path)
    theirs = {name: field.contents() for name, field in library.fields.items() if not name.startswith("GGUF.")}
    assert metadata == theirs
    assert list(stored) == [one.name for one in library.tensors]
    for one in library.tensors:
        tensor = stored[one.name]
        assert tensor.shape == tuple(reversed(one.shape.tolist())) and tensor.kind == one.tensor_type
        assert np.array_equal(tensor.values().numpy(), dequantize(one.data, one.tensor_type))


def test_an_unknown_pattern_is_refused_and_nothing_is_written(
    write: Callable[..., Written], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    settings = json.loads(tokenizer.json)
    settings["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": r"\p{L}+|\s+"}
    with pytest.raises(FolderError, match=r"cuts by \\p\{L\}\+"):
        write(model_of("qwen3"), words=Tokenizer(json.dumps(settings)))
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_is_filled_up_to_the_models_rows(write: Callable[..., Written], tokenizer: Tokenizer) -> None:
    config = replace(model_of("qwen3").config, vocabulary=576)
    metadata, _ = read_gguf(write(random_model(config)).path, config)
    assert len(set(metadata["tokenizer.ggml.tokens"])) == len(metadata["tokenizer.ggml.token_type"]) == 576
    assert metadata["tokenizer.ggml.tokens"][511:514] == [tokenizer.raw.id_to_token(511), "[PAD512]", "[PAD513]"]
    assert metadata["tokenizer.ggml.token_type"][512:] == [5] * 64
    with pytest.raises(FolderError, match="has 512 ids, the model only 448"):
        write(random_model(replace(config, vocabulary=448)))


def test_marks_of_training_leave_a_template_and_its_white_space() -> None:
    template = "{%- generation -%}{{ 'a' }}{%- endgeneration %} {% generation %}b{% endgeneration %}"
    assert without_marks(template) == ("{%- if true -%}{{ 'a' }}{%- endif %} {% if true %}b{% endif %}")


@pytest.mark.parametrize(
    ("case", "change", "told"),
    [
        ("qwen3", {"family": "bert"}, "bert"),
        ("qwen3", {"qkv_bias": True}, "qwen3 with qkv_bias = True"),
        ("qwen3", {"attention_scale": 0.5}, "attention_scale = 0.5"),
        ("gpt2", {"activation": "gelu"}, "activation = 'gelu'"),
        ("qwen3_moe", {"experts_normalized": False}, "experts_normalized = False"),
        ("smollm3", {"unrotated": ()}, "unrotated"),
        ("exaone4", {"window": 7, "windowed": (True,) * 4, "unrotated": (False, True) * 2}, "unrotated"),
        ("gemma2", {"windowed": (True,) * 7}, "windowed"),
        ("gemma2", {"logit_softcap": None}, "soft cap"),
        ("gemma2", {"tied": False}, "tied = False"),
        ("gemma3", {"logit_softcap": 30.0}, "logit_softcap"),
        ("gemma3", {"embedding_scale": 1.0}, "embedding_scale"),
        ("smollm3", {"rotary_scaling": model_of("llama 3").config.rotary_scaling}, "llama3"),
    ],
)
def test_what_llama_cpp_cannot_run_is_refused(
    case: str, change: dict, told: str, write: Callable[..., Written], tmp_path: Path
) -> None:
    model = model_of(case)
    model.config = replace(model.config, **change)
    with pytest.raises(FolderError, match=told) as caught:
        write(model)
    assert "hf" in caught.value.mend
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model_type", "values"),
    [
        ("gemma2", {"num_hidden_layers": 46, "hidden_size": 4608, "num_attention_heads": 32, "head_dim": 128,
                    "query_pre_attn_scalar": 144}),
        ("gemma3_text", {"num_hidden_layers": 62, "hidden_size": 5376, "num_attention_heads": 32, "head_dim": 128,
                         "query_pre_attn_scalar": 168}),
        ("gemma3_text", {"num_hidden_layers": 26, "hidden_size": 1152, "num_attention_heads": 4, "head_dim": 256}),
        ("exaone4", {"num_hidden_layers": 64, "sliding_window": 4096}),
        ("smollm3", {"num_hidden_layers": 36}),
    ],
    ids=["gemma-2-27b", "gemma-3-27b", "gemma-3-1b", "EXAONE-4.0-32B", "SmolLM3-3B"],
)  # fmt: skip
def test_published_shapes_are_known(model_type: str, values: dict[str, Any]) -> None:
    theirs = transformers.AutoConfig.for_model(model_type, **values).to_dict()
    config = next(one for one in FAMILIES if one.model_type == model_type).from_theirs(theirs)
    assert layout_of(config) is LAYOUTS[model_type]


def test_every_family_is_written_or_refused() -> None:
    assert LAYOUTS.keys() == {one.model_type for one in FAMILIES}


def test_a_full_disk_leaves_nothing(
    write: Callable[..., Written], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write(model_of("qwen3")).path.read_bytes()
    padding, calls = GGUFWriter.write_padding, iter(range(100))

    def full(self: GGUFWriter, *args: Any) -> None:
        if next(calls) == 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        padding(self, *args)

    monkeypatch.setattr(GGUFWriter, "write_padding", full)
    with pytest.raises(StorageError, match="disk is full"):
        write(random_model(model_of("qwen3").config, seed=1))
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]
    assert (tmp_path / "model.gguf").read_bytes() == old


def test_a_folder_is_no_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        write_gguf(tmp_path, model_of("qwen3"), tokenizer, kind="f32", chat_template=None, name="small")


@pytest.mark.parametrize("keep", [0, 3, 20, 100, 2_000, 20_000, -4096])
def test_a_torn_file_is_named(keep: int, write: Callable[..., Written]) -> None:
    model = model_of("qwen3")
    path = write(model).path
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FolderError, match=r"model\.gguf: cannot be read as GGUF"):
        read_gguf(path, model.config)


def test_a_damaged_header_is_named_or_read(write: Callable[..., Written]) -> None:
    path = write(model_of("qwen3")).path
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    named = 0
    for _ in range(150):
        data = bytearray(whole[:60_000])
        for place in rng.integers(4, 700, size=3):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            open_gguf(path)
        except FolderError:
            named += 1
    assert named > 100


def test_a_file_of_another_model_is_refused(write: Callable[..., Written], tmp_path: Path) -> None:
    model = model_of("qwen3")
    path = write(model).path
    with pytest.raises(FolderError, match="missing or too many"):
        read_gguf(path, replace(model.config, depth=3))
    with pytest.raises(FolderError, match="is \\(64, 32\\)"):
        read_gguf(path, replace(model.config, feedforward_size=96))
    with pytest.raises(FolderError, match="cannot be read"):
        read_gguf(tmp_path / "none.gguf", model.config)


def test_a_weight_in_half_precision_is_written_as_it_is(write: Callable[..., Written]) -> None:
    model = model_of("qwen3").bfloat16()
    assert write(model, "bf16").differences == {"F32": 0.0, "BF16": 0.0}
    assert set(KINDS) == {"f32", "f16", "bf16", "q8_0", "q4_0"}


def trained(tokenizer: Tokenizer) -> Decoder:
    """A model of ours that has read two lines until it knows them, so that no two tokens are equally likely."""
    config = decoder_config(vocabulary=512, context=256, depth=2, width=64)
    model = build_decoder(config, seed=0)
    rows = [[tokenizer.bos, *tokenizer.encode(text)] for text in TEXTS[:2]]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(50):
        for row in rows:
            ids = torch.tensor([row])
            logits = model.head(model(ids[:, :-1]))
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[0, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.mark.interop
def test_llama_cpp_says_the_same(write: Callable[..., Written], tokenizer: Tokenizer) -> None:
    """Ids of the prompt and 64 greedy tokens, in fp32 on both sides."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (make interop)")
    model = trained(tokenizer)
    written = write(model, template=CHAT_TEMPLATE)
    f32 = 0  # GGML_TYPE_F32: keys and values would be F16 otherwise
    theirs = llama_cpp.Llama(str(written.path), n_ctx=256, n_threads=1, type_k=f32, type_v=f32, verbose=False)
    for text in TEXTS:
        assert theirs.tokenize(text.encode(), add_bos=True, special=False) == [tokenizer.bos, *tokenizer.encode(text)]
    for text in ("도담은 글에서", "Dodam takes your", "🙂 안녕"):
        prompt = [tokenizer.bos, *tokenizer.encode(text)]
        params = SamplingParams(max_tokens=64, temperature=0.0)
        expected = generate(model, [prompt], params, stop_ids=())[0].ids
        theirs.reset()
        got = list(islice(theirs.generate(prompt, temp=0.0, repeat_penalty=1.0), 64))
        assert got == expected and len(set(got)) > 4


def llama_cpp_log_probabilities(path: Path, ids_T: torch.Tensor) -> torch.Tensor:
    """Of every next token after each position of a text, [T, V], by llama.cpp with keys and values in fp32."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (make interop)")
    f32 = 0  # GGML_TYPE_F32
    theirs = llama_cpp.Llama(str(path), n_ctx=128, n_threads=1, type_k=f32, type_v=f32, logits_all=True, verbose=False)
    theirs.eval(ids_T.tolist())
    return torch.from_numpy(theirs.scores[: len(ids_T)].astype("float32")).log_softmax(-1)


def our_log_probabilities(model: Decoder, ids_T: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.head(model(ids_T[None], mask=CAUSAL))[0].float().log_softmax(-1)


@pytest.mark.interop
@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_computes_the_same(case: str, write: Callable[..., Written]) -> None:
    """Every family, in fp32, over a text longer than Gemma's windows. llama.cpp takes GELU from a table in half
    precision, so its families are further off."""
    model = model_of(case)
    ids_T = torch.randint(10, 512, (40,), generator=torch.Generator().manual_seed(1))
    got, expected = llama_cpp_log_probabilities(write(model).path, ids_T), our_log_probabilities(model, ids_T)
    assert (got.argmax(-1) == expected.argmax(-1)).all()
    assert (got - expected).abs().max() < (3e-2 if "gelu" in model.config.activation else 5e-5)
    assert expected.std() > 0.05


@pytest.mark.interop
@pytest.mark.parametrize(("kind", "furthest"), [("f16", 5e-3), ("bf16", 5e-2), ("q8_0", 0.1), ("q4_0", 0.1)])
def test_llama_cpp_reads_every_kind(kind: str, furthest: float, write: Callable[..., Written]) -> None:
    """Against our model with the weights that we read back from the file: what is left is the rounding of what they
    are multiplied with."""
    model = model_of("qwen3")
    path = write(model, kind).path
    names = read_gguf(path, model.config)[1]
    missing, unexpected = model.load_state_dict(names, strict=False)
    assert not unexpected and not any("weight" in name for name in missing)
    ids_T = torch.randint(10, 512, (40,), generator=torch.Generator().manual_seed(1))
    assert (llama_cpp_log_probabilities(path, ids_T) - our_log_probabilities(model, ids_T)).abs().max() < furthest
