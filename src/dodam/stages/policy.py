"""What `ppo` and `grpo` share: their flags, reading, measuring on held-back prompts, samples, assembly of a run.

In come a stage's config and what it makes of a round's rewards; out comes a trained run folder.
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Lt

from dodam import ranks
from dodam.errors import UsageError
from dodam.stages import compiling, run_folder, training
from dodam.stages.parallel import NOT_TOGETHER
from dodam.stages.training import Setup, Training

if TYPE_CHECKING:
    import torch

    from dodam.folder import LoadedModel
    from dodam.machine import Machine
    from dodam.rl.prompts import Prompt
    from dodam.rl.reference import Reference
    from dodam.rl.rewards import Mixture
    from dodam.rl.rollout import Answer
    from dodam.rl.rounds import Rounds, Sampling
    from dodam.rl.watch import Measured, Watch
    from dodam.tokenizer.tokenizer import Tokenizer

DEFAULT_EPOCHS = 1.0
DEFAULT_VALIDATION = 0.05
POLICY_RATE, LORA_RATE = 0.02, 0.2  # of pretraining's learning rates, of LoRA's in sft
MOST_TOKENS = 256  # an answer may have unless it is said, or half of the context
SHOWN_PROMPTS = 6  # whose answers are in samples.md
KL_PROMPTS = 64  # held-back prompts that are answered to measure the KL


@dataclass(frozen=True, kw_only=True)
class PolicyTraining(Training):
    """The flags of training by rewards."""

    UNSHARED: ClassVar = {"shard": "answers are written by a whole model", **NOT_TOGETHER}

    data: tuple[str, ...]
    """Prompts: JSONL, JSON, CSV/TSV or Parquet with `prompt` or `messages`, perhaps `answer`; or `sample:problems`."""
    model: Path
    """The policy to begin with, and the reference it is held to: a model folder or a run folder."""
    reward: tuple[str, ...]
    """What an answer is worth: exact, length:200, language, regex:…, format:…, code, FILE.py:FUNCTION or the folder of
    a reward model; several are added up, each perhaps with a weight as in `0.1*length:200` (docs/rewards.md)."""
    judge: tuple[str, ...] = ()
    """Rewards that held-back answers are also judged by, and nothing is learned from. Default: those of --reward."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which columns hold what, when they cannot be found out: prompt=question answer=solution."""
    prompts: Annotated[int, Gt(0)] = 32
    """Prompts that are answered in a round."""
    answers: Annotated[int, Gt(0)] = 1
    """Answers to each of them."""
    passes: Annotated[int, Gt(0)] = 1
    """Times that each round is learned from."""
    max_tokens: Annotated[int, Gt(0)] | None = None
    """Most tokens of an answer. Default: 256, or half of the context."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Answers are drawn at this temperature, and their log-probabilities are those at it."""
    epochs: Annotated[float, Gt(0)] | None = None
    """Passes over the prompts, when neither --steps nor --budget is given. Default: 1."""
    dev: tuple[str, ...] = ()
    """Prompts to measure on, in place of a part of --data; of those nothing is learned."""
    validation: Annotated[float, Ge(0), Lt(0.5)] | None = None
    """Share of --data that is held back to measure on, when there is no --dev. Default: 0.05."""
    report_prompts: Annotated[int, Gt(0)] = 200
    """Held-back prompts that are answered at a validation, at most."""
    max_prompts: Annotated[int, Ge(0)] = 0
    """Read at most so many; 0 reads all."""
    end_penalty: Annotated[float, Ge(0)] = 0.0
    """What is taken off the reward of an answer that has not ended within --max-tokens."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    skip_bad: bool = False
    """Leave out rows that cannot be used and prompts that are too long, and count them, instead of stopping."""


@dataclass
class Stage:
    """A stage while it is put together and runs: what was read, and what measuring needs."""

    config: PolicyTraining
    name: str
    machine: "Machine"
    loaded: "LoadedModel"
    choices: dict[str, Any]
    learned: "list[Prompt]"
    held_back: "list[Prompt]"
    reward: "Mixture"
    judge: "Mixture"
    sampling: "Sampling"
    reference: "Reference"

    @property
    def dtype(self) -> "torch.dtype":
        return self.machine.torch_dtype

    def measure(self, model: Any) -> "Measured | None":
        """Answer the held-back prompts, each rank its share; None where there are none."""
        from dodam.rl.watch import Measured, standard_error
        from dodam.train import distributed

        if not self.held_back:
            return None
        told = distributed.shares(lambda: self.judged(model, distributed.part(len(self.held_back))))
        rewards, judged, lengths, ended = map(list, zip(*told, strict=True))
        count, num_drawn = len(told), min(KL_PROMPTS, len(self.held_back))
        kl = distributed.shares(lambda: [self.kl(model, distributed.part(num_drawn))])
        return Measured(
            reward=sum(rewards) / count,
            judge=sum(judged) / count,
            error=standard_error(judged),
            length=sum(lengths) / count,
            ended=sum(ended) / count,
            kl=sum(kl) / num_drawn,
            num_prompts=count,
        )

    def judged(self, model: Any, places: range) -> list[tuple[float, float, int, bool]]:
        """Of greedy answers to the held-back prompts at some places: reward, what is judged of it, length, whether it
        ended."""
        from dodam.rl.rounds import asked

        answers = self.answer(model, self.held_back, places, temperature=0.0)
        rewards = self.reward([asked(one) for one in answers])
        judged = self.judge([asked(one) for one in answers]) if self.judge is not self.reward else rewards
        lengths, ended = [len(one.ids) for one in answers], [one.ended for one in answers]
        return list(zip(rewards, judged, lengths, ended, strict=True))

    def answer(self, model: Any, prompts: "list[Prompt]", places: range, *, temperature: float) -> "list[Answer]":
        """Answers to the prompts at some places, the same ones for the same weights."""
        from dodam.rl.rollout import answers_to, seed_of

        seeds = [seed_of(self.config.seed, -1, place) for place in places]
        prompts = [prompts[place] for place in places]
        return answers_to(
            model, self.loaded.tokenizer, prompts, seeds, stop_ids=self.sampling.stop_ids,
            max_tokens=self.sampling.max_tokens, temperature=temperature, dtype=self.dtype,
        )  # fmt: skip

    def kl(self, model: Any, places: range) -> float:
        """Nats of answers drawn from the model to the held-back prompts at some places: log(model / reference), summed
        over all of them."""
        from dodam.rl.rollout import at_rest, batch_of
        from dodam.train.policy import told

        answers = self.answer(model, self.held_back, places, temperature=self.config.temperature)
        total = 0.0
        with at_rest(model):
            for bundles in self.groups(answers, range(len(answers))):
                batch = batch_of(answers, bundles, self.loaded.tokenizer.pad).to(self.machine.device)
                mine, _ = told(model, batch, self.dtype, self.config.temperature, entropy=False)
                total += float((mine - self.reference.logprobs(batch)).sum())
        return total

    def groups(self, answers: "list[Answer]", rows: range) -> list[list[list[int]]]:
        """Some of the answers in microbatches."""
        from dodam.models.answers import may_share
        from dodam.rl.rollout import groups_of

        return groups_of(answers, rows, self.config.microbatch, share=may_share(self.loaded.model))

    def samples(self, model: Any) -> list[list[str | float]]:
        """Greedy answers to a few prompts, each with its reward."""
        from dodam.rl.rounds import asked

        shown = (self.held_back or self.learned)[:SHOWN_PROMPTS]
        answers = self.answer(model, shown, range(len(shown)), temperature=0.0)
        rewards = self.reward([asked(one) for one in answers])
        return [[one.text, reward] for one, reward in zip(answers, rewards, strict=True)]

    def tell_samples(self, model: Any) -> str:
        """The same as Markdown, under what was answered before the first step."""
        shown = (self.held_back or self.learned)[:SHOWN_PROMPTS]
        told = []
        for prompt, before, now in zip(shown, self.choices["samples"], self.samples(model), strict=True):
            lines = [f"**{prompt.messages[-1]['content']}**"]
            for word, (text, reward) in (("before", before), ("now", now)):
                lines.append(f"{word} ({reward:.2f}): {text}")
            told.append("> " + "\n\n".join(lines).replace("\n", "\n> "))
        return "\n\n".join(told)


def begin(config: PolicyTraining, name: str) -> Stage:
    """Look at the machine, load, read prompts and rewards, and choose what is not given."""
    from dodam.data.conversation import template_of
    from dodam.folder import load_model
    from dodam.rl.prompts import fingerprint
    from dodam.rl.reference import Reference, load_reference
    from dodam.rl.rewards import mixture
    from dodam.rl.rounds import Sampling
    from dodam.train import distributed

    choices = run_folder.saved_choices(config.out)
    machine = training.machine_for(config, choices)
    loaded = load_model(config.model, device=machine.device)
    tokenizer = loaded.tokenizer
    tokenizer.chat_template = template_of(tokenizer)
    context = config.context or loaded.model.config.context
    if context > loaded.model.config.context:
        raise UsageError(f"the model reads {loaded.model.config.context} tokens at most", where="--context")
    max_tokens = config.max_tokens or min(MOST_TOKENS, context // 2)
    if max_tokens >= context:
        mend = f"Give at most {context - 1}."
        raise UsageError(f"the context of {context} tokens has no room for a prompt", where="--max-tokens", mend=mend)

    learned, held_back = prompts_of(config, name, tokenizer, context - max_tokens)
    digest = digest_of(config, fingerprint([*learned, *held_back]), loaded)
    run_folder.same_data(config, choices, digest)
    if not choices:
        choices = distributed.first(lambda: choose(config, machine, loaded, len(learned), max_tokens))
        choices |= {"context": context, "data": digest}
    reward = mixture(config.reward, machine.device)
    frozen = loaded.model
    if not config.lora.rank:
        frozen = load_reference(config.model, machine.device, machine.torch_dtype)
    stop_ids = tuple(sorted({tokenizer.end, tokenizer.eos, *loaded.stop_ids}))
    return Stage(
        config=config,
        name=name,
        machine=machine,
        loaded=loaded,
        choices=choices,
        learned=learned,
        held_back=held_back[: config.report_prompts],
        reward=reward,
        judge=mixture(config.judge, machine.device) if config.judge else reward,
        sampling=Sampling(
            stop_ids=stop_ids, max_tokens=max_tokens, temperature=config.temperature, dtype=machine.torch_dtype
        ),
        reference=Reference(frozen, machine.torch_dtype, config.temperature),
    )


def prompts_of(
    config: PolicyTraining, name: str, tokenizer: "Tokenizer", most: int
) -> "tuple[list[Prompt], list[Prompt]]":
    """Prompts of at most `most` tokens to learn from and to measure on; of those in --dev none is learned from."""
    from dodam.data.preferences import key_of
    from dodam.rl.prompts import read_prompts, split

    def read(data: tuple[str, ...], limit: int) -> "list[Prompt]":
        return read_prompts(
            data, tokenizer, most, columns=config.columns, encoding=config.encoding,
            skip_bad=config.skip_bad, limit=limit,
        )  # fmt: skip

    prompts = read(config.data, config.max_prompts)
    if config.dev:
        held_back = read(config.dev, 0)
        known = {key_of(one.messages) for one in held_back}
        learned = [one for one in prompts if key_of(one.messages) not in known]
        if num_known := len(prompts) - len(learned):
            print(f"{name}: {num_known} prompts are in --dev too; they are not learned from.", file=sys.stderr)
    else:
        learned, held_back = split(prompts, DEFAULT_VALIDATION if config.validation is None else config.validation)
    if not learned:
        raise UsageError("every prompt is held back", where="--data", mend="Give more of them.")
    if not held_back:
        if config.judge or config.best:
            where = "--judge" if config.judge else "--best"
            raise UsageError("nothing is held back to be judged", where=where, mend="Give --dev or --validation.")
        print(
            f"{name}: none of {len(learned)} prompts is held back, so nothing is measured on them. "
            "More of them, a larger --validation or --dev mend that.",
            file=sys.stderr,
        )
    return learned, held_back


def check_options(config: PolicyTraining) -> None:
    """UsageError for options that cannot be or do not go together, before anything is written or loaded."""
    from dodam.rl import rewards

    compiling.refuse_compiling(config, "answers")
    if config.dev and config.validation is not None:
        raise UsageError("what is measured on is named by --dev", where="--validation", mend="Give one of the two.")
    if sum(value is not None for value in (config.steps, config.budget, config.epochs)) > 1:
        raise UsageError("--steps, --budget and --epochs bound the same run", mend="Give one of them.")
    rows = config.prompts * config.answers
    if rows % (config.batch or rows):
        what = f"a round has {rows} answers (--prompts times --answers), which {config.batch} do not divide"
        raise UsageError(what, where="--batch", mend="Give a divisor.")
    if config.batch is None and rows % ranks.world():
        what = f"a round has {rows} answers (--prompts times --answers), which {ranks.world()} ranks do not divide"
        raise UsageError(what, where="--prompts", mend="Give a multiple.")
    rewards.check([*config.reward, *config.judge])


def digest_of(config: PolicyTraining, prompts: str, loaded: "LoadedModel") -> str:
    """Changes with the prompts, the model that is the reference, the rewards, and text that is read along."""
    from dodam import files
    from dodam.data.shards import ensure_shards
    from dodam.rl.rewards import fingerprint
    from dodam.train import distributed

    weights = "".join(files.xxh3(path) for path in sorted(loaded.path.glob("*.safetensors")))
    replay = getattr(config, "replay", None)
    text = distributed.in_turn(lambda: ensure_shards(replay, loaded.tokenizer)).fingerprint if replay else ""
    return prompts + weights + fingerprint(config.reward) + text


def choose(
    config: PolicyTraining, machine: "Machine", loaded: "LoadedModel", num_prompts: int, max_tokens: int
) -> dict[str, Any]:
    """All that a run is begun with; saved at step 0."""
    rows = config.prompts * config.answers
    batch = config.batch or rows
    optim = training.learning_rates(config, loaded.model, scale=POLICY_RATE)
    rounds = max(1, round((config.epochs or DEFAULT_EPOCHS) * num_prompts / config.prompts))
    return {
        "machine": machine.to_dict(),
        "max_tokens": max_tokens,
        "batch": batch,
        "steps": config.steps or rounds * config.passes * (rows // batch),
        "seconds": training.seconds_left(config) if config.budget is not None else None,
        "compiled": False,
        "optim": {**optim, "lora": optim["lora"] * LORA_RATE},
    }


def watch_of(stage: Stage, model: Any, sums: Any, penalty: Any) -> "Watch":
    """The ledger of a run, with what is measured and written before the first step; saved with step 0."""
    from dodam.rl.watch import Measured, Watch
    from dodam.train import distributed

    if "samples" not in stage.choices:
        before, samples = stage.measure(model), distributed.first(lambda: stage.samples(model))
        stage.choices |= {"before": asdict(before) if before else None, "samples": samples}
        if before:
            told = f"before the first step {before.judge:.4f} ± {2 * before.error:.4f} on {before.num_prompts}"
            print(f"{stage.name}: {told} held-back prompts.", file=sys.stderr)
    before = stage.choices["before"]
    return Watch(stage.name, sums, penalty, Measured(**before) if before else None)


def train(
    stage: Stage,
    rounds: "Rounds",
    objective: Any,
    *,
    batches: Callable[[int], Any] | None = None,
    factors: dict[str, float] | None = None,
    finish: Callable[[], object] | None = None,
    shown: tuple[str, ...],
) -> dict[str, Any]:
    """Run the loop over rounds and write the run folder. `batches`: in place of those of the rounds alone."""
    from dodam.train.optim import OptimConfig

    config, choices, watch = stage.config, stage.choices, rounds.watch
    measured: list[Measured | None] = []

    def validate(model: Any) -> dict[str, float]:
        measured[:] = [stage.measure(model)]
        watch.look(measured[0])
        return measured[0].row() if measured[0] else {}

    def end() -> None:
        if not measured:  # the run was begun again after its last step
            measured[:] = [stage.measure(stage.loaded.model)]
        if finish:
            finish()

    def result() -> dict[str, Any]:
        told = {"before": choices["before"], "after": asdict(measured[0]) if measured[0] else None}
        return told | {"alarms": watch.alarms, "prompts": len(stage.learned)}

    best = "highest" if config.best else None
    loop = training.loop_bounds(config, choices, rounds.steps_per_epoch)
    setup = Setup(
        model=stage.loaded.model,
        tokenizer=stage.loaded.tokenizer,
        batches=batches or rounds.batches,
        objective=objective,
        optim=OptimConfig(**choices["optim"]),
        loop=replace(loop, log_every=rounds.steps, checkpoint_every=rounds.steps, best=best),
        validate=validate,
        unit="mean reward",
        sample=lambda _: stage.tell_samples(stage.loaded.model),
        chat_template=stage.loaded.tokenizer.chat_template,
        card=card_of(stage),
        factors=factors or {},
        ledger=watch,
        shown=shown,
        finish=end,
        result=result,
    )
    return training.train_run(config, stage.name, setup, choices)


def card_of(stage: Stage) -> dict[str, Any]:
    """What the model card tells of what was learned from."""
    return {
        "base": str(stage.config.model),
        "prompts": len(stage.learned),
        "data": list(stage.config.data),
        "reward": list(stage.config.reward),
        "base lineage": stage.loaded.info.get("lineage", {}),
    }
