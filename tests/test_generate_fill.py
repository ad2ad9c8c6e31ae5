"""Filling masks: the answers of `transformers`' own pipeline, invariants, and texts that cannot be filled in."""

import json
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers

from dodam.errors import DataError, FolderError
from dodam.folder import LoadedModel, load, save_model
from dodam.generate.fill import fill
from dodam.models.encoder import Encoder, encoder_config
from dodam.tokenizer import train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

TEXTS = ["The sky is blue. The sea is cold.", "하늘은 파랗습니다. 바다는 차갑습니다."] * 4
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "하늘", "##은", "파랗", "##다", ".", "바다", "the", "sky"]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel[Encoder]:
    """An encoder with random weights, far from uniform, as a folder of ours that was loaded again."""
    raw = train.learn(TEXTS, 512, SPECIAL_TOKENS)
    train.fill_up(raw, 512)
    model = Encoder(encoder_config(vocabulary=512, context=24, depth=2, width=32, heads=2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.3 if parameter.ndim == 1 else 0.0, 0.4, generator=generator)
    folder = tmp_path_factory.mktemp("encoder") / "model"
    save_model(folder, model, Tokenizer(raw.to_str()), info={}, card="")
    return load(folder, ("encoder",))


def pipeline(folder: Path) -> transformers.Pipeline:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    return transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=model.config.vocab_size)


def test_the_answers_are_those_of_transformers(ours: LoadedModel[Encoder]) -> None:
    theirs = pipeline(ours.path)
    for typed, whole in (
        ("The sky is [MASK].", "<bos>The sky is<mask>.<eos>"),
        ("하늘은 <mask>", "<bos>하늘은<mask><eos>"),
        ("[MASK] sea", "<bos><mask> sea<eos>"),
    ):
        plain = [one for one in theirs(whole) if ours.tokenizer.byte_lengths()[one["token"]]]
        expected = [(ours.tokenizer.piece(one["token"]), one["score"]) for one in plain[:7]]
        (found,) = fill(ours, [typed], top=7)[0]
        assert [guess["token"] for guess in found] == [token for token, _ in expected]
        assert [guess["confidence"] for guess in found] == pytest.approx([score for _, score in expected], rel=1e-3)
    assert json.loads(json.dumps(found)) == found


def test_a_berts_own_tokenizer_and_its_cls_and_sep(tmp_path: Path) -> None:
    raw = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    raw.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    raw.decoder = tokenizers.decoders.WordPiece()
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(
        transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, initializer_range=0.5, **sizes)
    )
    model.save_pretrained(tmp_path)
    text = "하늘은 [MASK] . the [MASK]"
    expected = pipeline(tmp_path)(text)
    found = fill(load(tmp_path, ("encoder",)), [text], top=3)[0]
    assert len(found) == len(expected) == 2
    for mine, other in zip(found, expected, strict=True):
        plain = [one for one in other if one["token"] >= 5][:3]
        assert [guess["token"] for guess in mine] == [WORDS[one["token"]] for one in plain]
        assert [guess["confidence"] for guess in mine] == pytest.approx([one["score"] for one in plain], rel=1e-3)


def test_what_else_is_asked_changes_nothing(ours: LoadedModel[Encoder]) -> None:
    texts = [f"{'sky ' * (number % 7)}[MASK] is{'[MASK]' * (number % 3)} cold" for number in range(40)]
    together = fill(ours, texts, top=3)
    for text, found in zip(texts, together, strict=True):
        (alone,) = fill(ours, [text], top=3)
        assert len(found) == len(alone) == text.count("[MASK]")
        for one, other in zip(found, alone, strict=True):
            assert [guess["token"] for guess in one] == [guess["token"] for guess in other]
            assert [g["confidence"] for g in one] == pytest.approx([g["confidence"] for g in other], rel=1e-4)
    assert fill(ours, []) == []


def test_a_mask_is_typed_in_several_ways_and_takes_the_space_before_it(ours: LoadedModel[Encoder]) -> None:
    same = fill(ours, ["The sky is [MASK] .", "The sky is<mask> .", "The sky is <mask> .", "The sky is[MASK] ."])
    assert [[g["token"] for g in found[0]] for found in same] == [[g["token"] for g in same[0][0]]] * 4
    special, text = fill(ours, ["sky<eos>[MASK]", "sky[MASK]"])
    assert special != text  # "<eos>" in a text is text, six characters more


def test_special_tokens_fill_in_nothing(ours: LoadedModel[Encoder]) -> None:
    before, is_special = ours.model.output.bias.detach().clone(), torch.from_numpy(ours.tokenizer.byte_lengths() == 0)
    with torch.no_grad():
        ours.model.output.bias[is_special] += 30.0
    try:
        ((found,),) = fill(ours, ["The [MASK] is blue."], top=512)
    finally:
        with torch.no_grad():
            ours.model.output.bias.copy_(before)
    assert 256 < len(found) == int((~is_special).sum())
    assert not {guess["token"] for guess in found} & set(SPECIAL_TOKENS)
    assert sum(guess["confidence"] for guess in found) < 0.01  # a probability among all tokens


def test_what_cannot_be_filled_in_is_named(ours: LoadedModel[Encoder]) -> None:
    (one,), none = fill(ours, ["[MASK]", "nothing here"])
    assert one and none == []
    with pytest.raises(DataError, match=r"in.txt:7: is 2[0-9]+ tokens long"):
        fill(ours, ["가" * 70 + "[MASK]"], where=["in.txt:7"])
    with pytest.raises(DataError, match=r"text 1: is 2[0-9]+ tokens long, the model reads 24 at most"):
        fill(ours, ["가" * 70 + "[MASK]"])
    settings = {"eos_token": "<eos>", "pad_token": "<pad>"}
    other = LoadedModel(ours.model, Tokenizer(ours.tokenizer.json, foreign=settings), {}, {}, ours.path)
    with pytest.raises(FolderError, match="no mask token"):
        fill(other, ["[MASK]"])
