"""Sft from demonstrations, edits and answers ranked first, compared on held-back prompts. The people are simulated.

    python bench/feedback_sft.py --model MODEL --out DIR [--prompts 500] [--answers 4] [--steps 100] [--n 1000]

MODEL answers harder word problems of the bundled world (with --chat, questions of its conversations too). A simulated
person, who knows the right answers, ranks what it wrote, edits and writes, through the functions behind /rank and
/write, into DIR/feedback.sqlite. `dodam sft` learns from each kind alone and from all together: the same steps, each
from MODEL. `dodam evaluate` measures all of them on problems with other numbers and on the bundled tests. Flags that
are not known here are those of `dodam sft`. Started again, what is done is kept. Prints a JSON line for the store and
for each model, and a table.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from held_back import (  # beside this file
    BEFORE,
    add_flags,
    compared,
    dodam,
    on_machine,
    read_lines,
    table,
    write_held_back,
)

from dodam import files, machine
from dodam.data.conversation import encode
from dodam.errors import DodamError, UsageError
from dodam.evaluate import score
from dodam.feedback.store import PARTS, Store, open_store
from dodam.folder import load_model
from dodam.generate.engine import generate
from dodam.generate.sequence import SamplingParams
from dodam.rl.rollout import seed_of
from dodam.sample import corpus
from dodam.sample.problems import TIER, _drawn  # only the problem itself has its steps
from dodam.sample.split import random_for
from dodam.sample.words import ask
from dodam.serve.candidates import candidates_of, distinct, weights_of
from dodam.serve.feedback import origin_of
from dodam.serve.rank import Edit, RankingBody, store_ranking

PERSON = "simulated person"
GUIDELINE = """Simulated: no person has judged here. Answers with the right value come first; among those of equal value
the ones with fewer false equations, then those whose working is neither longer nor shorter than it needs to be; what is
equal in all this ties. Without a right answer all are bad. The best wrong answer is corrected."""
ALL = "all"
PART = 32  # prompts that are answered between two writes
SIDE = re.compile(r"(\d+)(?:([-+×÷])(\d+))?")
KEPT = ("model", "prompts", "chat", "answers", "temperature", "max_tokens", "seed")
"""Settings that the store follows from."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """A prompt, what the rule compares answers with, and the whole answer of one who knows."""

    messages: list[dict[str, str]]
    source: str
    task: str
    answer: str
    metric: str
    truth: str

    def right(self, answer: str) -> bool:
        return score.METRICS[self.metric][1](answer, self.answer) == 1.0

    def badness(self, answer: str) -> tuple[float, ...]:
        """What the simulated person ranks by, least first; equal is a tie. See GUIDELINE. Of conversations, where only
        the very words are right, others are the better the nearer they come, in steps of ten points of chrF."""
        if self.metric != "number":
            return not self.right(answer), -(score.chrf(answer, self.truth) // 10)
        surplus = abs(answer.count("\n") - self.truth.count("\n"))
        return not self.right(answer), false_equations(answer), surplus


def false_equations(answer: str) -> int:
    """Lines of a worked answer whose sides, such as 47+38=70+15=85, do not all have the same value."""
    chains = (line.rpartition(":")[2].replace(" ", "").split("=") for line in answer.splitlines() if "=" in line)
    return sum(len(set(map(value, chain))) > 1 for chain in chains)


def value(side: str) -> Fraction | str:
    """What a side of an equation comes to; one that is no calculation is itself."""
    found = SIDE.fullmatch(side)
    first, operation, second = (int(found[1]), found[2], int(found[3] or 0)) if found else (0, "", 0)
    if not found or (operation == "÷" and not second):
        return side
    if operation == "÷":
        return Fraction(first, second)
    return Fraction({None: first, "+": first + second, "-": first - second, "×": first * second}[operation])


def problems(seed: int, count: int) -> Iterator[Known]:
    """The prompts of `sample:problems` (there the seed is 1), with their worked answers."""
    rng = random_for(seed, "problems")
    for _, drawn in _drawn(rng, count, TIER, test=False):
        messages = [{"role": "user", "content": ask(rng, drawn, steps=True)}]
        yield Known(messages, "sample:problems", f"problems-{TIER}", str(drawn.answer), "number", drawn.worked)


def chats(seed: int, count: int) -> Iterator[Known]:
    """So many conversations of `sample:chat` (there the seed is 1) up to their last answer, none that says the
    assistant's name, no prompt twice."""
    found: dict[str, Known] = {}
    for row in corpus.chat(seed) if count else ():
        *messages, last = row["messages"]
        if not any("{name}" in one["content"] for one in row["messages"]):
            known = Known(messages, "sample:chat", row["task"], last["content"], "exact", last["content"])
            found.setdefault(json.dumps(messages), known)
    yield from islice(found.values(), count)


def check_apart(known: Sequence[Known], held_back: Sequence[Path]) -> None:
    """UsageError where a prompt is also a test item: it would be measured on what was learned."""
    asked = {one.messages[-1]["content"] for one in known}
    for path in held_back:
        for item in read_lines(path):
            question = item["messages"][-1]["content"] if "messages" in item else item["prompt"]
            if question in asked:
                raise UsageError(f"{question[:60]!r} is among the prompts too", where=f"{path}, {item['id']}")


def write_answers(store: Store, known: Sequence[Known], options: argparse.Namespace) -> list[str]:
    """Put the prompts into the store and let the model answer those that have no answers yet; their ids. What it wrote
    stands there with its origin before anybody judges it, as behind /rank."""
    ids = [store.add_prompt(one.messages, task=one.task, source=one.source) for one in known]
    missing = [number for number, id in enumerate(ids) if not store.prompt(id).answers]
    if not missing:
        return ids
    loaded = load_model(options.model, device=machine.look(options.device).device)
    if loaded.tokenizer.chat_template is None:
        raise UsageError("has no chat template, so it cannot be asked", where=options.model, mend="Name an sft model.")
    origin = {"weights": weights_of(loaded.path)}
    for first in range(0, len(missing), PART):
        part = [number for number in missing[first : first + PART] for _ in range(options.answers)]
        params = [
            SamplingParams(
                max_tokens=options.max_tokens,
                temperature=options.temperature,
                seed=seed_of(options.seed, number, place % options.answers),
            )
            for place, number in enumerate(part)
        ]
        prompts = [encode(loaded.tokenizer, known[number].messages, generation_prompt=True).ids for number in part]
        stop_ids, tokenizer = loaded.stop_ids, loaded.tokenizer
        outputs = generate(loaded.model, prompts, params, stop_ids=stop_ids, tokenizer=tokenizer, max_rows=128)
        said: dict[int, list[tuple[str, Row]]] = {}
        for number, output, one in zip(part, outputs, params, strict=True):
            if output.text.strip():
                said.setdefault(number, []).append((output.text, origin_of(str(options.model), origin, one)))
        for number, answers in said.items():
            store.add_candidates(ids[number], [text for text, _ in answers], [origin for _, origin in answers])
        print(f"feedback_sft: {first + len(part) // options.answers} of {len(missing)} prompts", file=sys.stderr)
    return ids


def judge(store: Store, prompt: str, known: Known, guideline: str) -> None:
    """What the simulated person says of one prompt: a ranking with the best wrong answer edited into the right one, and
    a demonstration. Told again, it is the same. Nobody takes any time over it: 0 seconds."""
    answers = distinct(store.prompt(prompt).answers)
    random.Random(f"{prompt} {PERSON}").shuffle(answers)
    badness = [known.badness(answer.text) for answer in answers]
    wrong = [place for place, answer in enumerate(answers) if not known.right(answer.text)]
    best_wrong = answers[min(wrong, key=lambda place: badness[place])].id if wrong else None
    if len(answers) >= 2:
        order = sorted(set(badness))
        body = RankingBody(
            id=f"ranked-{prompt}",
            prompt=prompt,
            shown=[answer.id for answer in answers],
            ranks=[order.index(one) + 1 for one in badness],
            all_bad=len(wrong) == len(answers),
            edits=[Edit(id=best_wrong, text=known.truth)] if best_wrong else [],
            seconds=0,
        )
        store_ranking(store, body, PERSON, guideline)
    else:  # /rank does not ask it; /write may
        store.skip(prompt, PERSON)
        if best_wrong:
            said: Row = {"edited": candidates_of(best_wrong)[0], "seconds": 0, "guideline": guideline}
            store.add_demonstration(id=f"edited-{prompt}", prompt=prompt, text=known.truth, annotator=PERSON, **said)
    said = {"text": known.truth, "seconds": 0, "guideline": guideline}
    store.add_demonstration(id=f"written-{prompt}", prompt=prompt, annotator=PERSON, **said)


def told_of_store(store: Store, known: Sequence[Known], ids: Sequence[str]) -> Row:
    """What the store holds in the end."""
    rankings = list(store.rankings())
    answers = [(one, answer.text) for one, id in zip(known, ids, strict=True) for answer in store.prompt(id).answers]
    return {
        **{name: count for name, count in store.counts().items() if name in ("prompts", "candidates", "rankings")},
        "right": sum(one.right(text) for one, text in answers) / max(1, len(answers)),
        "all_bad": sum(row["all_bad"] for row in rankings),
        "with_ties": sum(len(set(row["ranks"])) < len(row["ranks"]) for row in rankings),
        "conversations": {part: sum(1 for _ in store.demonstrations((kind,))) for part, kind in PARTS.items()},
    }


def train(options: argparse.Namespace, store: Path, conversations: dict[str, int], passed_on: list[str]) -> Row:
    """A run from each kind of conversations that there is: where its model stands, and how many it has learned from."""
    runs: Row = {}
    for name in (*PARTS, ALL):
        count = sum(conversations.values()) if name == ALL else conversations[name]
        if not count:
            print(f"feedback_sft: nothing was {name}, so nothing is learned from it.", file=sys.stderr)
            continue
        data = str(store) if name == ALL else f"{store}#{name}"
        words = ["sft", "--model", str(options.model), "--data", data, "--out", str(options.out / name)]
        dodam(*words, "--steps", str(options.steps), "--seed", str(options.seed), *on_machine(options), *passed_on)
        runs[name] = count
    return runs


def same_settings(options: argparse.Namespace) -> None:
    """UsageError where the folder was begun with settings that make another store."""
    file, wanted = options.out / "settings.json", {name: getattr(options, name) for name in KEPT}
    begun = files.read_json(file) if file.is_file() else wanted
    if differing := [name for name in KEPT if begun.get(name) != wanted[name]]:
        mend = "Use another --out."
        raise UsageError(f"was begun with other settings ({', '.join(differing)})", where=str(options.out), mend=mend)
    options.out.mkdir(parents=True, exist_ok=True)
    files.write_json(file, wanted)


def main(words: list[str] | None = None) -> None:
    options, passed_on = flags().parse_known_args(words)
    machine.use(machine.look(options.device, options.threads))
    same_settings(options)
    known = [*problems(options.seed, options.prompts), *chats(options.seed, options.chat)]
    held_back = write_held_back(options.out / "held-back", options.first, options.n, options.tasks, options.limit)
    check_apart(known, held_back)
    place = options.out / "feedback.sqlite"
    with open_store(place, create=True) as store:
        ids = write_answers(store, known, options)
        guideline = store.add_guideline(GUIDELINE)
        for id, one in zip(ids, known, strict=True):
            judge(store, id, one, guideline)
        told = told_of_store(store, known, ids)
    print(json.dumps({"store": str(place), "people": "simulated", **told}), flush=True)
    runs = train(options, place, told["conversations"], passed_on)
    models = [f"{BEFORE}={options.model}", *(f"{name}={options.out / name}" for name in runs)]
    report = options.out / "evaluate"
    dodam("evaluate", *models, "--task", *map(str, held_back), "--out", str(report), *on_machine(options))
    people = {"people": "simulated"}
    about = {name: {**people, "conversations": count, "steps": options.steps} for name, count in runs.items()}
    lines = compared(files.read_json(report / "report.json")["rows"], {BEFORE: people, **about})
    for line in lines:
        print(json.dumps(line))
    print(f"\n{table(lines, 'sft from what simulated people said', {'conversations': 'conversations'})}")


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", required=True, help="the sft model that answers, and that each run begins with")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=500, help="word problems")
    parser.add_argument("--chat", type=int, default=0, help="prompts out of the bundled conversations")
    parser.add_argument("--answers", type=int, default=4, choices=range(2, 10), help="to each prompt")
    parser.add_argument("--temperature", type=float, default=1.0, help="that they are sampled at")
    parser.add_argument("--max-tokens", type=int, default=128, help="of an answer")
    parser.add_argument("--steps", type=int, default=100, help="of each run")
    parser.add_argument("--seed", type=int, default=0, help="of prompts, answers and runs")
    add_flags(parser)
    return parser


if __name__ == "__main__":
    try:
        main()
    except DodamError as error:
        sys.exit(f"feedback_sft: {error}")
