"""Stage `ppo`: prompts and rewards -> a model that answers so that it is rewarded more, as InstructGPT was made.

A policy and a value model learn from the policy's own answers; a frozen reference holds the policy back by a KL penalty
at every token (Ouyang et al. 2022; docs/ppo.md maps each published detail to its line). What it writes: a run folder
with the policy. B answers, A tokens of the longest one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from dodam import ranks
from dodam.errors import UsageError
from dodam.stages import parts, policy, run_folder
from dodam.stages.policy import PolicyTraining, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from dodam.rl.rounds import Rewarded, Rounds
    from dodam.rl.watch import Watch
    from dodam.train.policy import ReplayBatch, RolloutBatch

KL_HORIZON = 10_000.0
REPLAY_SHARE, REPLAY_WEIGHT = 0.25, 1.0


@dataclass(frozen=True, kw_only=True)
class Ppo(PolicyTraining):
    """Teach a model by rewards, with a value model and a KL penalty at every token."""

    prompts: Annotated[int, Gt(0)] = 128
    """Prompts that are answered in a round."""
    passes: Annotated[int, Gt(0)] = 2
    """Times that each round is learned from."""
    value: Literal["shared", "own"] = "shared"
    """The value model: a head on the policy, or a trunk of its own, which begins as --value-model or as the policy."""
    value_model: Path | None = None
    """Where the value model's own trunk begins, a reward model for instance."""
    value_rate: Annotated[float, Gt(0)] = 10.0
    """What learning rates are multiplied by for the value model's own weights."""
    value_weight: Annotated[float, Gt(0)] = 0.1
    """What the value's loss counts beside the policy's."""
    clip: Annotated[float, Gt(0), Lt(1)] = 0.2
    """How far the ratio to what the answers were drawn with counts above or below 1."""
    value_clip: Annotated[float, Gt(0)] = 0.2
    """How far a value may move in a round before it counts no more."""
    discount: Annotated[float, Gt(0), Le(1)] = 1.0
    """Gamma: what a reward one token later is worth."""
    smoothing: Annotated[float, Ge(0), Le(1)] = 0.95
    """Lambda of the generalised advantage estimation."""
    kl: Annotated[float, Ge(0)] = 0.05
    """What each nat above the reference costs, at every token; where --kl-target is given, at the beginning."""
    kl_target: Annotated[float, Gt(0)] | None = None
    """Steer the KL of an answer, in nats, towards this by changing --kl as it goes."""
    kl_horizon: Annotated[float, Gt(0)] | None = None
    """Answers over which --kl is changed towards --kl-target; fewer change it faster. Default: 10,000."""
    end_penalty: Annotated[float, Ge(0)] = 1.0
    """What is taken off the reward of an answer that has not ended within --max-tokens."""
    normalize_rewards: bool = False
    """Take the mean of all rewards so far off each, and divide by their standard deviation."""
    clip_rewards: Annotated[float, Gt(0)] | None = None
    """Cut rewards off above and below this."""
    whiten_rewards: bool = False
    """Divide the rewards of a round's tokens, penalties among them, by their standard deviation."""
    whiten_advantages: bool = True
    """Bring a round's advantages to mean 0 and standard deviation 1."""
    replay: Path | None = None
    """A data folder whose text is learned along, as in pretraining, so that it is not forgotten (PPO-ptx)."""
    replay_share: Annotated[float, Gt(0), Lt(1)] | None = None
    """Share of the rows of a step that are such text. Default: 0.25."""
    replay_weight: Annotated[float, Gt(0)] | None = None
    """What the mean loss of such text counts beside the policy's. Default: 1."""


def run(config: Ppo) -> dict[str, Any]:
    """Train and return what --json prints. See the file's head."""
    policy.check_options(config)
    check_options(config)
    done = run_folder.open_run(config, "ppo")
    if done:
        return done
    from dodam.models.value import take_off_value
    from dodam.rl.penalty import Penalty
    from dodam.rl.rounds import Rounds, Shaping
    from dodam.train.policy import PpoObjective

    stage = policy.begin(config, "ppo")
    model, choices = stage.loaded.model, stage.choices
    objective = PpoObjective(
        clip=config.clip,
        value_clip=config.value_clip,
        value_weight=config.value_weight,
        temperature=config.temperature,
        dtype=stage.dtype,
    )
    penalty = Penalty(config.kl, config.kl_target, config.kl_horizon or KL_HORIZON)
    watch = policy.watch_of(stage, model, objective.sums, penalty)
    factors = parts.choose_parts(config, model) | give_value(config, stage)
    rounds = Rounds(
        model=model,
        tokenizer=stage.loaded.tokenizer,
        prompts=stage.learned,
        reward=stage.reward,
        sampling=stage.sampling,
        shaping=Shaping(end_penalty=config.end_penalty),
        judge=lambda rewarded: judge(rewarded, stage, rounds, watch),
        watch=watch,
        seed=config.seed,
        num_prompts=config.prompts,
        num_answers=config.answers,
        batch=choices["batch"],
        microbatch=config.microbatch,
        passes=config.passes,
    )
    model.train()
    return policy.train(
        stage,
        rounds,
        objective,
        batches=with_replay(config, stage, rounds),
        factors=factors,
        finish=lambda: take_off_value(model),
        shown=("reward", "kl", "entropy", "length", "clipped", "value_loss", "explained_variance"),
    )


def check_options(config: Ppo) -> None:
    """UsageError for options of ppo's own that do not go together."""
    if config.value_model and config.value == "shared":
        raise UsageError("a head on the policy has no trunk", where="--value-model", mend="Add --value own.")
    if config.kl_horizon is not None and config.kl_target is None:
        raise UsageError("--kl stays as it is", where="--kl-horizon", mend="Give a --kl-target.")
    for name in ("replay_share", "replay_weight"):
        if getattr(config, name) is not None and config.replay is None:
            where = f"--{name.replace('_', '-')}"
            raise UsageError("no text is learned along", where=where, mend="Give --replay DATA.")


def give_value(config: Ppo, stage: Stage) -> dict[str, float]:
    """Put the value model onto the policy; what the learning rates of its weights are multiplied by. With LoRA its own
    trunk has an adapter too."""
    from dodam.folder import load_model
    from dodam.models.value import add_value

    policy_model, optim = stage.loaded.model, stage.choices["optim"]
    trunk, deep = None, {}
    if config.value == "own":
        trunk = value_trunk(config.value_model, stage) if config.value_model else load_model(config.model).model
        trunk = trunk.to(stage.machine.device).requires_grad_(True).train()
        deep = parts.choose_parts(config, trunk)
    add_value(policy_model, trunk)
    factors = {}
    for name, _ in policy_model.value.named_parameters():
        factor = config.value_rate * deep.get(name.removeprefix("trunk."), 1.0)
        # Under its new name the table would get the head's rate.
        embedding = name == "trunk.embedding.weight"
        factors[f"value.{name}"] = factor * (optim["embedding"] / optim["head"] if embedding else 1.0)
    return factors


def value_trunk(path: Path, stage: Stage) -> Any:
    """The trunk of a reward model or of any decoder that reads the policy's tokens. UsageError for another model."""
    from dodam import files
    from dodam.exchange.heads import read_classifier
    from dodam.folder import load_model, model_path
    from dodam.models.decoder import Decoder
    from dodam.tokenizer.tokenizer import Tokenizer

    folder = model_path(path)
    if Tokenizer.load(folder).fingerprint != stage.loaded.tokenizer.fingerprint:
        mend = "Train it from the same model."
        raise UsageError("reads other tokens than the policy writes", where="--value-model", mend=mend)
    architecture = files.read_json(folder / "config.json").get("architectures", [""])[0]
    if not architecture.endswith("ForSequenceClassification"):
        return load_model(path).model
    trunk, _, _ = read_classifier(folder)
    if not isinstance(trunk, Decoder):
        raise UsageError("holds an encoder, and values are told from left to right", where="--value-model")
    return trunk


def judge(rewarded: "Rewarded", stage: Stage, rounds: "Rounds", watch: "Watch") -> "dict[str, Tensor | None]":
    """For each token of a round's answers: log-probability when it was drawn, value, advantage, return."""
    import torch

    from dodam.rl import advantage
    from dodam.rl.rollout import at_rest, batch_of, of_answers, real_tokens
    from dodam.train import distributed
    from dodam.train.policy import judged

    config, answers, model = stage.config, rewarded.answers, rounds.model
    assert isinstance(config, Ppo)
    real_BA = real_tokens(answers)
    old_BA, reference_BA, values_BA = (torch.zeros(real_BA.shape) for _ in range(3))
    with at_rest(model):
        for bundles in stage.groups(answers, rounds.rows_of_mine()):
            batch = batch_of(answers, bundles, stage.loaded.tokenizer.pad).to(stage.machine.device)
            logprobs_BT, _, values_BT = judged(model, batch, stage.dtype, config.temperature, entropy=False)
            of_answers(logprobs_BT, answers, bundles, old_BA)
            of_answers(values_BT, answers, bundles, values_BA)
            of_answers(stage.reference.logprobs(batch), answers, bundles, reference_BA)
    for told_BA in (old_BA, reference_BA, values_BA):
        distributed.summed(told_BA)  # each rank told its rows, and zeros elsewhere
    kl_BA = (old_BA - reference_BA) * real_BA
    scores_B = scaled(rewarded.scores, config, watch)
    rewards_BA = advantage.token_rewards(scores_B, kl_BA, real_BA, watch.penalty.coefficient)
    if config.whiten_rewards:
        rewards_BA = advantage.whiten(rewards_BA, real_BA, shift=False)
    advantages_BA, returns_BA = advantage.gae(rewards_BA, values_BA, real_BA, config.discount, config.smoothing)
    kl = float(kl_BA.sum() / len(answers))
    watch.note(
        kl=kl,
        kl_coefficient=watch.penalty.coefficient,
        score=float(scores_B.mean()),
        explained_variance=advantage.explained_variance(values_BA, returns_BA, real_BA),
    )
    watch.penalty.update(kl, len(answers))
    if config.whiten_advantages:
        advantages_BA = advantage.whiten(advantages_BA, real_BA)
    return {"advantages": advantages_BA, "old": old_BA, "values": values_BA, "returns": returns_BA}


def scaled(scores_B: "Tensor", config: Ppo, watch: "Watch") -> "Tensor":
    """The answers' scores, normalised by all so far, then cut off, as the flags say."""
    if config.normalize_rewards:
        watch.moments.add(scores_B.tolist())
        scores_B = (scores_B - watch.moments.mean) / watch.moments.deviation
    return scores_B if config.clip_rewards is None else scores_B.clamp(-config.clip_rewards, config.clip_rewards)


def with_replay(config: Ppo, stage: Stage, rounds: "Rounds") -> Any:
    """The rounds' batches by step, with rows of text among them where --replay names some."""
    from dodam.data.batch import IGNORED
    from dodam.data.loader import RowLoader, token_batch
    from dodam.data.shards import ensure_shards
    from dodam.train import distributed
    from dodam.train.policy import ReplayBatch

    if config.replay is None:
        return rounds.batches
    replay = config.replay
    shards = distributed.in_turn(lambda: ensure_shards(replay, stage.loaded.tokenizer))
    rows = RowLoader(shards.split("train"), stage.choices["context"], config.seed + 1)
    batch, microbatch = stage.choices["batch"], config.microbatch or stage.choices["batch"]
    share, weight = config.replay_share or REPLAY_SHARE, config.replay_weight or REPLAY_WEIGHT
    count = max(1, round(batch * share / (1 - share)))
    if count < ranks.world():
        what = f"{count} rows of text in a step are fewer than {ranks.world()} ranks"
        raise UsageError(what, where="--replay-share", mend="Give more, or a larger --batch.")

    def batches(step: int) -> "list[RolloutBatch | ReplayBatch]":
        answered = rounds.batches(step)
        taken, mine = rows.rows(step * count, count), distributed.part(count)
        text = token_batch(taken[mine.start : mine.stop])
        (num_answered,) = distributed.over_replicas(sum(float(one.answered_BT.sum()) for one in answered))
        # The loop divides all by the answers' tokens: this makes it the mean over the text's.
        scale = weight * num_answered / float((token_batch(taken).labels_BT != IGNORED).sum())
        return [*answered, *(ReplayBatch(part, scale) for part in text.split(microbatch))]

    return batches
