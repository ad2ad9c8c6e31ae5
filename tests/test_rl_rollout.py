"""Rollouts: the engine's log-probabilities are the trainer's, seeds repeat answers, batches hold what was written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dodam.data.batch import IGNORED
from dodam.data.conversation import encode
from dodam.errors import DataError
from dodam.nn.lora import LoraConfig, add_lora
from dodam.rl.penalty import Penalty
from dodam.rl.prompts import read_prompts, split
from dodam.rl.reference import Reference
from dodam.rl.rewards import Mixture, Term
from dodam.rl.rollout import Answer, answers_to, batch_of, groups_of, of_answers, seed_of, write
from dodam.rl.rounds import Rewarded, Rounds, Sampling, Shaping
from dodam.rl.watch import Measured, Watch
from dodam.train.policy import GrpoObjective, Sums, told
from talking_models import make_decoder, make_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory, tokenizer):
    file = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = [{"prompt": f"The sky is {'blue ' * number}", "answer": number} for number in range(1, 7)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_prompts((str(file),), tokenizer, 40)


def test_the_engines_logprobs_are_the_trainers(tokenizer, prompts) -> None:
    model = make_decoder(tokenizer.size)
    stops = (tokenizer.end, tokenizer.eos)
    ids = [one.ids for one in prompts]
    written = write(model, ids, range(6), stop_ids=stops, max_tokens=12, temperature=1.0, logprobs=True)
    answers = [Answer(prompt, one.ids, one.ended, "") for prompt, one in zip(prompts, written, strict=True)]
    bundles = [[3], [0], [5], [1], [4], [2]]
    trained, _ = told(model, batch_of(answers, bundles, tokenizer.pad), torch.float32, 1.0)
    found = torch.zeros(6, 12)
    of_answers(trained.detach(), answers, bundles, found)
    for row, one in enumerate(written):
        assert len(one.logprobs) == len(one.ids)
        torch.testing.assert_close(found[row, : len(one.ids)], torch.tensor(one.logprobs), atol=1e-4, rtol=1e-4)


def test_a_temperature_is_what_answers_are_drawn_and_judged_at(tokenizer, prompts) -> None:
    """Of one next token the shares drawn are those that the trainer tells at that temperature."""
    model = make_decoder(tokenizer.size)
    with torch.no_grad():
        model.output.weight.mul_(2.0)
    count = 1500
    written = write(
        model, [prompts[0].ids] * count, range(count), stop_ids=(), max_tokens=1, temperature=0.7, max_rows=500
    )
    drawn = torch.bincount(torch.tensor([one.ids[0] for one in written]), minlength=tokenizer.size) / count
    answers = [Answer(prompts[0], [token], False, "") for token in range(tokenizer.size)]
    batch = batch_of(answers, [[row] for row in range(tokenizer.size)], tokenizer.pad)
    right, wrong = (told(model, batch, torch.float32, heat)[0].detach().sum(1).exp() for heat in (0.7, 2.0))
    assert float(right.sum()) == pytest.approx(1.0, abs=1e-3)
    assert float((right - drawn).abs().sum()) < 0.35
    assert float((wrong - drawn).abs().sum()) > 2 * float((right - drawn).abs().sum())


def test_answers_repeat_by_seed_and_end_with_what_ended_them(tokenizer, prompts) -> None:
    model = make_decoder(tokenizer.size)
    with torch.no_grad():  # endings are likely
        model.output.weight[tokenizer.end] = model.output.weight[5] * 1.5
    stops = (tokenizer.end, tokenizer.eos)

    def answered(seeds: list[int], rows: int = 4) -> list:
        return write(
            model, [one.ids for one in prompts], seeds, stop_ids=stops, max_tokens=30, temperature=1.0, max_rows=rows
        )

    seeds = [seed_of(0, 3, place) for place in range(6)]
    first = answered(seeds)
    assert first == answered(seeds)
    assert first != answered([seed_of(0, 4, place) for place in range(6)])
    assert any(one.ended for one in first)
    for one in first:
        assert one.ended == (one.ids[-1] in stops)
        assert not set(one.ids[:-1]) & set(stops)
        assert one.ended or len(one.ids) == 30


def test_batches_hold_prompt_answer_and_what_belongs_to_each_token(tokenizer, prompts) -> None:
    answers = [Answer(prompts[row], list(range(20, 20 + 2 * row + 1)), True, "") for row in range(4)]
    marks = torch.arange(1.0, 29.0).view(4, 7)
    for bundles in groups_of(answers, range(4), 2):
        batch = batch_of(answers, bundles, tokenizer.pad, advantages=marks, old=None)
        assert batch.old_BT is None
        assert batch.branches_BT is None
        for place, (row,) in enumerate(bundles):
            one = answers[row]
            learned = batch.labels_BT[place] != IGNORED
            assert batch.labels_BT[place][learned].tolist() == one.ids
            assert batch.advantages_BT[place][learned].tolist() == marks[row, : len(one.ids)].tolist()
            assert not batch.advantages_BT[place][~learned].any()
            whole = [*one.prompt.ids, *one.ids]
            assert batch.ids_BT[place, : len(whole) - 1].tolist() == whole[:-1]


@pytest.mark.parametrize("averaged", ["answers", "tokens", "longest"])
def test_answers_that_share_their_prompt_are_computed_as_if_alone(averaged: str, tokenizer, prompts) -> None:
    """Log-probabilities, loss and gradient are those of a row for each; a row may be longer than the context."""
    model = make_decoder(tokenizer.size, context=20)
    generator = torch.Generator().manual_seed(0)
    lengths = (5, 6, 5, 4, 2)
    assert len(prompts[0].ids) + sum(lengths[:3]) > 20 >= len(prompts[1].ids) + max(lengths)
    written = [torch.randint(20, 400, (length,), generator=generator).tolist() for length in lengths]
    answers = [Answer(prompts[number // 3], ids, True, "") for number, ids in enumerate(written)]
    marks, old = torch.randn(5, 6, generator=generator), torch.randn(5, 6, generator=generator) * 0.1 - 6
    objective = GrpoObjective(low=0.2, high=0.2, kl=0.1, averaged=averaged, most=9)
    losses, logprobs, gradients = [], [], []
    for share in (True, False):
        groups = groups_of(answers, range(5), None, share=share)
        assert max(len(bundle) for group in groups for bundle in group) == (3 if share else 1)
        model.zero_grad()
        found, weight = torch.zeros(5, 6), 0.0
        total = torch.zeros(())
        for bundles in groups:
            batch = batch_of(answers, bundles, tokenizer.pad, advantages=marks, old=old, reference=old + 0.2)
            assert (batch.branches_BT is not None) == share
            of_answers(told(model, batch, torch.float32, 1.0)[0].detach(), answers, bundles, found)
            loss = objective(model, batch)
            loss.backward()
            total, weight = total + loss.detach(), weight + objective.weight(batch)
        losses.append(total / weight)
        logprobs.append(found)
        gradients.append(model.blocks[0].attention.key.weight.grad.clone())
    torch.testing.assert_close(*logprobs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)


def test_every_answer_is_in_one_microbatch_of_bounded_size(prompts) -> None:
    answers = [Answer(prompts[number % 3], [9] * (1 + number % 5), True, "") for number in range(20)]
    for most in (1, 3, 7, None):
        groups = groups_of(answers, range(20), most)
        rows = [[row for bundle in bundles for row in bundle] for bundles in groups]
        assert sorted(row for group in rows for row in group) == list(range(20))
        assert most is None or max(map(len, rows)) <= most
        assert all(len({answers[row].prompt.where for row in bundle}) == 1 for group in groups for bundle in group)


def test_with_lora_the_reference_is_the_model_without_its_adapter(tokenizer, prompts) -> None:
    model = make_decoder(tokenizer.size)
    batch = batch_of([Answer(prompts[0], [7, 8, 9], True, "")], [[0]], tokenizer.pad)

    def logprobs() -> torch.Tensor:
        return told(model, batch, torch.float32, 1.0)[0].detach()

    before = logprobs()
    add_lora(model, LoraConfig(rank=2), 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora_b"):
                parameter.normal_(0, 0.3)
    reference = Reference(model, torch.float32, 1.0)
    assert not torch.allclose(logprobs(), before, atol=1e-2)
    assert torch.equal(reference.logprobs(batch), before)
    assert not torch.allclose(logprobs(), before, atol=1e-2)


def rounds_of(tokenizer, prompts, rewards, **changed) -> Rounds:
    given = {
        "model": make_decoder(tokenizer.size), "tokenizer": tokenizer, "prompts": prompts,
        "reward": Mixture((Term("mine", 1.0, rewards),)),
        "sampling": Sampling(stop_ids=(tokenizer.end,), max_tokens=6, temperature=1.0), "shaping": Shaping(),
        "judge": lambda rewarded: {"advantages": rewarded.scores[:, None].expand(-1, 6)},
        "watch": Watch("grpo", Sums(), Penalty(0.0), None), "seed": 0, "num_prompts": 2, "num_answers": 2, "batch": 2,
        "microbatch": None, "passes": 2,
    }  # fmt: skip
    return Rounds(**given | changed)


def test_a_rounds_steps_learn_from_every_answer_once_a_pass(tokenizer, prompts) -> None:
    rounds = rounds_of(tokenizer, prompts, lambda answers: [float(len(one.answer)) for one in answers])
    assert rounds.steps == 4
    for turn in range(2):
        batches = [batch for step in (0, 1) for batch in rounds.batches(2 * turn + step)]
        learned = sorted(label for batch in batches for label in batch.labels_BT[batch.answered_BT].tolist())
        assert learned == sorted(id for one in rounds.latest[0][0].answers for id in one.ids)
    rewarded, _ = rounds.latest[0]
    assert [one.prompt.ids for one in rewarded.answers[0::2]] == [one.prompt.ids for one in rewarded.answers[1::2]]
    again = rounds_of(tokenizer, prompts, lambda answers: [float(len(one.answer)) for one in answers])
    again.batches(4)
    assert [one.ids for one in again.latest[0][0].answers] != [one.ids for one in rewarded.answers]
    rounds.batches(4)
    assert [one.ids for one in again.latest[0][0].answers] == [one.ids for one in rounds.latest[0][0].answers]


def test_prompts_whose_answers_are_all_worth_the_same_are_replaced(tokenizer, prompts) -> None:
    worth = {prompts[1].where, prompts[4].where}  # only answers to these differ

    def rewards(answers: list) -> list[float]:
        return [float(place % 2) if one.where in worth else 1.0 for place, one in enumerate(answers)]

    found = rounds_of(tokenizer, prompts, rewards, tries=3).play(0)
    assert {one.prompt.where for one in found.answers} == worth
    assert rounds_of(tokenizer, prompts, rewards, tries=3).play(0).scores.tolist() == found.scores.tolist()
    alike = rounds_of(tokenizer, prompts, lambda answers: [1.0] * len(answers), tries=3).play(0)
    assert len(alike.answers) == 4  # none differs: the round is full all the same


def test_answers_without_an_end_and_long_ones_are_punished(tokenizer, prompts) -> None:
    rounds = rounds_of(tokenizer, prompts, lambda answers: [1.0] * len(answers))
    punished = replace(rounds, shaping=Shaping(end_penalty=0.5, overlong=4))
    answer = Answer(prompts[0], [9] * 4, True, "")
    assert punished.shaped(answer, 1.0) == pytest.approx(1 - 0.5)
    assert punished.shaped(replace(answer, ids=[9] * 6, ended=False), 1.0) == pytest.approx(1 - 1 - 0.5)
    assert rounds.shaped(replace(answer, ended=False), 1.0) == 1.0


def test_prompts_of_many_forms(tmp_path: Path, tokenizer) -> None:
    rows = [
        {"prompt": "하늘은?", "answer": "파랗다"},
        {"messages": [{"role": "user", "content": "sky?"}, {"role": "assistant", "content": "blue"}], "tests": "x"},
        {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]},
        {"question": "Q", "context": "C"},
        {"prompt": "하늘은?", "answer": "파랗다"},
    ]
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_prompts((str(file),), tokenizer, 80)
    assert [one.item.get("answer") for one in found] == ["파랗다", "blue", None, None]  # each once
    assert found[1].item["tests"] == "x"
    assert [len(one.messages) for one in found] == [1, 1, 2, 1]
    assert found[3].messages[0]["content"] == "Q\n\nC"
    assert found[0].ids == encode(tokenizer, found[0].messages, generation_prompt=True).ids


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "the sky " * 40}, "there is room for 30"),
        ({"text": "x"}, "no prompt is found"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "must end with the user's words"),
        ({"prompt": ""}, "empty"),
    ],
)
def test_a_row_that_cannot_be_asked_is_named_or_left_out(
    row: dict, told: str, tmp_path: Path, tokenizer, capsys
) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps({"prompt": "sky"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=told) as caught:
        read_prompts((str(file),), tokenizer, 30)
    assert caught.value.where == f"{file}:2"
    assert "--skip-bad" in caught.value.mend
    assert len(read_prompts((str(file),), tokenizer, 30, skip_bad=True)) == 1
    assert "1 left out" in capsys.readouterr().err


def test_what_is_held_back_follows_from_the_text_alone(prompts) -> None:
    learned, held_back = split(prompts, 0.4)
    assert len(learned) + len(held_back) == len(prompts)
    assert split(reversed(prompts), 0.4)[1] == held_back[::-1]


def watched(before: float = 0.9) -> Watch:
    return Watch("ppo", Sums(), Penalty(0.1), Measured(before, before, 0.01, 10.0, 1.0, 0.0, 500))


def period(watch: Watch, reward: float, entropy: float, length: float, judge: float) -> None:
    for shift in (-0.01, 0.0, 0.01):
        watch.note(reward=reward + shift, entropy=entropy, length=length)
        watch.tell()
    watch.look(Measured(judge, judge, 0.01, length, 1.0, 0.0, 500))


def test_alarms_are_told_once_and_kept_in_the_state(capsys) -> None:
    watch = watched()
    period(watch, 0.5, 1.0, 10.0, 0.9)
    period(watch, 0.6, 0.9, 11.0, 0.91)
    assert not watch.alarms
    period(watch, 0.9, 0.05, 30.0, 0.7)
    assert set(watch.alarms) == {"collapse", "length", "reward hacking"}
    period(watch, 0.9, 0.05, 30.0, 0.7)
    assert capsys.readouterr().err.count("ALARM") == 3
    other = watched()
    other.restore(json.loads(json.dumps(watch.state())))
    assert other.state() == watch.state()


def test_a_higher_reward_with_held_back_answers_as_good_is_no_alarm() -> None:
    watch = watched()
    period(watch, 0.5, 1.0, 10.0, 0.9)
    period(watch, 0.9, 0.8, 10.0, 0.89)
    assert not watch.alarms


def test_rewarded_rows_stand_with_their_answers(tokenizer, prompts) -> None:
    rounds = rounds_of(tokenizer, prompts, lambda answers: [float(len(one.prompt)) for one in answers])
    played = rounds.play(0)
    assert isinstance(played, Rewarded)
    for answer, reward in zip(played.answers, played.rewards, strict=True):
        assert reward == len(answer.prompt.messages[-1]["content"])
    texts = answers_to(
        rounds.model, tokenizer, [played.answers[0].prompt], [seed_of(0, 0, 0, 0)],
        stop_ids=rounds.sampling.stop_ids, max_tokens=6, temperature=1.0,
    )  # fmt: skip
    assert texts[0].ids == played.answers[0].ids
