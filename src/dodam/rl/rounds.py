"""Rounds: prompts are drawn and answered, the answers rewarded, and some steps learn from them; then the next round.

In comes a step's number, out come its batches. A round is made at its first step, with the weights as they then are;
which prompts, which seeds and which rows a step gets are functions of the numbers of round and step. So a checkpoint
between two rounds is all that going on needs.

Of many ranks each answers its share of the prompts and rewards what it wrote; then all know all answers, and make the
same of them. Of a step's rows each gets its share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dodam.models.answers import may_share
from dodam.rl.advantage import overlong
from dodam.rl.prompts import Prompt
from dodam.rl.rewards import Asked, Mixture
from dodam.rl.rollout import Answer, answers_to, batch_of, groups_of, seed_of
from dodam.rl.watch import Watch
from dodam.train import distributed
from dodam.train.policy import RolloutBatch


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How answers are drawn."""

    stop_ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    dtype: torch.dtype = torch.float32
    """What matrices multiply in."""


@dataclass(frozen=True, kw_only=True)
class Shaping:
    """What is taken off a reward for how an answer ends."""

    end_penalty: float = 0.0
    """For an answer without an end."""
    overlong: int = 0
    """Tokens before the most there may be, from which on an answer is punished (DAPO)."""


@dataclass(frozen=True)
class Rewarded:
    """A round's answers, those to one prompt side by side, the rewards they got, and what is learned from: the rewards
    as they are shaped."""

    answers: list[Answer]
    rewards: list[float]
    scores: Tensor


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """`judge` says what belongs to each token of a round's answers: tensors [answers, A] by their name in a batch."""

    model: Any
    tokenizer: Any
    prompts: Sequence[Prompt]
    reward: Mixture
    sampling: Sampling
    shaping: Shaping
    judge: Callable[[Rewarded], dict[str, Tensor | None]]
    watch: Watch
    seed: int
    num_prompts: int
    num_answers: int
    batch: int
    microbatch: int | None
    passes: int
    tries: int = 1
    """How many times as many prompts may be answered to find `num_prompts` whose answers differ in reward (DAPO)."""
    latest: list[tuple[Rewarded, dict[str, Tensor | None]]] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        return self.num_prompts * self.num_answers

    @property
    def steps(self) -> int:
        """Steps that learn from one round."""
        return self.passes * (self.num_rows // self.batch)

    @property
    def steps_per_epoch(self) -> float:
        return max(1.0, self.steps * len(self.prompts) / self.num_prompts)

    def batches(self, step: int) -> list[RolloutBatch]:
        """The microbatches of a step. DataError names the prompt whose reward is none."""
        number, place = divmod(step, self.steps)
        if place == 0:
            rewarded = self.play(number)
            self.latest[:] = [(rewarded, self.judge(rewarded))]
        assert self.latest, "a run goes on at the beginning of a round"
        rewarded, of_tokens = self.latest[0]
        turn, part = divmod(place, self.num_rows // self.batch)
        # Answers to one prompt stay together where they can: they share its tokens.
        together = self.num_answers if self.batch % self.num_answers == 0 else 1
        order = np.random.default_rng((self.seed, 1, number, turn)).permutation(self.num_rows // together)
        order = (order[:, None] * together + np.arange(together)).flatten()
        mine, count = distributed.share(self.batch)
        rows = order[part * self.batch :][mine : mine + count].tolist()
        groups = groups_of(rewarded.answers, rows, self.microbatch, share=may_share(self.model))
        return [batch_of(rewarded.answers, group, self.tokenizer.pad, **of_tokens) for group in groups]

    def play(self, number: int) -> Rewarded:
        """Round `number`: answer prompts until there are enough, and reward the answers."""
        kept: list[int] = []
        spare: list[int] = []
        found = Rewarded([], [], torch.zeros(0))
        for attempt in range(self.tries):
            more = self.ask(number, attempt)
            groups = more.scores.view(-1, self.num_answers)
            first = len(found.answers) // self.num_answers
            for place, scores in enumerate(groups.tolist(), start=first):
                (kept if self.tries == 1 or max(scores) > min(scores) else spare).append(place)
            scores = torch.cat([found.scores, more.scores])
            found = Rewarded(found.answers + more.answers, found.rewards + more.rewards, scores)
            if len(kept) >= self.num_prompts:
                break
        differing = len(kept) / max(1, len(kept) + len(spare))
        kept = (kept + spare)[: self.num_prompts]
        rows = [prompt * self.num_answers + place for prompt in kept for place in range(self.num_answers)]
        answers = [found.answers[row] for row in rows]
        played = Rewarded(answers, [found.rewards[row] for row in rows], found.scores[rows])
        self.watch.note(
            reward=float(np.mean(found.rewards)),
            length=float(np.mean([len(one.ids) for one in found.answers])),
            ended=float(np.mean([one.ended for one in found.answers])),
        )
        if self.tries > 1:
            self.watch.note(differing=differing)
        return played

    def ask(self, number: int, attempt: int) -> Rewarded:
        """The prompts of an attempt, each answered `num_answers` times."""
        chosen = [self.prompts[one] for one in self.chosen(number, attempt) for _ in range(self.num_answers)]
        seeds = [seed_of(self.seed, number, attempt, row) for row in range(len(chosen))]

        def written() -> list[tuple[list[int], bool, str, float]]:
            rows = self.rows_of_mine()
            answers = answers_to(
                self.model, self.tokenizer, [chosen[row] for row in rows], [seeds[row] for row in rows],
                stop_ids=self.sampling.stop_ids, max_tokens=self.sampling.max_tokens,
                temperature=self.sampling.temperature, dtype=self.sampling.dtype,
            )  # fmt: skip
            rewards = self.reward([asked(one) for one in answers])
            return [(one.ids, one.ended, one.text, reward) for one, reward in zip(answers, rewards, strict=True)]

        told = distributed.shares(written)
        answers = [Answer(prompt, *one[:3]) for prompt, one in zip(chosen, told, strict=True)]
        rewards = [reward for *_, reward in told]
        return Rewarded(answers, rewards, torch.tensor([self.shaped(*pair) for pair in zip(answers, rewards)]))  # noqa: B905

    def rows_of_mine(self) -> range:
        """Of a round's answers those that this rank writes and judges: all to some of its prompts."""
        mine = distributed.part(self.num_prompts)
        return range(mine.start * self.num_answers, mine.stop * self.num_answers)

    def shaped(self, answer: Answer, reward: float) -> float:
        """The reward less what is taken off for how the answer ends."""
        length = overlong(len(answer.ids), self.sampling.max_tokens, self.shaping.overlong)
        return reward + length - (0.0 if answer.ended else self.shaping.end_penalty)

    def chosen(self, number: int, attempt: int) -> list[int]:
        """Which prompts an attempt asks. The first ones of all rounds read every prompt once before any is read again;
        further ones draw from the prompts that the round has not asked yet, as long as there are any."""
        count = len(self.prompts)
        places = [divmod(place, count) for place in range(number * self.num_prompts, (number + 1) * self.num_prompts)]
        first = [int(order_of(self.seed, epoch, count)[place]) for epoch, place in places]
        if attempt == 0:
            return first
        drawn = np.random.default_rng((self.seed, 2, number)).permutation(count).tolist()
        known = set(first)
        others = [one for one in drawn if one not in known] or drawn
        begin = (attempt - 1) * self.num_prompts
        return [others[place % len(others)] for place in range(begin, begin + self.num_prompts)]


@lru_cache(maxsize=4)
def order_of(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(size)


def asked(answer: Answer) -> Asked:
    """An answer as rewards see it."""
    return Asked(answer.prompt.messages, answer.text, answer.prompt.item, answer.prompt.where)
