"""Stage `grpo`: prompts and rewards -> a model that answers so that it is rewarded more, without a value model.

Each prompt is answered several times, and an answer is as good as it is better than the others to the same prompt
(Shao et al. 2024). `--loss` chooses between GRPO, Dr. GRPO (Liu et al. 2025) and DAPO (Yu et al. 2025). What it writes:
a run folder with the model. B answers, A tokens of the longest one.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from dodam.errors import UsageError
from dodam.stages import parts, policy, run_folder
from dodam.stages.policy import PolicyTraining, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from dodam.rl.rounds import Rewarded, Rounds
    from dodam.train.policy import Averaged

Loss = Literal["grpo", "dr-grpo", "dapo"]
AVERAGED: "dict[Loss, Averaged]" = {"grpo": "answers", "dr-grpo": "longest", "dapo": "tokens"}
CLIP_HIGH = {"grpo": 0.2, "dr-grpo": 0.2, "dapo": 0.28}
KL = {"grpo": 0.04, "dr-grpo": 0.0, "dapo": 0.0}
OVERLONG_SHARE = 0.2  # of --max-tokens, in DAPO


@dataclass(frozen=True, kw_only=True)
class Grpo(PolicyTraining):
    """Teach a model by rewards, comparing its answers to one prompt."""

    answers: Annotated[int, Ge(2)] = 8
    """Answers to each prompt, which are compared with each other."""
    loss: Loss = "grpo"
    """grpo; dr-grpo: advantages not divided by their spread, nor losses by lengths; dapo: every token counts alike,
    the ratio may rise further than it may fall, prompts whose answers are all worth the same are replaced."""
    clip: Annotated[float, Gt(0), Lt(1)] = 0.2
    """How far the ratio to what the answers were drawn with may fall below 1."""
    clip_high: Annotated[float, Gt(0)] | None = None
    """How far it may rise above 1. Default: 0.2, in dapo 0.28."""
    kl: Annotated[float, Ge(0)] | None = None
    """Weight of the KL to the reference. Default: 0.04, in dr-grpo and dapo 0."""
    tries: Annotated[int, Ge(1)] | None = None
    """How many times --prompts may be asked in a round to find so many whose answers differ. Default: 1, in dapo 4."""
    overlong: Annotated[int, Ge(0)] | None = None
    """Tokens before --max-tokens from which on an answer is punished, by 1 at the end. Default: 0, in dapo a fifth."""


def run(config: Grpo) -> dict[str, Any]:
    """Train and return what --json prints. See the file's head."""
    policy.check_options(config)
    done = run_folder.open_run(config, "grpo")
    if done:
        return done
    from dodam.rl.penalty import Penalty
    from dodam.rl.rounds import Rounds, Shaping
    from dodam.train.policy import GrpoObjective

    stage = policy.begin(config, "grpo")
    model, choices, most = stage.loaded.model, stage.choices, stage.sampling.max_tokens
    factors = parts.choose_parts(config, model)
    kl = KL[config.loss] if config.kl is None else config.kl
    overlong = config.overlong if config.overlong is not None else round(OVERLONG_SHARE * most)
    if config.overlong is not None and config.overlong > most:
        raise UsageError(f"is more than the {most} tokens an answer may have", where="--overlong")
    objective = GrpoObjective(
        low=config.clip,
        high=config.clip_high or CLIP_HIGH[config.loss],
        kl=kl,
        averaged=AVERAGED[config.loss],
        most=most,
        temperature=config.temperature,
        dtype=stage.dtype,
    )
    rounds = Rounds(
        model=model,
        tokenizer=stage.loaded.tokenizer,
        prompts=stage.learned,
        reward=stage.reward,
        sampling=stage.sampling,
        shaping=Shaping(
            end_penalty=config.end_penalty,
            overlong=overlong if config.loss == "dapo" or config.overlong is not None else 0,
        ),
        judge=lambda rewarded: judge(rewarded, stage, rounds, kl=kl, again=rounds.steps > 1),
        watch=policy.watch_of(stage, model, objective.sums, Penalty(kl)),
        seed=config.seed,
        num_prompts=config.prompts,
        num_answers=config.answers,
        batch=choices["batch"],
        microbatch=config.microbatch,
        passes=config.passes,
        tries=config.tries or (4 if config.loss == "dapo" else 1),
    )
    model.train()
    shown = ("reward", "kl", "entropy", "length", "clipped") if kl else ("reward", "entropy", "length", "clipped")
    return policy.train(stage, rounds, objective, factors=factors, shown=shown)


def judge(
    rewarded: "Rewarded", stage: Stage, rounds: "Rounds", *, kl: float, again: bool
) -> "dict[str, Tensor | None]":
    """The advantage of each token, that of its answer; the reference's log-probabilities where they count, and, where
    the weights will have changed before all answers are learned from, those they were drawn with."""
    import torch

    from dodam.rl.advantage import group_advantages
    from dodam.rl.rollout import at_rest, batch_of, of_answers, real_tokens
    from dodam.train import distributed
    from dodam.train.policy import told

    config, answers, model = stage.config, rewarded.answers, rounds.model
    assert isinstance(config, Grpo)
    real_BA = real_tokens(answers)
    advantages_B = group_advantages(rewarded.scores, config.answers, normalize=config.loss != "dr-grpo")
    old_BA = torch.zeros(real_BA.shape) if again else None
    reference_BA = torch.zeros(real_BA.shape) if kl else None
    if again or kl:
        with at_rest(model):
            for bundles in stage.groups(answers, rounds.rows_of_mine()):
                batch = batch_of(answers, bundles, stage.loaded.tokenizer.pad).to(stage.machine.device)
                if old_BA is not None:
                    logprobs_BT, _ = told(model, batch, stage.dtype, config.temperature, entropy=False)
                    of_answers(logprobs_BT, answers, bundles, old_BA)
                if reference_BA is not None:
                    of_answers(stage.reference.logprobs(batch), answers, bundles, reference_BA)
        for told_BA in (old_BA, reference_BA):
            if told_BA is not None:
                distributed.summed(told_BA)  # each rank told its rows, and zeros elsewhere
    return {"advantages": advantages_B[:, None] * real_BA, "old": old_BA, "reference": reference_BA}
