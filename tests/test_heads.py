"""Every family's heads against `transformers`, both ways, logits and gradients: of texts, of tokens, of spans."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers

from dodam.errors import FolderError, UsageError
from dodam.exchange.families import FAMILIES
from dodam.exchange.heads import (
    SHAPES,
    asked_by,
    asked_in,
    classifier_table,
    head_config,
    read_classifier,
    save_classifier,
)
from dodam.exchange.mapping import table_of
from dodam.models.build import decoder_config
from dodam.models.encoder import build_encoder
from dodam.models.heads import add_head, classify
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import fill_up, learn

SMALL = {
    "vocab_size": 160, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip
ENCODER = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
HEAD_DIM = {**SMALL, "head_dim": 8}
GEMMA = {**HEAD_DIM, "query_pre_attn_scalar": 8, "sliding_window": 8}
MODERN = {**ENCODER, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 6}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", ENCODER),
    "roberta": ("roberta", ENCODER),
    "roberta, two segments": ("roberta", {**ENCODER, "type_vocab_size": 2}),
    "modernbert": ("modernbert", MODERN),
    "modernbert, mean": ("modernbert", {**MODERN, "classifier_pooling": "mean", "classifier_bias": True}),
    "qwen3": ("qwen3", HEAD_DIM),
    "qwen3, tied": ("qwen3", {**HEAD_DIM, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", SMALL),
    "llama": ("llama", SMALL),
    "mistral": ("mistral", {**SMALL, "sliding_window": 8}),
    "smollm3": ("smollm3", SMALL),
    "exaone4": ("exaone4", {**HEAD_DIM, "sliding_window": 8}),
    "gemma2": ("gemma2", GEMMA),
    "gemma3_text": ("gemma3_text", GEMMA),
    "gpt2": (
        "gpt2",
        {"vocab_size": 160, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "pad_token_id": 1},
    ),
}  # fmt: skip
CLASSES: dict[str, tuple[Any, int]] = {
    "text": (transformers.AutoModelForSequenceClassification, 3),
    "tokens": (transformers.AutoModelForTokenClassification, 3),
    "span": (transformers.AutoModelForQuestionAnswering, 2),
}
BOTH = [(case, asked) for case in CASES for asked in SHAPES[case.split(",")[0]].asked]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    raw = learn(["하늘은 파랗다", "the sky is blue"], 384, SPECIAL_TOKENS)
    fill_up(raw, 384)
    return Tokenizer(raw.to_str())


def reference(case: str, asked: str, folder: Path) -> Any:
    """A small random model with a head that `transformers` made and saved."""
    model_type, options = CASES[case]
    kind, num_labels = CLASSES[asked]
    config = transformers.AutoConfig.for_model(model_type, **options, num_labels=num_labels)
    torch.manual_seed(0)
    model = kind.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def padded(rows: int = 3, length: int = 20) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids [B, T], where there are tokens, segments; rows of different length, the rest padding."""
    ids = torch.randint(4, 160, (rows, length), generator=torch.Generator().manual_seed(1))
    real = torch.arange(length) < torch.tensor([length, length - 7, 5])[:, None]
    segments = ((torch.arange(length) > 3) & real).long()
    return torch.where(real, ids, 1), real, segments


def logits_of(theirs: Any, ids: torch.Tensor, real: torch.Tensor, more: dict[str, torch.Tensor]) -> torch.Tensor:
    """What `transformers` says: [B, L], or [B, T, L]; of a span both its logits side by side."""
    said = theirs(ids, attention_mask=real.long(), **more)
    return said.logits if "logits" in said else torch.stack([said.start_logits, said.end_logits], -1)


def test_every_family_with_a_head_is_compared() -> None:
    assert {case.split(",")[0] for case in CASES} == set(SHAPES)


def test_what_a_family_can_be_asked_is_what_transformers_has() -> None:
    from transformers.models.auto import modeling_auto as auto

    classes = {
        "text": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "tokens": auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        "span": auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    }
    for family, shape in SHAPES.items():
        assert set(shape.asked) == {asked for asked, names in classes.items() if family in names}


@pytest.mark.parametrize(("case", "asked"), BOTH, ids=[f"{case}: {asked}" for case, asked in BOTH])
def test_logits_and_gradients_are_those_of_transformers_both_ways(
    case: str, asked: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    theirs = reference(case, asked, tmp_path / "theirs")
    model, names, problem = read_classifier(tmp_path / "theirs")
    assert names == ("LABEL_0", "LABEL_1", "LABEL_2")[: CLASSES[asked][1]] and asked_by(problem) == asked
    ids, real, segments = padded()
    more = {"token_type_ids": segments} if getattr(model.config, "segments", 0) > 1 else {}
    seen = real if asked != "text" else torch.ones(3, dtype=torch.bool)  # logits of padding are nobody's business
    expected = logits_of(theirs, ids, real, more)[seen]
    got = classify(model, ids, real, segments, torch.float32)[seen]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)

    labels = torch.arange(len(got)) % got.shape[1]
    F.cross_entropy(expected, labels).backward()
    F.cross_entropy(got, labels).backward()
    family = FAMILIES[model.config.family]
    table = classifier_table(family, model.config, model.classifier.config, asked_by(problem))
    ours = {weight.theirs: weight for weight in table}
    for name, parameter in theirs.named_parameters():
        weight = ours[name]
        grads = torch.cat([model.get_parameter(part).grad for part in weight.parts])
        grads = grads.T if weight.transposed else grads
        torch.testing.assert_close(grads, parameter.grad, atol=1e-5, rtol=1e-3, msg=name)

    if model.config.family != "roberta":  # whose pad token's number is part of the model
        ids = torch.where(real, ids, tokenizer.pad)
    labels_told = ["하나", "two", "3"][: len(names)]
    save_classifier(tmp_path / "ours", model, tokenizer, labels_told, problem, info={}, card="")
    again = CLASSES[asked][0].from_pretrained(tmp_path / "ours").eval()
    assert again.config.id2label == dict(enumerate(labels_told)) and again.config.label2id["하나"] == 0
    with torch.inference_mode():
        torch.testing.assert_close(logits_of(again, ids, real, more)[seen], expected, atol=1e-5, rtol=1e-4)


def test_a_head_begins_with_what_the_model_has_learned_for_masks() -> None:
    """ModernBERT's: its dense layer and norm are the language head's."""
    config = transformers.AutoConfig.for_model("modernbert", **MODERN)
    family = FAMILIES["modernbert"]
    sizes = family.from_theirs({**config.to_dict(), "architectures": [family.architecture]})
    for problem in ("single_label_classification", "tokens", "span"):
        model: Any = build_encoder(sizes, 3)
        add_head(model, head_config(sizes, 2, problem=problem), 0)
        assert torch.equal(model.classifier.dense.weight, model.dense.weight)
        assert model.classifier.dense.weight is not model.dense.weight


def test_families_without_a_head_are_refused_by_name(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model(
        "mixtral", **{**SMALL, "vocab_size": 512, "num_local_experts": 2, "num_experts_per_tok": 1}
    )
    sizes = FAMILIES["mixtral"].from_theirs({**config.to_dict(), "hidden_act": "silu"})
    with pytest.raises(UsageError, match="mixtral has no head for classifying"):
        head_config(sizes, 2)
    assert table_of(FAMILIES["mixtral"], sizes)
    with pytest.raises(UsageError, match="looks at the last token"):
        head_config(decoder_config(vocabulary=64, context=16, depth=1), 2, pooling="cls")
    gemma = FAMILIES["gemma2"].from_theirs(transformers.AutoConfig.for_model("gemma2", **GEMMA).to_dict())
    with pytest.raises(UsageError, match=r"gemma2 has no head for answering here. Families with one: bert"):
        head_config(gemma, 2, problem="span")


def test_a_head_that_does_not_fit_its_folder_is_refused(tmp_path: Path) -> None:
    from dodam import files

    reference("bert", "tokens", tmp_path)
    values = files.read_json(tmp_path / "config.json")
    assert asked_in(values) == "tokens" and asked_in({"architectures": ["BertForMaskedLM"]}) is None
    files.write_json(tmp_path / "config.json", {**values, "architectures": ["BertForQuestionAnswering"]})
    with pytest.raises(FolderError, match="a span has two ends, and id2label names 3 labels"):
        read_classifier(tmp_path)
    files.write_json(tmp_path / "config.json", {**values, "architectures": ["RobertaForTokenClassification"]})
    with pytest.raises(FolderError, match="holds no classifier"):
        read_classifier(tmp_path)
