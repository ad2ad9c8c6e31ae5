"""Stage `sft`: conversations -> a model that answers.

What it reads: a base (or already tuned) model and conversations in any of the known formats. What it writes: a
run folder with the tuned model and its chat template. Only the assistant's words are learned; conversations are
packed into rows and attention stays within each, so packing changes nothing.
"""

import math
import sys
from dataclasses import dataclass, field, replace
from itertools import groupby, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Lt

from dodam import ranks
from dodam.errors import DataError, UsageError
from dodam.stages import compiling, parts, run_folder, training
from dodam.stages.parallel import is_spread
from dodam.stages.training import Setup, Training

if TYPE_CHECKING:
    from dodam.data.batch import TokenBatch
    from dodam.data.conversation import Conversation, Encoded, Messages
    from dodam.data.packing import PackedLoader
    from dodam.folder import LoadedModel
    from dodam.machine import Machine
    from dodam.tokenizer.tokenizer import Tokenizer

DEFAULT_EPOCHS = 2.0
QUESTIONS = 6  # asked when progress is shown
TUNING_RATE = 0.5  # of pretraining's learning rates


@dataclass(frozen=True, kw_only=True)
class Sft(Training):
    """Teach a model to answer, from conversations."""

    data: tuple[str, ...]
    """Conversations: JSONL, JSON, CSV/TSV or Parquet files, folders, globs, a feedback store, or `sample:chat`. Formats
    are found out."""
    model: Path
    """The model to tune: a model folder or a run folder."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which columns hold what, when they cannot be found out: prompt=question target=answer."""
    epochs: Annotated[float, Gt(0)] | None = None
    """Passes over the conversations, when neither --steps nor --budget is given. Default: 2."""
    name: str | None = None
    """The assistant's name, put wherever the conversations say {name}. Default: 도담 in the bundled ones; in others
    {name} stays."""
    validation: Annotated[float, Gt(0), Lt(0.5)] = 0.02
    """Share of the conversations held back."""
    max_conversations: Annotated[int, Ge(0)] = 0
    """Read at most so many; 0 reads all."""
    replay: Path | None = None
    """A data folder whose text is read along, so that what was learned from it is not forgotten."""
    replay_share: Annotated[float, Gt(0), Lt(1)] = 0.35
    """Share of the rows of a step that are such text."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, and count them, instead of stopping at the first."""


def run(config: Sft) -> dict[str, Any]:
    """Tune and return what --json prints. See the file's head."""
    done = run_folder.open_run(config, "sft")
    if done:
        return done
    from dodam.data.batch import with_text
    from dodam.data.conversation import template_of
    from dodam.data.loader import RowLoader
    from dodam.data.packing import PackedLoader
    from dodam.data.shards import ensure_shards
    from dodam.folder import load_model
    from dodam.stages.validation import answer_loss, answers
    from dodam.train import distributed
    from dodam.train.objective import TokenCrossEntropy
    from dodam.train.optim import OptimConfig

    choices = run_folder.saved_choices(config.out)
    machine = training.machine_for(config, choices)
    loaded = load_model(config.model, device=machine.device)
    model, tokenizer = loaded.model.train(), loaded.tokenizer
    check_tokens(tokenizer, config.model)
    context = choices["context"] if choices else min(config.context or model.config.context, model.config.context)
    learned, held_back, questions = distributed.in_turn(lambda: read(config, tokenizer, context))
    rows = PackedLoader(learned, context, tokenizer.pad, config.seed)
    held_back_rows = PackedLoader(held_back, context, tokenizer.pad, config.seed)
    replay = config.replay
    shards = distributed.in_turn(lambda: ensure_shards(replay, tokenizer)) if replay else None
    text = RowLoader(shards.split("train"), context, config.seed + 1) if shards else None
    digest = rows.fingerprint + (shards.fingerprint if shards else "")
    run_folder.same_data(config, choices, digest)
    if not choices:
        choices = distributed.first(lambda: choose(config, machine, loaded, rows)) | {"data": digest}
    batch, microbatch = choices["batch"], config.microbatch or choices["batch"]
    _, count = distributed.share(batch)
    if choices["compiled"] and not is_spread(config):
        compiling.compile_blocks(model)
    lint(learned[0], tokenizer, rows)

    factors = parts.choose_parts(config, model)
    num_chat, num_text = rows_of_a_step(config, batch)

    def batches(step: int) -> "list[TokenBatch]":
        learned = rows.batch(step * num_chat, num_chat)
        whole = with_text(learned, text.rows(step * num_text, num_text)) if text else learned
        return whole.split(count)[ranks.replica()].split(microbatch)

    setup = Setup(
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        objective=TokenCrossEntropy(machine.torch_dtype, compiled=choices["compiled"]),
        optim=OptimConfig(**choices["optim"]),
        loop=training.loop_bounds(config, choices, rows.rows_per_epoch / num_chat),
        validate=(lambda model: answer_loss(model, held_back_rows, machine.torch_dtype)) if held_back else None,
        unit="nats per answer token",
        sample=lambda model: answers(model, tokenizer, questions),
        chat_template=template_of(tokenizer),
        card=card_of(config, loaded, rows),
        factors=factors,
        nothing=math.log(tokenizer.size),
    )
    return training.train_run(config, "sft", setup, choices)


def card_of(config: Sft, loaded: "LoadedModel", rows: "PackedLoader") -> dict[str, Any]:
    """What the model card tells of what was read."""
    from dodam.data.conversation import name_in

    return {
        "base": str(config.model),
        "conversations": len(rows.conversations),
        "data": list(config.data),
        "text read along": str(config.replay or ""),
        "name": next(filter(None, (name_in(path, config.name) for path in config.data)), ""),
        "positions padded": round(rows.wasted, 6),
        "base lineage": loaded.info.get("lineage", {}),
    }


def rows_of_a_step(config: Sft, batch: int) -> tuple[int, int]:
    """How many of a step's rows are conversations, and how many text that is read along."""
    num_text = min(batch - 1, round(batch * config.replay_share)) if config.replay else 0
    return batch - num_text, num_text


def check_tokens(tokenizer: "Tokenizer", where: Path) -> None:
    """UsageError when the end of an answer could not be learned: a pad that equals an end token is never trained on."""
    if tokenizer.pad in (tokenizer.end, tokenizer.eos):
        raise UsageError(
            "the tokenizer's pad token is also its end token, so the model would never learn to stop",
            where=str(where),
            mend="Use a tokenizer whose pad token is its own.",
        )


def read(config: Sft, tokenizer: "Tokenizer", context: int) -> "tuple[list[Encoded], list[Encoded], list[list[int]]]":
    """Encoded conversations to learn, those held back, and a few held-back questions to show progress with.

    Which are held back follows from their text alone. Conversations longer than the context lose their last turns; one
    whose first answer does not fit is left out and counted."""
    import hashlib

    from dodam.data.conversation import encode, encode_many, read_conversations

    rows = read_conversations(
        config.data, columns=config.columns, skip_bad=config.skip_bad, encoding=config.encoding, run=config.out
    )
    conversations = [named(conversation, config.name) for conversation in rows]
    if config.max_conversations:
        conversations = conversations[: config.max_conversations]
    learned, held_back, too_long = [], [], 0
    questions: list[list[int]] = []
    encoded = encode_many(tokenizer, [conversation.messages for conversation in conversations])
    for conversation, whole in zip(conversations, encoded, strict=True):
        kept = whole if len(whole.ids) <= context + 1 else shortened(tokenizer, conversation.messages, context + 1)
        if kept is None:
            too_long += 1
            continue
        text = "\n".join(message["content"] for message in conversation.messages)
        digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        if digest / 2**64 < config.validation:
            held_back.append(kept)
            if len(questions) < QUESTIONS:
                questions.append(encode(tokenizer, opening(conversation), generation_prompt=True).ids)
        else:
            learned.append(kept)
    if too_long:
        print(
            f"sft: {too_long} conversations left out: their first answer ends after {context} tokens.", file=sys.stderr
        )
    if not learned:
        raise DataError(
            "no conversation can be learned from", where=", ".join(config.data), mend="Check --context and the files."
        )
    if not held_back:
        print(
            f"sft: none of {len(learned)} conversations is held back, so nothing is measured on them. "
            "More of them or a larger --validation mend that.",
            file=sys.stderr,
        )
        first = [encode(tokenizer, opening(one), generation_prompt=True).ids for one in conversations[:QUESTIONS]]
        questions = [ids for ids in first if len(ids) < context] or [learned[0].ids[:1]]
    return learned, held_back, questions


def opening(conversation: "Conversation") -> "Messages":
    """What stands before its first answer."""
    return list(takewhile(lambda message: message["role"] != "assistant", conversation.messages))


def named(conversation: "Conversation", name: str | None) -> "Conversation":
    """The conversation with the assistant's name put in, where one is to be."""
    from dodam.data.conversation import name_in

    name = name_in(conversation.where, name)
    if name is None or not any("{name}" in message["content"] for message in conversation.messages):
        return conversation
    messages = [{**m, "content": m["content"].replace("{name}", name)} for m in conversation.messages]
    return replace(conversation, messages=messages)


def shortened(tokenizer: "Tokenizer", messages: list[dict[str, str]], limit: int) -> "Encoded | None":
    """The conversation up to its last answer that still fits, or None when not even the first one does."""
    from dodam.data.conversation import encode

    while len(messages) > 2:
        messages = messages[:-2]
        encoded = encode(tokenizer, messages)
        if len(encoded.ids) <= limit:
            return encoded
    return None


def rows_per_step(parameters: int, context: int) -> int:
    """Tokens a step grow with the square root of the model: 2k at 1M parameters, 8k at 16M, 32k at 256M."""
    return max(4, round(2048 * (parameters / 1e6) ** 0.5 / context))


def choose(config: Sft, machine: "Machine", loaded: "LoadedModel", rows: "PackedLoader") -> dict[str, Any]:
    """All that a run is begun with; saved at step 0."""
    from dodam.models.build import flops_per_token, num_parameters
    from dodam.train import budget, distributed

    if sum(value is not None for value in (config.steps, config.budget, config.epochs)) > 1:
        raise UsageError("--steps, --budget and --epochs bound the same run", mend="Give one of them.")
    sizes, context = loaded.model.config, rows.context
    batch = config.batch or distributed.divisible(rows_per_step(num_parameters(sizes), context))
    num_chat, _ = rows_of_a_step(config, batch)
    steps = config.steps or max(1, round((config.epochs or DEFAULT_EPOCHS) * rows.rows_per_epoch / num_chat))
    flops = flops_per_token(sizes, context) * batch * context * steps
    seconds = training.seconds_left(config) if config.budget is not None else None
    if seconds is not None:
        flops = seconds * budget.FIRST_GUESS
    return {
        "machine": machine.to_dict(),
        "context": context,
        "batch": batch,
        "steps": steps,
        "seconds": seconds,
        "compiled": compiling.worth_compiling(config.compile, machine, flops, experts=sizes.experts > 0),
        "optim": training.learning_rates(config, loaded.model, scale=TUNING_RATE),
    }


def lint(one: "Encoded", tokenizer: "Tokenizer", rows: "PackedLoader") -> None:
    """Show what will be learned: one conversation, what is trained on between »« and the rest as it is."""
    spans = groupby(zip(one.ids, one.trained, strict=True), key=lambda pair: pair[1])
    texts = [(trained, tokenizer.decode([token for token, _ in span], special=True)) for trained, span in spans]
    shown = "".join(f"»{text}«" if trained else text for trained, text in texts)
    print(
        f"sft: {rows.rows_per_epoch} rows, {rows.wasted:.2%} of their positions padded. "
        f"Only what stands between » and « is learned:\n{shown}".replace("\n", "\n  "),
        file=sys.stderr,
    )
