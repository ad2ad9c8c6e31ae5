"""Beam search: the hypotheses of `transformers` to the id, all others by counting out every text, and invariants."""

import itertools
from typing import Any

import pytest
import torch
import transformers

from dodam.exchange import decoders, encoder_decoders
from dodam.exchange.mapping import expanded, load_theirs
from dodam.generate.beam import BeamParams, Candidate, Search, beam_continue, beam_search
from dodam.models.decoder import Decoder
from dodam.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, initialize

END = 2
ENDS = tuple(range(2, 40, 3))  # so many that some hypotheses of random models end early and some do not
SIZES = {"d_model": 32, "vocab_size": 40, "pad_token_id": 0, "eos_token_id": END, "decoder_start_token_id": 1}
BART = {
    **SIZES, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64, "forced_eos_token_id": None,
    "bos_token_id": 1,
}  # fmt: skip
T5 = {**SIZES, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 8}
GPT2 = {
    "vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "eos_token_id": END,
    "bos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip


def pair_of(model_type: str) -> tuple[Any, Any]:
    """A random model of theirs, far from uniform so that scores are not close, and the same as ours."""
    options = {"marian": {**BART, "scale_embedding": True}, "bart": BART, "t5": T5, "gpt2": GPT2}[model_type]
    config = transformers.AutoConfig.for_model(model_type, **options)
    torch.manual_seed(3)
    kind = transformers.AutoModelForCausalLM if model_type == "gpt2" else transformers.AutoModelForSeq2SeqLM
    reference = kind.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            if parameter.requires_grad:  # sinusoids stay what they are
                parameter.add_(0.3 * torch.randn_like(parameter))
        if hasattr(reference, "final_logits_bias"):
            reference.final_logits_bias.normal_()
            reference.final_logits_bias[0, list(ENDS)] -= 1.0
    families = decoders.FAMILIES if model_type == "gpt2" else encoder_decoders.FAMILIES
    family = next(one for one in families if one.model_type == model_type)
    sizes = family.from_theirs(config.to_dict())
    model = (Decoder if model_type == "gpt2" else EncoderDecoder)(sizes)
    table = expanded(family.weights(sizes), sizes.depth)
    weights = {weight.theirs: reference.state_dict()[weight.theirs] for weight in table}
    load_theirs(model, weights, table, where=family.model_type)
    return reference, model.eval()


def sources(count: int = 5, longest: int = 12) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    lengths = [longest - 2 * index % longest for index in range(count)]
    return [torch.randint(3, 40, (length,), generator=generator).tolist() for length in lengths]


def theirs(reference: Any, rows: list[list[int]], params: BeamParams) -> list[list[tuple[list[int], float]]]:
    """What `transformers` finds: ids up to the end, and scores."""
    longest = max(map(len, rows))
    seq2seq = reference.config.is_encoder_decoder
    padded = [[0] * (0 if seq2seq else longest - len(row)) + row for row in rows]
    padded = [row + [0] * (longest - len(row)) for row in padded]
    real = [[int(id != 0) for id in row] for row in padded]
    out = reference.generate(
        torch.tensor(padded),
        attention_mask=torch.tensor(real),
        num_beams=params.beams,
        num_return_sequences=params.beams,
        length_penalty=params.length_penalty,
        max_new_tokens=params.max_tokens,
        early_stopping={"full": True, "likely": False, "certain": "never"}[params.stop],
        eos_token_id=list(ENDS),
        suppress_tokens=list(params.never) or None,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    begin = 1 if seq2seq else longest
    rows = out.sequences[:, begin:].tolist()
    texts = [list(itertools.takewhile(lambda id: id not in ENDS, row)) for row in rows]
    pairs = list(zip(texts, out.sequences_scores.tolist(), strict=True))
    return [pairs[first : first + params.beams] for first in range(0, len(pairs), params.beams)]


def without_padding(found: Any) -> list[list[tuple[list[int], float]]]:
    return [[(one.ids, one.score) for one in best] for best in found]


CASES = [
    ("marian", {"length_penalty": 1.0}),
    ("marian", {"length_penalty": 0.6, "stop": "full"}),
    ("marian", {"length_penalty": 1.4, "stop": "certain"}),
    ("marian", {"length_penalty": 0.0, "stop": "certain", "beams": 3}),
    ("marian", {"length_penalty": -0.5}),
    ("bart", {"length_penalty": 1.0}),
    ("t5", {"length_penalty": 0.8, "stop": "full"}),
    ("gpt2", {"length_penalty": 1.0}),
]


@pytest.mark.parametrize("model_type,options", CASES)
def test_it_finds_what_transformers_finds(model_type: str, options: dict[str, Any]) -> None:
    """Sources of different lengths; padding and start, which theirs would mix up with the end of a text, are barred."""
    reference, model = pair_of(model_type)
    params = BeamParams(**{"beams": 4, "max_tokens": 14, "never": (0, 1), **options})
    find = beam_continue if model_type == "gpt2" else beam_search
    found = find(model, sources(), params, stop_ids=ENDS)
    expected = theirs(reference, sources(), params)
    for ours, wanted in zip(found, expected, strict=True):
        assert [one.ids for one in ours] == [ids for ids, _ in wanted]
        assert [one.score for one in ours] == pytest.approx([score for _, score in wanted], abs=1e-4)
    assert len({len(one.ids) for best in found for one in best}) > 1  # or else this says nothing of ending


def test_one_beam_takes_the_likeliest_token_each_time() -> None:
    _, model = pair_of("marian")
    found = beam_search(model, sources(), BeamParams(beams=1, max_tokens=14), stop_ids=ENDS)
    assert {one.reason for best in found for one in best} == {"stop", "length"}
    for source, best in zip(sources(), found, strict=True):
        ids, logprob = [1], 0.0
        while len(ids) <= 14:
            scores = model.head(model(torch.tensor([source]), torch.tensor([ids])))[0, -1].log_softmax(-1)
            ids.append(int(scores.argmax()))
            logprob += float(scores.max().detach())
            if ids[-1] in ENDS:
                break
        text = ids[1:-1] if ids[-1] in ENDS else ids[1:]
        assert [one.ids for one in best] == [text]
        assert best[0].reason == ("stop" if ids[-1] in ENDS else "length")
        assert best[0].logprob == pytest.approx(logprob, abs=1e-4)
        assert best[0].score == pytest.approx(logprob / (len(ids) - 1), abs=1e-4)


def small(seed: int = 0) -> EncoderDecoder:
    """A model of six ids, whose texts can be counted out; its outputs are no longer zero."""
    config = EncoderDecoderConfig(
        vocabulary=6, encoder_depth=1, decoder_depth=1, width=16, heads=2, head_dim=8, feedforward_size=16,
        context=16, start_id=1,
    )  # fmt: skip
    model = EncoderDecoder(config)
    initialize(model, seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_with_beams_for_all_it_finds_the_best_of_all_texts(penalty: float) -> None:
    """Every text of at most three ids is scored by the model itself, without cache or search."""
    model, source = small(), [3, 4, 5]
    params = BeamParams(beams=300, max_tokens=3, length_penalty=penalty, stop="certain")
    found = beam_search(model, [source], params, stop_ids=[END], max_rows=300)[0]
    others = [id for id in range(6) if id != END]
    texts = [(*text, END) for length in range(3) for text in itertools.product(others, repeat=length)]
    texts += itertools.product(others, repeat=3)
    scores = {}
    for text in texts:
        logits = model.head(model(torch.tensor([source]), torch.tensor([[1, *text[:-1]]])))[0]
        logprob = float(logits.log_softmax(-1).gather(1, torch.tensor(text)[:, None]).sum().detach())
        scores[tuple(id for id in text if id != END)] = logprob / len(text) ** penalty
    # Texts of two ids that end by themselves, and of three that are cut off, are told apart by their length.
    best = sorted(scores, key=lambda text: -scores[text])
    assert [tuple(one.ids) for one in found] == best
    assert [one.score for one in found] == pytest.approx([scores[text] for text in best], abs=1e-5)


def test_a_source_has_the_same_targets_whoever_is_beside_it() -> None:
    _, model = pair_of("marian")
    params = BeamParams(max_tokens=14, never=(0, 1))
    rows = sources(7)
    together = beam_search(model, rows, params, stop_ids=ENDS)
    assert len({max(len(one.ids) for one in best) for best in together}) > 1  # some leave before others
    for max_rows in (1, 12):
        apart = beam_search(model, rows, params, stop_ids=ENDS, max_rows=max_rows)
        for one, other in zip(without_padding(together), without_padding(apart), strict=True):
            assert [ids for ids, _ in one] == [ids for ids, _ in other]
            assert [score for _, score in one] == pytest.approx([score for _, score in other], abs=1e-5)


def test_scores_are_what_the_model_says_of_the_text() -> None:
    _, model = pair_of("t5")
    source = sources()[0]
    for one in beam_search(model, [source], BeamParams(max_tokens=8, length_penalty=0.7), stop_ids=[END])[0]:
        text = torch.tensor([*one.ids, END] if one.reason == "stop" else one.ids)
        before = torch.tensor([[1, *text[:-1].tolist()]])
        logprobs = model.head(model(torch.tensor([source]), before))[0].log_softmax(-1)
        assert one.logprob == pytest.approx(float(logprobs.gather(1, text[:, None]).sum().detach()), abs=1e-4)
        assert one.score == pytest.approx(one.logprob / len(text) ** 0.7)


def run(stop: str, steps: list[list[tuple[float, int, int]]], **options: Any) -> Search:
    """A search of two beams fed with candidates until it is over or there are no more."""
    params = BeamParams(beams=2, stop=stop, **options)  # type: ignore[arg-type]
    search = Search(params, frozenset([END]), params.max_tokens)
    for candidates in steps:
        assert not search.over
        search.advance(Candidate(*one) for one in candidates)
    return search


def test_a_search_ends_when_it_is_full_or_when_nothing_can_be_won() -> None:
    first = [(-1.0, 0, END), (-1.2, 0, 7), (-1.5, 0, 8), (-9.0, 0, 9)]
    search = run("full", [first], length_penalty=0.0)
    assert [one.ids for one in search.running] == [[7], [8]]
    assert [one.logprob for one in search.ended] == [-1.0]
    second = [(-1.6, 0, END), (-1.8, 1, 9), (-1.9, 1, END), (-3.0, 0, 9)]
    assert run("full", [first, second], length_penalty=0.0).over
    over = run("certain", [first, second], length_penalty=0.0)
    assert over.over  # -1.8 only gets worse than -1.6
    assert [(one.ids, one.reason) for one in over.ended] == [([], "stop"), ([7], "stop")]
    # Divided by its length the running -1.8 / 2 beats -1.0, and divided by the greatest length it might.
    assert run("likely", [first, second], length_penalty=1.0, max_tokens=9).ended[0].ids == [7]
    assert not run("likely", [first, second], length_penalty=1.0, max_tokens=9).over
    third = [(-2.2, 0, END), (-4.0, 0, 7), (-4.1, 1, END), (-5.0, 1, 7)]
    assert run("likely", [first, second, third], length_penalty=1.0, max_tokens=9).over
    assert not run("certain", [first, second, third], length_penalty=1.0, max_tokens=9).over
    assert run("certain", [first, second, third], length_penalty=1.0, max_tokens=4).over


def test_what_ends_below_the_best_candidates_does_not_count() -> None:
    search = run("full", [[(-1.0, 0, 7), (-1.1, 0, 8), (-1.2, 0, END), (-1.3, 0, 9)]])
    assert search.ended == []
    assert [one.ids for one in search.running] == [[7], [8]]


def test_at_the_greatest_length_everything_ends() -> None:
    search = run("certain", [[(-1.0, 0, 7), (-1.1, 0, END), (-1.2, 0, 9)]], max_tokens=1)
    assert search.over
    assert [(one.ids, one.reason) for one in search.ended] == [([7], "length"), ([], "stop")]


def test_the_context_ends_a_target_and_ids_that_are_barred_never_come() -> None:
    model = small()
    found = beam_search(model, [[3, 4]], BeamParams(beams=2, max_tokens=99, never=(END, 0)), stop_ids=[END])[0]
    assert [len(one.ids) for one in found] == [16, 16]
    assert not {END, 0} & {id for one in found for id in one.ids}
    only = beam_search(model, [[3, 4]], BeamParams(beams=4, max_tokens=2, never=(0, 1, 3, 4)), stop_ids=[END])[0]
    assert sorted(one.ids for one in only) == [[], [5], [5, 5]]  # there are no more


@pytest.mark.parametrize("source", [[], [3] * 17])
def test_a_source_that_is_empty_or_too_long_is_refused(source: list[int]) -> None:
    with pytest.raises(ValueError, match="source 1 must have from 1 to 16 tokens"):
        beam_search(small(), [[3], source], BeamParams(), stop_ids=[END])
    with pytest.raises(ValueError, match="beams must be at least 1"):
        BeamParams(beams=0)


def test_nothing_comes_of_nothing() -> None:
    assert beam_search(small(), [], BeamParams(), stop_ids=[END]) == []
