"""What people and an assistant say to each other: greetings, feelings, names, weather, what nobody can know.

In: `talk.txt`, written by hand: sections, each a list of ways to say something and, after ">", the answers to it.
Out: `EXCHANGES` by language and kind. `{name}` stays: tuning (`sft --name`) puts the assistant's name in its place.
"""

from importlib import resources

Exchanges = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


def _exchanges() -> dict[tuple[str, str], Exchanges]:
    found: dict[tuple[str, str], Exchanges] = {}
    sections = resources.files("dodam.sample").joinpath("talk.txt").read_text("utf-8").split("[")[1:]
    for head, body in (section.split("]", 1) for section in sections):
        language, kind = head.split()
        lines = body.strip().splitlines()
        rows = zip(lines[::2], lines[1::2], strict=True)
        found[language, kind] = tuple((_parts(said), _parts(answers.removeprefix("> "))) for said, answers in rows)
    return found


def _parts(line: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in line.split(" / "))


EXCHANGES = _exchanges()
"""(language, "greeting" | "farewell" | "assistant" | "feeling" | "unknown") -> ways to say it with their answers."""
