"""The command `generate`: one prompt in, one or several texts out, written as they come.

A tuned model answers the prompt through its chat template; a base model, or `--raw`, continues it as it stands.
Also what `chat` shares with it: the sampling flags, and a model opened for use.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from dodam.errors import UsageError

if TYPE_CHECKING:
    from dodam.folder import LoadedModel
    from dodam.generate.engine import Engine
    from dodam.generate.sequence import SamplingParams


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The flags that say how an answer is drawn."""

    max_tokens: Annotated[int, Gt(0)] = 256
    """Most tokens in an answer; the model's context may end it sooner."""
    temperature: Annotated[float, Ge(0)] = 0.7
    """How freely to choose: 0 takes the likeliest token each time, 1 follows the model's probabilities."""
    top_k: Annotated[int, Ge(0)] = 0
    """Choose among the k likeliest tokens only; 0 is off."""
    top_p: Annotated[float, Gt(0), Le(1)] = 0.9
    """Choose among the fewest tokens that hold this much probability; 1 is off."""
    min_p: Annotated[float, Ge(0), Le(1)] = 0.0
    """Leave out tokens less likely than this share of the likeliest; 0 is off."""
    repetition_penalty: Annotated[float, Ge(0.01), Le(10)] = 1.0
    """Above 1 makes tokens that were already used less likely; 1 is off."""
    stop: tuple[str, ...] = ()
    """A text that ends the answer and is left out of it; may be given several times."""
    seed: int | None = None
    """The same seed gives the same answer; without it every run differs."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to run; auto takes a GPU if there is one."""

    def params(self, number: int) -> "SamplingParams":
        """The engine's parameters of answer `number`; each answer has its own noise, repeated with the same seed."""
        from dodam.generate.sequence import SamplingParams

        return SamplingParams(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            stop=self.stop,
            seed=None if self.seed is None else self.seed + number,
        )


@dataclass(frozen=True, kw_only=True)
class Generate(Sampling):
    """Continue a text or answer one prompt. A tuned model answers through its chat template, a base model continues."""

    positional: ClassVar[tuple[str, ...]] = ("model", "prompt")

    model: Path
    """A model folder or a run folder."""
    prompt: str = "-"
    """The text to continue or the message to answer; - or nothing reads it from standard input."""
    raw: bool = False
    """Continue the text as it stands, also with a tuned model."""
    num_samples: Annotated[int, Gt(0)] = 1
    """How many texts to write."""


def run(config: Generate) -> dict:
    """Print the texts; return `{"model", "prompt", "samples": [{"text", "reason", "tokens"}]}`."""
    from dodam.generate.engine import Answer

    loaded = open_model(config.model, config.device)
    prompt = whole(sys.stdin.read().removesuffix("\n") if config.prompt == "-" else config.prompt)
    ids = prompt_ids(loaded, prompt, raw=config.raw)
    if len(ids) >= loaded.model.config.context:
        context = loaded.model.config.context
        raise UsageError(f"the prompt has {len(ids)} tokens, the model's context {context}", mend="Shorten the prompt.")
    engine = open_engine(loaded, rows=min(config.num_samples, 64), longest=len(ids) + config.max_tokens)
    answers = {}
    through_template = loaded.tokenizer.chat_template is not None and not config.raw
    for number in range(config.num_samples):
        answer = Answer(config.params(number), loaded.tokenizer, chat=through_template)
        answers[engine.add(ids, answer.params)] = answer
    for request, piece in pieces(engine, answers):
        if config.num_samples == 1:
            print(piece, end="", flush=True)
        elif answers[request].reason is not None:
            number = list(answers).index(request) + 1
            print(f"--- {number}\n{answers[request].text}", flush=True)
    if config.num_samples == 1:
        print()
    samples = [{"text": a.text, "reason": a.reason, "tokens": len(a.ids)} for a in answers.values()]
    return {"model": str(config.model), "prompt": prompt, "samples": samples}


def pieces(engine: "Engine", answers: dict) -> Iterator[tuple[int, str]]:
    """Run the engine until every answer has ended; (request, new text) as it comes, and once when it ends."""
    while engine.busy:
        for event in engine.step():
            answer = answers[event.request]
            piece = answer.take(event)
            if answer.reason is not None:
                engine.cancel(event.request)
            if piece or answer.reason is not None:
                yield event.request, piece


def open_model(path: Path, device: str) -> "LoadedModel":
    """The model on the device that the flag names. UsageError when this machine has no such device."""
    import torch

    from dodam.folder import load_model

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    found = "cpu" if accelerator is None else accelerator.type
    if device not in ("auto", "cpu", found):
        raise UsageError(f"this machine has no {device}", where="--device", mend="Use auto or cpu.")
    return load_model(path, device=found if device == "auto" else device)


def open_engine(loaded: "LoadedModel", *, rows: int, longest: int) -> "Engine":
    """An engine for a few answers of up to `longest` positions, prompt and answer together."""
    from dodam.generate.engine import Engine

    return Engine(loaded.model, stop_ids=loaded.stop_ids, pad_id=loaded.tokenizer.pad, max_rows=rows, context=longest)


def prompt_ids(loaded: "LoadedModel", prompt: str, *, raw: bool) -> list[int]:
    """The prompt as such texts were trained on: as a message to a tuned model, else as the beginning of a document."""
    from dodam.data.conversation import encode
    from dodam.data.text import clean

    if loaded.tokenizer.chat_template is None or raw:
        return [loaded.tokenizer.bos, *loaded.tokenizer.encode(prompt)]
    return encode(loaded.tokenizer, [{"role": "user", "content": clean(prompt)}], generation_prompt=True).ids


def whole(text: str) -> str:
    """Bytes that were no UTF-8 on the command line come as lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
