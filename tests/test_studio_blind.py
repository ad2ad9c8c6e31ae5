"""The blind comparison of models at /rank: neither is favoured, whatever they say alike."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dodam.feedback.agreement import once
from dodam.feedback.win_rate import win_rates
from dodam.serve import candidates
from test_studio_feedback import Caller, open_service, play, ranking, write_rows

LIKELY = (0.55, 0.2, 0.15, 0.1)  # as in a tuned model: what is said most is best


def saying(monkeypatch: pytest.MonkeyPatch, words: dict[str, str]) -> None:
    """Models that say one of their words (a letter each) by chance, the first most often; `-` is nothing."""
    chance = random.Random(0)

    async def answer_all(service: Any, messages: Any, shares: dict[str, int], request: Any) -> list[list[Any]]:
        def say(name: str) -> SimpleNamespace:
            return SimpleNamespace(text=chance.choices(words[name], LIKELY[: len(words[name])])[0].replace("-", " "))

        return [[say(name) for _ in range(number)] for name, number in shares.items()]

    monkeypatch.setattr(candidates, "answer_all", answer_all)


@pytest.mark.parametrize(("answers", "compared"), [(2, 5), (4, 20)])
def test_two_identical_models_are_told_to_be_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: int, compared: int
) -> None:
    """Whoever ranks prefers the earlier letter, whichever model has said it."""
    saying(monkeypatch, {"a": "ABCD", "b": "ABCD"})
    prompts = write_rows(tmp_path / "prompts.jsonl", *({"prompt": f"{number}?"} for number in range(30)))

    async def story(c: Caller) -> None:
        number = 0
        while (task := (await c.ask("next"))["task"]) is not None:
            texts = [answer["text"] for answer in task["answers"]]
            assert 2 <= len(texts) == len(set(texts)) <= answers, "each text is shown once"
            ranks = [sorted(texts).index(text) + 1 for text in texts]
            await c.ask("rankings", ranking(task, ranks, id=f"ranking-{number}"))
            number += 1
        rows = list(c.store.rankings())
        for row in rows:
            models = [origin["model"] for origin in row["origins"]]
            assert set(models) == {"a", "b"}, "no model is ranked against itself"
            assert max(map(models.count, models)) <= -(-answers // 2), "none has more places than its share"
        (found,) = win_rates(rows)
        assert found.prompts == len(rows) > compared
        assert found.rate.low <= 0.5 <= found.rate.high, found
        assert found.ties == 0 if answers == 2 else found.ties > 0.1

    with open_service(tmp_path, prompts=(prompts,), answers=answers) as service:
        play(service, story)


def test_what_both_say_is_shown_once_and_counts_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, {"a": "AB", "b": "A"})
    path = write_rows(tmp_path / "prompts.jsonl", {"prompt": "?"})

    async def story(c: Caller) -> None:
        task = (await c.ask("next"))["task"]
        texts = [answer["text"] for answer in task["answers"]]
        assert sorted(texts) == ["A", "B"]
        both = task["answers"][texts.index("A")]
        places = [1 if text == "A" else 2 for text in texts]
        said = ranking(task, places, edits=[{"id": both["id"], "text": "A!"}])
        assert (await c.ask("rankings", said))["new"] and not (await c.ask("rankings", said))["new"]
        (row,) = c.store.rankings()
        told = sorted(zip(row["answers"], [one["model"] for one in row["origins"]], row["ranks"], strict=True))
        assert told == [("A", "a", 1), ("A", "b", 1), ("B", "a", 2)]
        assert once(row)["ranks"] == [1, 2] or once(row)["ranks"] == [2, 1]
        assert sorted(once(row)["shown"]) == [0, 1] and len(row["shown"]) == 3
        (found,) = win_rates([row])
        assert found.models == ("a", "b") and found.rate.value == 0.25, "A of a ties with A of b, and B loses to it"
        (edited,) = c.store.demonstrations(("edited",))
        assert (edited["original"], edited["messages"][-1]["content"]) == ("A", "A!")
        assert await c.ask("undo", {"id": said["id"], "edits": [both["id"]]}) == {"id": said["id"], "was": "ranking"}
        assert list(c.store.rankings()) == list(c.store.demonstrations()) == []

    with open_service(tmp_path, prompts=(path,), answers=4) as service:
        play(service, story)


@pytest.mark.parametrize(("words", "said"), [("A", "no two different answers"), ("-", "No two models answer")])
def test_where_models_agree_or_one_is_silent_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    saying(monkeypatch, {"a": "A" if words == "A" else "AB", "b": words})
    path = write_rows(tmp_path / "prompts.jsonl", {"prompt": "?"})

    async def story(c: Caller) -> None:
        found = await c.ask("next")
        assert found["task"] is None and said in found["skipped"][0]

    with open_service(tmp_path, prompts=(path,), answers=2) as service:
        play(service, story)
