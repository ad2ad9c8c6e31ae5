"""The engine's promises: an answer does not depend on the cache, the crowd, padding or the order of requests."""

import math
import random

import pytest
import torch

from dodam.generate.engine import Engine, generate
from dodam.generate.scheduler import Scheduler, group_by_length
from dodam.generate.sequence import SamplingParams, Sequence
from talking_models import Reciter, make_decoder, make_tokenizer

MODEL = make_decoder()
GREEDY = SamplingParams(max_tokens=12, temperature=0)


def prompts(num: int, longest: int = 40) -> list[list[int]]:
    rng = random.Random(1)
    return [[rng.randrange(448) for _ in range(rng.randint(1, longest))] for _ in range(num)]


@torch.inference_mode()
def greedy_without_cache(ids: list[int], num: int) -> list[int]:
    ids = list(ids)
    for _ in range(num):
        ids.append(int(MODEL.head(MODEL(torch.tensor([ids]))[0, -1]).argmax()))
    return ids[-num:]


def test_cached_equals_uncached() -> None:
    asked = prompts(6)
    outputs = generate(MODEL, asked, GREEDY, stop_ids=[])
    assert [output.ids for output in outputs] == [greedy_without_cache(ids, 12) for ids in asked]


def test_greedy_in_a_crowd_equals_greedy_alone() -> None:
    asked = prompts(50)
    together = generate(MODEL, asked, GREEDY, stop_ids=[5], max_rows=16)
    alone = [generate(MODEL, [ids], GREEDY, stop_ids=[5])[0] for ids in asked]
    assert together == alone


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(max_tokens=12, temperature=1.0, seed=3),
        SamplingParams(max_tokens=12, temperature=0.8, top_k=20, top_p=0.9, min_p=0.02, seed=4),
        SamplingParams(max_tokens=12, temperature=0.7, top_p=0.5, repetition_penalty=1.3, seed=5),
    ],
)
def test_seeded_sampling_does_not_depend_on_the_crowd(params: SamplingParams) -> None:
    mine, others = [7, 8, 9, 10], prompts(20)
    (alone,) = generate(MODEL, [mine], params, stop_ids=[])
    assert generate(MODEL, [mine], params, stop_ids=[]) == [alone]
    wild = SamplingParams(max_tokens=7, temperature=1.5, repetition_penalty=1.1)
    crowd = [*(wild for _ in others[:10]), params, *(GREEDY for _ in others[10:])]
    outputs = generate(MODEL, [*others[:10], mine, *others[10:]], crowd, stop_ids=[], max_rows=8)
    assert outputs[10] == alone


def test_one_seed_for_all_gives_each_prompt_its_own_noise() -> None:
    params = SamplingParams(max_tokens=12, seed=1)
    first, second = generate(MODEL, [[7, 8], [7, 8]], params, stop_ids=[])
    assert first != second


def test_stop_ids_and_lengths() -> None:
    model = Reciter([300, 301, 302], end=9, vocabulary=448)
    (output,) = generate(model, [[1, 2]], GREEDY, stop_ids=[9])
    assert (output.ids, output.reason) == ([300, 301, 302], "stop")
    (output,) = generate(model, [[1, 2]], SamplingParams(max_tokens=2, temperature=0), stop_ids=[9])
    assert (output.ids, output.reason) == ([300, 301], "length")


def test_ending_with_the_first_token_disturbs_nobody() -> None:
    """Prompts of other lengths are read in a group of their own, after this one has ended."""
    asked = [[7] * 60, *prompts(6, longest=8)]
    params = [SamplingParams(max_tokens=1, temperature=0), *[GREEDY] * 6]
    outputs = generate(MODEL, asked, params, stop_ids=[])
    assert [output.ids for output in outputs] == [
        greedy_without_cache(ids, its.max_tokens) for ids, its in zip(asked, params, strict=True)
    ]


def test_the_context_ends_an_answer() -> None:
    room = MODEL.config.context
    asked = [[1] * (room - 3), [1] * room, [1] * (room - 1)]
    outputs = generate(MODEL, asked, GREEDY, stop_ids=[])
    assert [(len(output.ids), output.reason) for output in outputs] == [(3, "length"), (0, "length"), (1, "length")]
    engine = Engine(MODEL, stop_ids=[])
    for ids in ([], [1] * room):
        with pytest.raises(ValueError, match="a prompt must have"):
            engine.add(ids, GREEDY)


def test_stop_texts_across_tokens_end_the_answer() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer.encode("하나 둘 셋\n\n넷")
    model = Reciter(ids, end=tokenizer.eos, vocabulary=tokenizer.size)
    params = SamplingParams(temperature=0, stop=("셋\n\n", "없음"))
    (output,) = generate(model, [[1]], params, stop_ids=[tokenizer.eos], tokenizer=tokenizer)
    assert (output.text, output.reason) == ("하나 둘 ", "stop")
    assert len(output.ids) < len(ids)
    with pytest.raises(ValueError, match="tokenizer"):
        generate(model, [[1]], params, stop_ids=[])


def test_cancel_frees_the_row_and_disturbs_nobody() -> None:
    asked = prompts(3)
    engine = Engine(MODEL, stop_ids=[], max_rows=2)
    first, second, waiting = (engine.add(ids, GREEDY) for ids in asked)
    said: dict[int, list[int]] = {first: [], second: [], waiting: []}
    for step in range(40):
        if step == 4:
            engine.cancel(first)
            engine.cancel(first)
        for event in engine.step():
            said[event.request].append(event.id)
    assert not engine.busy
    assert len(said[first]) == 4
    assert said[second] == greedy_without_cache(asked[1], 12)
    assert said[waiting] == greedy_without_cache(asked[2], 12)


def test_cancel_while_waiting() -> None:
    engine = Engine(MODEL, stop_ids=[], max_rows=1)
    running, waiting = engine.add([1], GREEDY), engine.add([2], GREEDY)
    engine.cancel(waiting)
    seen = set()
    while engine.busy:
        seen |= {event.request for event in engine.step()}
    assert seen == {running}


def test_logprobs_are_the_models_own() -> None:
    asked = prompts(3)
    params = [
        SamplingParams(max_tokens=3, temperature=0.5, top_k=5, seed=1, logprobs=2),
        SamplingParams(max_tokens=3, temperature=0),
        SamplingParams(max_tokens=3, temperature=0, repetition_penalty=2.0, logprobs=0),
    ]
    first, second, third = generate(MODEL, asked, params, stop_ids=[])
    with torch.inference_mode():
        ids = torch.tensor([asked[0] + first.ids])
        expected = MODEL.head(MODEL(ids)).log_softmax(-1)[0, len(asked[0]) - 1 : -1]
    for row, id, logprob in zip(expected, first.ids, first.logprobs, strict=True):
        assert logprob.chosen == pytest.approx(row[id].item(), abs=1e-4)
        assert [id for id, _ in logprob.top] == row.topk(2).indices.tolist()
    assert second.logprobs == []
    assert [len(logprob.top) for logprob in third.logprobs] == [0, 0, 0]


def test_the_penalty_counts_prompt_and_answer() -> None:
    strong = SamplingParams(max_tokens=20, temperature=0, repetition_penalty=1e9)
    asked = prompts(4, longest=8)
    for ids, output in zip(asked, generate(MODEL, asked, strong, stop_ids=[], max_rows=2), strict=True):
        assert len({*ids, *output.ids}) == len({*ids}) + 20


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_tokens", 0), ("temperature", -1), ("temperature", math.nan), ("top_p", 0), ("min_p", 2), ("stop", ("",))],
)
def test_impossible_parameters_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        SamplingParams(**{name: value})


def waiting(length: int, request: int = 0) -> Sequence:
    return Sequence(request, [0] * length, GREEDY, 0, 10)


def test_groups_waste_little_on_padding() -> None:
    groups = group_by_length([waiting(length) for length in (100, 3, 90, 5, 4000, 3900, 3800)])
    assert [[s.length for s in group] for group in groups] == [[4000, 3900], [3800], [100, 90], [5, 3]]


def test_the_scheduler_fills_holes_with_the_last_row() -> None:
    scheduler = Scheduler(max_rows=4)
    sequences = [waiting(5, request) for request in range(6)]
    for sequence in sequences:
        scheduler.add(sequence)
    assert [s.request for group in scheduler.admit() for s in group] == [0, 1, 2, 3]
    assert scheduler.admit() == []
    assert scheduler.leave(sequences[1]) == (3, 1)
    assert scheduler.leave(sequences[2]) is None
    assert [(s.request, s.row) for s in scheduler.running] == [(0, 0), (3, 1)]
    assert [s.request for group in scheduler.admit() for s in group] == [4, 5]
    assert [s.row for s in scheduler.running] == [0, 1, 2, 3]
