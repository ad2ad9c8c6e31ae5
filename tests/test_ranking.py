"""Losses of scores and log-probabilities against plain fp64 references and TRL's numbers; answers that share a prompt
against answers alone; whatever is weighed, against counting it out."""

import json
import math
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dodam.data.answers import (
    Compared,
    ComparedLoader,
    Contest,
    Encoded,
    arrange,
    collate,
    encode_answers,
    within,
)
from dodam.data.judged import Judged, judged
from dodam.data.preferences import Ranking
from dodam.errors import DataError
from dodam.exchange.heads import head_config
from dodam.models.answers import may_share, score
from dodam.models.build import build_decoder, decoder_config
from dodam.models.decoder import Decoder
from dodam.models.encoder import build_encoder, encoder_config
from dodam.models.heads import add_head
from dodam.stages.ranked import balance_lengths, contests_of
from dodam.train.preference import Logprobs, PreferenceLoss, log_odds, logprobs_of, pair_losses
from dodam.train.ranking import ScoreLoss, davidson, first_among, scores_of, strength_of
from talking_models import make_decoder, make_tokenizer

PAD = 0
NUMBERS = st.floats(-20, 20, allow_nan=False)
LOGPROBS = st.floats(-30, -1e-3, allow_nan=False)
SCORED = st.lists(NUMBERS, min_size=2, max_size=7)


def doubles(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def ranked(prompt: str, answers: list[str], ranks: list[int], scores: tuple[float, ...] | None = None) -> Judged:
    return judged([Ranking(ask(prompt), tuple(answers), tuple(ranks), scores, "x")])[0]


# --- losses, against the formulas written out


@given(scores=SCORED, margin=st.floats(0, 3))
def test_bradley_terry_over_all_pairs_is_instructgpts_mean(scores: list[float], margin: float) -> None:
    one = ranked("q", [f"a{n}" for n in range(len(scores))], list(range(1, len(scores) + 1)))
    contests = contests_of(one, margin=margin)
    batch = collate([Compared([Encoded([1], [2], False)] * len(scores), contests)], PAD, shared=0)
    loss = (ScoreLoss().losses(doubles(scores), batch) * batch.weights_S).sum()
    terms = [
        math.log1p(math.exp(-(scores[i] - scores[j] - margin * (j - i))))
        for i in range(len(scores)) for j in range(i + 1, len(scores))
    ]  # fmt: skip
    assert float(loss) == pytest.approx(sum(terms) / math.comb(len(scores), 2), rel=1e-5, abs=1e-9)
    assert ScoreLoss().weight(batch) == pytest.approx(1.0)


@given(scores=SCORED)
def test_plackett_luce_is_the_probability_of_the_order(scores: list[float]) -> None:
    one = ranked("q", [f"a{n}" for n in range(len(scores))], list(range(1, len(scores) + 1)))
    contests = contests_of(one, "plackett-luce")
    batch = collate([Compared([Encoded([1], [2], False)] * len(scores), contests)], PAD, shared=0)
    total = float(ScoreLoss().losses(doubles(scores), batch).sum())
    share = 1.0
    for place in range(len(scores) - 1):
        share *= math.exp(scores[place]) / sum(math.exp(value) for value in scores[place:])
    assert total == pytest.approx(-math.log(share), rel=1e-9, abs=1e-9)
    assert sum(contest.weight for contest in contests) == pytest.approx(1.0)


def test_plackett_luce_lets_tied_answers_win_alone_against_those_below() -> None:
    contests = contests_of(ranked("q", list("abcd"), [1, 2, 2, 3]), "plackett-luce")
    assert sorted(contest.answers for contest in contests) == [(0, 1, 2, 3), (1, 3), (2, 3)]


@given(difference=NUMBERS, strength=st.floats(0.01, 20))
def test_davidson_is_a_probability_of_three_outcomes(difference: float, strength: float) -> None:
    a, b = math.exp(difference / 2), math.exp(-difference / 2)
    both = doubles([difference, difference, -difference])
    losses = davidson(both, torch.tensor([False, True, False]), strength)
    expected = [a / (a + b + strength), strength / (a + b + strength), b / (a + b + strength)]
    assert losses.neg().exp().tolist() == pytest.approx(expected, rel=1e-9)
    assert sum(expected) == pytest.approx(1.0)


def test_davidsons_strength_ties_equal_answers_as_often_as_told() -> None:
    losses = davidson(doubles([0.0]), torch.tensor([True]), strength_of(0.3))
    assert float(losses.neg().exp()) == pytest.approx(0.3)


@given(better=LOGPROBS, worse=LOGPROBS, beta=st.floats(0.01, 3), smoothing=st.floats(0, 0.4), gamma=st.floats(0, 2))
def test_preference_losses_are_their_formulas(
    better: float, worse: float, beta: float, smoothing: float, gamma: float
) -> None:
    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    w, l = doubles([better]), doubles([worse])  # noqa: E741
    apart = beta * (better - worse)
    dpo = -(1 - smoothing) * math.log(sigmoid(apart)) - smoothing * math.log(sigmoid(-apart))
    assert float(pair_losses("dpo", w, l, beta=beta, smoothing=smoothing)) == pytest.approx(dpo, rel=1e-6, abs=1e-9)
    simpo = -math.log(sigmoid(apart - gamma))
    assert float(pair_losses("simpo", w, l, beta=beta, gamma=gamma)) == pytest.approx(simpo, rel=1e-6, abs=1e-9)
    ipo = (better - worse - 1 / (2 * beta)) ** 2
    assert float(pair_losses("ipo", w, l, beta=beta)) == pytest.approx(ipo, rel=1e-9, abs=1e-12)
    odds = [math.exp(value) / (1 - math.exp(value)) for value in (better, worse)]
    orpo = -better - beta * math.log(sigmoid(math.log(odds[0] / odds[1])))
    assert float(pair_losses("orpo", w, l, beta=beta)) == pytest.approx(orpo, rel=1e-6, abs=1e-9)


@given(value=st.floats(-80, -1e-6))
def test_log_odds_have_gradients_everywhere(value: float) -> None:
    logprob = doubles([value]).requires_grad_()
    log_odds(logprob).sum().backward()
    assert float(logprob.grad) == pytest.approx(-1 / math.expm1(value), rel=1e-5)


def test_losses_of_certain_answers_are_finite() -> None:
    certain = torch.zeros(1, requires_grad=True)
    pair_losses("orpo", certain, torch.tensor([-1.0]), beta=0.1).sum().backward()
    assert torch.isfinite(certain.grad).all()


GOLDEN = json.loads((Path(__file__).parent / "golden" / "trl_preferences.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLDEN["preferences"], ids=lambda case: case["name"])
def test_preference_losses_are_trls(case: dict) -> None:
    """Numbers by bench/golden_trl.py: what TRL's trainers make of log-probabilities."""
    given_, options = GOLDEN["logprobs"], case["options"]
    loss = PreferenceLoss(loss=case["loss"], **options)
    count = len(given_["chosen"])
    sums = doubles([*given_["chosen"], *given_["rejected"]])
    lengths = torch.tensor([*given_["chosen_lengths"], *given_["rejected_lengths"]])
    reference = [*given_["reference_chosen"], *given_["reference_rejected"]]
    contests = [Contest((pair, pair + count), 1.0) for pair in range(count)]
    batch = collate([Compared([Encoded([1], [2], False)] * 2 * count, contests, reference)], PAD, shared=0)
    found = loss.losses(Logprobs(sums, lengths), batch)
    assert found.tolist() == pytest.approx(case["losses"], rel=2e-5)


def test_reward_losses_are_trls() -> None:
    given_ = GOLDEN["reward"]
    scores_SK = torch.tensor([given_["chosen"], given_["rejected"]], dtype=torch.float64).T
    there = torch.ones_like(scores_SK, dtype=torch.bool)
    for margins, expected in ((torch.zeros(len(scores_SK)), given_["loss"]), (None, given_["loss_with_margin"])):
        margins = torch.tensor(given_["margin"]) if margins is None else margins
        assert float(first_among(scores_SK, there, margins).mean()) == pytest.approx(expected, rel=1e-6)


# --- answers that share a prompt


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return make_decoder(context=96)


def some_answers(seed: int = 0, prompts: int = 4) -> list[list[Encoded]]:
    """Prompts of several lengths with two to five answers each."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(prompts):
        prompt = rng.integers(5, 400, rng.integers(3, 20)).tolist()
        answers = [rng.integers(5, 400, rng.integers(1, 15)).tolist() for _ in range(rng.integers(2, 6))]
        found.append([Encoded(prompt, answer, False) for answer in answers])
    return found


def alone(model: Decoder, one: Encoded) -> float:
    """The log-probability of an answer, computed by itself, from the definition."""
    ids = torch.tensor([one.prompt + one.answer])
    logits = model.head(model(ids)).double().log_softmax(-1)[0]
    return float(sum(logits[len(one.prompt) + n - 1, token] for n, token in enumerate(one.answer)))


@pytest.mark.parametrize("shared", [0, 40, 96])
@pytest.mark.parametrize("at_once", [1, 8])
def test_answers_that_share_a_prompt_are_as_likely_as_alone(shared: int, at_once: int, decoder: Decoder) -> None:
    prompts = some_answers()
    parts = arrange(prompts, PAD, shared=shared, at_once=at_once)
    with torch.no_grad():
        found = logprobs_of(decoder, parts, torch.float32)
        expected = [alone(decoder, one) for one in chain(*prompts)]
    assert found.sums_A.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert found.lengths_A.tolist() == [len(one.answer) for one in chain(*prompts)]
    if shared == 96:
        assert sum(int(part.real_BT.sum()) for part in parts) < sum(
            len(one.prompt + one.answer) for one in chain(*prompts)
        )


def test_scores_are_the_heads_at_each_answers_end_however_rows_are_shared(decoder: Decoder) -> None:
    add_head(decoder, head_config(decoder.config, 1, problem="regression"), 3)
    prompts = some_answers(1)
    with torch.no_grad():
        shared = scores_of(decoder, arrange(prompts, PAD, shared=96), torch.float32)
        expected = []
        for one in chain(*prompts):
            hidden = decoder(torch.tensor([one.prompt + one.answer]))[0, -1]
            expected.append(float(decoder.classifier.output(hidden)[0]))
    assert shared.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_encoders_read_each_answer_for_itself() -> None:
    model = build_encoder(encoder_config(vocabulary=448, context=64, depth=2, width=32, heads=2), 0).eval()
    add_head(model, head_config(model.config, 1, problem="regression"), 0)
    with torch.no_grad():
        model.classifier.output.weight.normal_(0, 1)
    wholes = [Encoded([], [7, 8, 9, 10][: n + 1], False, [0, 0, 1, 1][: n + 1]) for n in range(4)]
    (rows,) = arrange([wholes], PAD, shared=0)
    with torch.no_grad():
        together = score(model, rows, torch.float32)[rows.numbers_A.argsort()]
        single = [float(score(model, arrange([[one]], PAD, shared=0)[0], torch.float32)) for one in wholes]
    assert together.tolist() == pytest.approx(single, rel=1e-4, abs=1e-5)
    assert not may_share(model)


def test_a_window_is_no_place_to_share_a_prompt() -> None:
    config = decoder_config(vocabulary=64, context=64, depth=2, width=32, heads=2)
    assert may_share(build_decoder(config, 0))
    windowed = build_decoder(decoder_config(vocabulary=64, context=64, depth=2, width=32, heads=2), 0)
    object.__setattr__(windowed.config, "window", 8)
    object.__setattr__(windowed.config, "windowed", (True, False))
    assert not may_share(windowed)


@pytest.mark.parametrize("loss", ["dpo", "ipo", "orpo", "simpo"])
def test_gradients_are_those_of_pairs_one_by_one(loss: str, decoder: Decoder) -> None:
    """All pairs of rankings, each answer computed once, against every pair computed for itself."""
    prompts = some_answers(2, 3)
    contests = [contests_of(ranked(f"q{n}", [f"a{i}" for i in range(len(mine))], list(range(1, len(mine) + 1))))
                for n, mine in enumerate(prompts)]  # fmt: skip
    references = [[-1.5 * len(one.answer) for one in mine] for mine in prompts]
    objective = PreferenceLoss(loss=loss, beta=0.3, gamma=0.5 if loss == "simpo" else 0.0, sft_weight=0.2)
    compared = [Compared(*three) for three in zip(prompts, contests, references, strict=True)]
    parameters = [decoder.embedding.weight, decoder.output.weight, decoder.blocks[0].attention.query.weight]

    def gradients(loss: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(loss, parameters))

    together = gradients(objective(decoder, collate(compared, PAD, shared=96)))
    again = gradients(PreferenceLoss(**{**vars(objective), "keep": False})(decoder, collate(compared, PAD, shared=96)))
    one_by_one = [torch.zeros_like(parameter) for parameter in parameters]
    for one in compared:
        for contest in one.contests:
            found = gradients(objective(decoder, collate([one._replace(contests=[contest])], PAD, shared=0)))
            one_by_one = [total + gradient for total, gradient in zip(one_by_one, found, strict=True)]
    for mine, kept, expected in zip(together, again, one_by_one, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(mine, kept, rtol=1e-5, atol=1e-7)


def test_answers_are_encoded_by_the_chat_template_to_their_end() -> None:
    tokenizer = make_tokenizer()
    prompt = [*ask("The sky?"), {"role": "assistant", "content": "Blue."}, *ask("And bananas?")]
    ((one, two),) = encode_answers(tokenizer, [(prompt, ["yellow", "blue sky"])], 96)
    assert one.prompt == two.prompt
    assert tokenizer.decode(one.prompt, special=True).endswith("And bananas?<|end|><|assistant|>")
    assert tokenizer.decode(one.answer, special=True) == " yellow<|end|>"
    assert not one.cut


@given(prompt=st.integers(1, 80), answer=st.integers(1, 80), context=st.integers(16, 64))
@settings(max_examples=200)
def test_what_is_cut_fits_and_keeps_its_ends(prompt: int, answer: int, context: int) -> None:
    whole = (list(range(prompt)), list(range(100, 100 + answer)))
    one = within(*whole, context)
    assert len(one.prompt) + len(one.answer) <= context
    assert one.prompt[0] == 0 and one.prompt[1:] == (whole[0][-len(one.prompt) + 1 :] if len(one.prompt) > 1 else [])
    assert one.answer[-1] == whole[1][-1] and one.answer[:-1] == whole[1][: len(one.answer) - 1]
    assert one.cut == (len(one.prompt + one.answer) < prompt + answer)
    assert one.cut or prompt + answer <= context
    assert len(one.prompt) + len(one.answer) == min(context, prompt + answer) or not one.cut


def test_batches_are_a_function_of_their_number_and_read_every_prompt_once_a_pass() -> None:
    prompts = [
        Compared(mine, [Contest((0, 1), 1.0)], [float(n)] * len(mine)) for n, mine in enumerate(some_answers(3, 10))
    ]
    loader, again = (ComparedLoader(prompts, batch=4, pad=PAD, seed=5, shared=96) for _ in range(2))
    again.batch(7)
    seen = []
    for step in range(5):
        batch = loader.batch(step)
        assert torch.equal(batch.parts[0].ids_BT, again.batch(step).parts[0].ids_BT)
        seen += batch.reference_A[::2].tolist()
    assert sorted(seen) == sorted([float(n) for n in range(10)] * 2)


def test_answers_that_nothing_compares_are_not_computed() -> None:
    contests = contests_of(ranked("q", list("abcd"), [1, 2, 3, 4]), "best-and-worst")
    assert [contest.answers for contest in contests] == [(0, 3)]
    batch = collate([Compared([Encoded([1, 2], [n], False) for n in range(4)], contests)], PAD, shared=0)
    assert batch.num_answers == 2
    assert batch.contests_SK.tolist() == [[0, 1]]


# --- lengths


def test_balanced_weights_leave_length_nothing_to_tell() -> None:
    """Against counting: after it, in every bin, longer and shorter ones are preferred equally often."""
    rng = np.random.default_rng(0)
    prompts = []
    for n in range(600):
        sizes = rng.integers(1, 60, 2)
        longer_wins = rng.random() < 0.8
        better, worse = (sizes.max(), sizes.min()) if longer_wins else (sizes.min(), sizes.max())
        if better != worse:
            prompts.append(ranked(f"q{n}", ["x" * better, "y" * worse], [1, 2]))
    contests = balance_lengths(prompts, [contests_of(one) for one in prompts])
    gaps = np.array([math.log1p(len(one.answers[0])) - math.log1p(len(one.answers[1])) for one in prompts])
    weights = np.array([sum(contest.weight for contest in mine) for mine in contests])
    assert (weights * np.sign(gaps)).sum() == pytest.approx(0, abs=1e-6)
    assert abs((weights * gaps).sum()) < 0.02 * (weights * abs(gaps)).sum()
    assert weights[gaps < 0] == pytest.approx(1.0)
    assert weights[gaps > 0].mean() < 0.4
    one_sided = [ranked(f"q{n}", ["long answer", "no"], [1, 2]) for n in range(5)]
    with pytest.raises(DataError, match="always preferred"):
        balance_lengths(one_sided, [contests_of(one) for one in one_sided])


def test_margins_by_scores_need_scores() -> None:
    scored = ranked("q", ["a", "b"], [1, 2], (3.0, 1.0))
    assert contests_of(scored, margin=0.5, margin_by="scores")[0].margin == 1.0
    with pytest.raises(DataError, match="needs a score"):
        contests_of(ranked("q", ["a", "b"], [1, 2]), margin=0.5, margin_by="scores")


def test_softplus_is_what_first_among_two_is() -> None:
    scores = torch.randn(5, 2)
    found = first_among(scores, torch.ones(5, 2, dtype=torch.bool), torch.zeros(5))
    torch.testing.assert_close(found, F.softplus(scores[:, 1] - scores[:, 0]))
