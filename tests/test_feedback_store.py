"""The feedback store: what is acknowledged is there, once, whoever writes at the same time and whatever breaks."""

import contextlib
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import feedback_stores
from dodam.errors import DataError, FolderError, StorageError, UsageError
from dodam.feedback import database
from dodam.feedback.conversations import new_key
from dodam.feedback.store import Store, is_store, open_store, selection
from feedback_stores import Server, filled, told

postgres, place, store = feedback_stores.postgres, feedback_stores.place, feedback_stores.store  # fixtures


def rank(store: Store, prompt: str, answers: list[str], ranks: list[int], **more) -> object:
    return store.add_ranking(
        **{"id": f"r{time.time_ns()}", "annotator": "kim"} | more, prompt=prompt, answers=answers, ranks=ranks
    )


def test_a_ranking_is_told_as_it_was_given(store: Store) -> None:
    prompt = store.add_prompt([{"role": "system", "content": "Be brief."}, {"role": "user", "content": " 수도는?\r\n"}])
    origins = [{"model": "a", "step": 3, "sampling": {"temperature": 0.7}}, {"model": "b"}, {}]
    one, two, three = store.add_candidates(prompt, ["서울", "부산", "Seoul 🙂"], origins)
    saved = store.add_ranking(
        id="r1",
        prompt=prompt,
        answers=[three, one, two],
        ranks=[1, 1, 5],
        annotator=" kim ",
        seconds=4.5,
        guideline="1",
        shown=[2, 0, 1],
    )
    assert (saved.id, saved.new, saved.supersedes) == ("r1", True, None)
    (row,) = store.rankings()
    assert row.pop("time").startswith("20")
    assert row == {
        "id": "r1",
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "수도는?"}],
        "answers": ["Seoul 🙂", "서울", "부산"],
        "ranks": [1, 1, 2],
        "all_bad": False,
        "annotator": "kim",
        "seconds": 4.5,
        "guideline": "1",
        "origins": [{}, origins[0], origins[1]],
        "shown": [2, 0, 1],
    }


def test_prompts_and_answers_are_stored_once(store: Store) -> None:
    first = filled(store, prompts=2)
    assert filled(store, prompts=2) == first
    assert store.counts()["prompts"] == 2 and store.counts()["candidates"] == 6
    prompt, answers = first[0]
    (other,) = store.add_candidates(prompt, ["답 0"], [{"model": "another"}])
    assert other not in answers
    assert [answer.text for answer in store.prompt(prompt).answers] == ["답 0", "답 1", "답 2", "답 0"]


def test_the_same_id_is_the_same_ranking(store: Store) -> None:
    ((prompt, answers),) = filled(store)
    assert rank(store, prompt, answers, [1, 2, 3], id="r", seconds=1).new
    assert not rank(store, prompt, answers[::-1], [3, 2, 1], id="r", seconds=2).new
    assert len(list(store.rankings())) == 1
    assert "the id r is that of another ranking" in told(lambda: rank(store, prompt, answers, [1, 2, 2], id="r"))
    assert "another ranking" in told(lambda: rank(store, prompt, answers, [1, 2, 3], id="r", annotator="lee"))
    assert [row["ranks"] for row in store.rankings()] == [[1, 2, 3]]


def test_a_later_ranking_supersedes_and_undo_brings_the_earlier_back(store: Store) -> None:
    ((prompt, answers),) = filled(store, answers=4)

    def current() -> list[str]:
        return [row["id"] for row in store.rankings()]

    rank(store, prompt, answers, [1, 2, 3, 4], id="a")
    assert rank(store, prompt, answers[::-1], [1, 2, 3, 4], id="b").supersedes == "a"  # the same answers, other order
    assert rank(store, prompt, answers, [2, 1, 3, 4], id="c").supersedes == "b"
    rank(store, prompt, answers, [2, 1, 3, 4], id="lee", annotator="lee")
    rank(store, prompt, answers[:3], [1, 2, 3], id="others")
    assert current() == ["c", "lee", "others"]
    assert store.undo("b", "kim") == "ranking"
    assert current() == ["c", "lee", "others"]
    store.undo("c", "kim")
    store.undo("c", "kim")
    assert current() == ["a", "lee", "others"]
    assert "kim has said nothing under the id lee" in told(lambda: store.undo("lee", "kim"))
    assert not rank(store, prompt, answers, [2, 1, 3, 4], id="c").new  # sent again, it stays undone
    assert current() == ["a", "lee", "others"]


def test_those_who_are_not_known_supersede_nobody(store: Store) -> None:
    ((prompt, answers),) = filled(store)
    rank(store, prompt, answers, [1, 2, 3], id="a", annotator="")
    rank(store, prompt, answers, [3, 2, 1], id="b", annotator="")
    assert [row["id"] for row in store.rankings()] == ["a", "b"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for what leaves nothing behind, or whose annotators are its own."""
    with open_store(tmp_path_factory.mktemp("shared") / "f.sqlite", create=True) as opened:
        yield opened


EXAMPLES = itertools.count()


@settings(max_examples=10, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from("rrru"), st.integers(0, 1), st.integers(0, 1), st.integers(0, 9))))
def test_what_counts_is_what_a_list_would_tell(shared: Store, steps: list[tuple[str, int, int, int]]) -> None:
    """Any order of ranking and undoing against the plainest way to keep it: for each annotator and prompt a list of
    rankings, of which the last one that is not undone counts."""
    example = f"e{next(EXAMPLES)}-"
    said: dict[tuple[int, int], list[str]] = {}
    undone: set[str] = set()
    made = filled(shared, prompts=2, answers=2)
    for number, (what, annotator, prompt, which) in enumerate(steps):
        mine, name = said.setdefault((annotator, prompt), []), f"{example}{annotator}"
        if what == "r":
            mine.append(f"{example}{number}")
            rank(shared, *made[prompt], [1, 2], id=mine[-1], annotator=name)
        elif mine:
            undone.add(mine[which % len(mine)])
            shared.undo(mine[which % len(mine)], name)
    alive = [[id for id in mine if id not in undone] for mine in said.values()]
    found = {row["id"] for row in shared.rankings() if row["annotator"].startswith(example)}
    assert found == {ids[-1] for ids in alive if ids}


BAD = {
    "there is no prompt": {"prompt": "nowhere"},
    "unknown is no answer to the prompt": {"answers": ["unknown", 1, 2]},
    "there are 3 answers and 2 ranks": {"ranks": [1, 2]},
    "whole numbers from 1, not": {"ranks": [0, 1, 2]},
    "whole numbers from 1, not [1.5": {"ranks": [1.5, 1, 2]},
    "whole numbers from 1, not [True": {"ranks": [True, 1, 2]},
    "a ranking needs ranks": {"ranks": None},
    "2 to 26 answers, not 1": {"answers": [0], "ranks": [1]},
    "the same answer is there twice": {"answers": [0, 1, 1], "ranks": [1, 2, 2]},
    "has two ranks": {"answers": [0, 1, 1], "ranks": [1, 2, 3]},
    "the seconds taken must be a number from 0": {"seconds": float("nan")},
    "the id of a ranking is empty": {"id": " "},
    "one line of at most 100 characters": {"id": "x" * 101},
    "the name of the annotator must be one line": {"annotator": "a\nb"},
    "`shown` must have each place": {"shown": [0, 1, 1]},
    "`all_bad` must be true or false": {"all_bad": "yes"},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_rankings_are_named_and_leave_nothing(shared: Store, message: str) -> None:
    ((prompt, answers),), before = filled(shared), shared.counts()
    said = {"id": "bad", "prompt": prompt, "answers": [0, 1, 2], "ranks": [1, 2, 3], "annotator": "new"} | BAD[message]
    said["answers"] = [answers[one] if isinstance(one, int) else one for one in said["answers"]]
    assert message in told(lambda: shared.add_ranking(**said))
    assert shared.counts() == before and "new" not in shared.annotators()


def test_bad_prompts_and_answers_are_named(tmp_path: Path) -> None:
    with open_store(tmp_path / "f.sqlite", create=True) as store:
        prompt = store.add_prompt("하나")
        user = {"role": "user", "content": "a"}
        for bad, message in (
            ("  ", "the prompt is empty"),
            ([], "a text or a list of messages"),
            ([{"role": "judge", "content": "a"}], "needs a role"),
            ([user, {"role": "assistant", "content": "b"}], "must be the user's"),
            ([{"role": "user", "content": None}], "is no text but NoneType"),
        ):
            assert message in told(lambda bad=bad: store.add_prompt(bad))
        assert "an answer is empty" in told(lambda: store.add_candidates(prompt, ["a", " "]))
        assert "2 answers and 1 origins" in told(lambda: store.add_candidates(prompt, ["a", "b"], [{}]))
        assert store.prompt(prompt).answers == ()
        (odd,) = store.add_candidates(prompt, ["a\0b\ud800c"])
        assert store.prompt(prompt).answers[0].text == "a\ufffdb\ufffdc" and odd


@pytest.mark.parametrize("odd", ["\0", "a\ud800", "\u202e" * 200, "'; DROP TABLE prompts; --", "x" * 10_000])
def test_no_text_is_a_mistake_of_ours(store: Store, odd: str) -> None:
    """Whatever stands where an id, a name or a text is expected is stored, or refused by one of our errors."""
    ((prompt, answers),) = filled(store)
    good = {"id": "r", "prompt": prompt, "answers": answers, "ranks": [1, 2, 3], "annotator": "kim"}
    for number, field in enumerate(("id", "prompt", "annotator", "guideline", "answers")):
        said = good | {"id": f"r{number}", field: [odd, *answers[1:]] if field == "answers" else odd}
        with contextlib.suppress(DataError):
            store.add_ranking(**said)
    for call in (store.prompt, store.annotators, store.next_prompt, store.progress, store.delete_by_key, store.admits):
        with contextlib.suppress(DataError):
            call(*[] if call == store.annotators else [odd])
    other = store.add_prompt(f"a{odd}", task=odd, source=odd)
    assert store.add_candidates(other, [f"a{odd}"], [{"model": odd, odd: [odd]}])
    assert store.counts()["prompts"] == 2 and len(list(store.rankings())) >= 1


def test_what_two_origins_wrote_alike_may_tie_but_not_differ(tmp_path: Path) -> None:
    with open_store(tmp_path / "f.sqlite", create=True) as store:
        prompt = store.add_prompt("하나")
        answers = store.add_candidates(prompt, ["a", "a", "b"], [{"model": "1"}, {"model": "2"}, {}])
        assert "the answer 'a' has two ranks" in told(lambda: rank(store, prompt, answers, [1, 2, 3]))
        rank(store, prompt, answers, [1, 1, 2])
        assert [row["ranks"] for row in store.rankings()] == [[1, 1, 2]]


def test_demonstrations(store: Store) -> None:
    made = filled(store, prompts=3)
    (prompt, (one, two, _)), (second, others), (third, bad) = made
    store.add_demonstration(id="w", prompt=prompt, text="내가 쓴 답", annotator="kim", seconds=3)
    store.add_demonstration(id="e", prompt=prompt, text="고친 답", annotator="kim", edited=two)
    assert not store.add_demonstration(id="e", prompt=prompt, text="고친 답", annotator="kim", edited=two).new
    store.add_demonstration(id="e2", prompt=prompt, text="더 고친 답", annotator="kim", edited=two, supersedes="e")
    rank(store, prompt, [one, two], [2, 1], id="r")
    rank(store, prompt, [one, two], [2, 1], id="again", annotator="lee")  # the same answer first: told once
    rank(store, second, others, [1, 1, 2], id="tie")
    rank(store, second, others, [1, 1, 1], id="even", annotator="lee")
    rank(store, third, bad, [1, 2, 3], id="bad", all_bad=True)
    told_rows = [(row["kind"], row["messages"][-1]["content"], row["id"]) for row in store.demonstrations()]
    assert told_rows == [
        ("written", "내가 쓴 답", "w"),
        ("edited", "더 고친 답", "e2"),
        ("ranked first", "답 1", "r"),
        ("ranked first", "답 0", "tie"),
        ("ranked first", "답 1", "tie"),
    ]
    assert [row["id"] for row in store.demonstrations(("edited",))] == ["e2"]
    assert store.undo("e2", "kim") == "demonstration"
    assert [row["id"] for row in store.demonstrations(("edited",))] == ["e"]
    assert next(store.demonstrations(("edited",)))["original"] == "답 1"
    message = told(lambda: store.add_demonstration(id="x", prompt=prompt, text="a", annotator="lee", supersedes="w"))
    assert "lee has written no demonstration w" in message


def test_thumbs(store: Store) -> None:
    ((_, (one, two, _)),) = filled(store)
    store.add_thumb(id="t1", answer=one, up=True)
    store.add_thumb(id="t2", answer=one, up=False)
    store.add_thumb(id="t3", answer=two, up=True, annotator="kim")
    assert [(row["answer"], row["up"], row["annotator"]) for row in store.thumbs()] == [
        ("답 0", False, ""),
        ("답 1", True, "kim"),
    ]
    store.undo("t2", "")
    assert [row["up"] for row in store.thumbs()] == [True, True]
    assert "there is no answer x" in told(lambda: store.add_thumb(id="t4", answer="x", up=True))


def test_next_prompt_has_the_fewest_rankings_and_is_nobody_elses(store: Store) -> None:
    made = dict(filled(store, prompts=4, answers=2))
    prompts = list(made)
    rank(store, prompts[0], made[prompts[0]], [1, 2], annotator="old")
    lent = [store.next_prompt(name).id for name in ("a", "b", "c")]
    assert sorted(lent) == sorted(prompts[1:])  # those without a ranking, each to one
    assert store.next_prompt("a").id == lent[0]  # a reload, or a second tab: the one that is open
    assert store.next_prompt("d").id == prompts[0]
    assert store.next_prompt("e") is None
    rank(store, lent[0], made[lent[0]], [1, 2], annotator="a")
    assert store.next_prompt("e").id == lent[0]  # done and given back
    store.skip(lent[1], "b")
    assert store.next_prompt("f").id == lent[1]
    assert store.next_prompt("b") is None
    store.release(lent[1], "f")
    store.unskip(lent[1], "b")
    assert store.next_prompt("b").id == lent[1]
    progress = store.progress("a")
    assert (progress.done, progress.skipped, progress.total) == (1, 0, 4)


def test_leases_run_out(store: Store) -> None:
    ((prompt, _),) = filled(store)
    assert store.next_prompt("a", lease=0.05).id == prompt
    time.sleep(0.06)
    assert store.next_prompt("b").id == prompt
    assert store.next_prompt("a") is None


def test_undone_is_asked_again(store: Store) -> None:
    ((prompt, answers),) = filled(store)
    rank(store, prompt, answers, [1, 2, 3], id="r", annotator="a")
    assert store.next_prompt("a") is None
    store.undo("r", "a")
    assert store.next_prompt("a").id == prompt and store.next_prompt("b") is None


def test_uncertain_prompts_first(store: Store) -> None:
    prompts = [prompt for prompt, _ in filled(store, prompts=4)]
    store.set_uncertainty({prompts[1]: 0.1, prompts[2]: 0.9, prompts[3]: 0.5})
    lent = [store.next_prompt(name, "uncertain").id for name in "abcd"]
    assert lent == [prompts[2], prompts[3], prompts[1], prompts[0]]
    assert "not a number" in told(lambda: store.set_uncertainty({prompts[0]: float("nan")}))


def test_a_prompt_deleted_meanwhile_spoils_no_uncertainty(store: Store) -> None:
    (kept, _), (other, _) = filled(store, prompts=2)
    key = new_key()
    gone, _ = store.collect(key, "하나", "둘", {})
    store.delete_by_key(key)
    assert store.set_uncertainty({kept: 0.1, gone: 0.9, other: 0.5}) == {gone}
    assert [store.next_prompt(name, "uncertain").id for name in "ab"] == [other, kept]


def test_random_prompts_are_all_met(tmp_path: Path) -> None:
    with open_store(tmp_path / "f.sqlite", create=True) as store:
        filled(store, prompts=2)
        met = set()
        for _ in range(20):
            met.add((asked := store.next_prompt("a")).id)
            store.release(asked.id, "a")
        assert len(met) == 2  # the same one 20 times: twice in a million


def test_a_new_model_is_judged_again(store: Store) -> None:
    prompt = store.add_prompt("하나")
    origins = [{"model": "m", "weights": weights} for weights in ("old", "old", "new")]
    old, older, new = store.add_candidates(prompt, ["a", "b", "c"], origins)
    given = store.add_candidates(prompt, ["d", "e"])

    def asked(*weights: str) -> bool:
        found = store.next_prompt("a", weights=weights) is not None
        assert store.progress("a", weights=weights).done == 1 - found
        store.release(prompt, "a")
        return found

    rank(store, prompt, [old, older], [1, 2], id="before", annotator="a")
    assert not asked() and not asked("old") and not asked("old", "old")
    assert asked("new") and asked("old", "new"), "the two were not compared"
    rank(store, prompt, [old, new], [1, 2], id="both", annotator="a")
    assert not asked("new") and not asked("old", "new") and asked("newest") and asked("new", "newest")
    rank(store, prompt, given, [1, 2], id="given", annotator="a")
    assert not asked("newest"), "answers of a file have no weights"


def test_what_is_left_out_is_no_part_of_the_whole(store: Store) -> None:
    (first, answers), (second, _) = filled(store, prompts=2)
    rank(store, first, answers, [1, 2, 3], annotator="a")
    assert store.next_prompt("a", without=[second]) is None
    progress = store.progress("a", without=[first, second])
    assert (progress.done, progress.skipped, progress.total) == (1, 0, 1)
    assert store.next_prompt("a", without=[first]).id == second


def test_prompts_to_write_to_are_counted_apart(store: Store) -> None:
    ((prompt, answers),) = filled(store)
    rank(store, prompt, answers, [1, 2, 3], annotator="a")
    assert store.next_prompt("a", purpose="write").id == prompt
    store.add_demonstration(id="d", prompt=prompt, text="답", annotator="a")
    assert store.next_prompt("a", purpose="write") is None
    assert store.progress("a", purpose="write").done == 1


def test_several_annotators_at_once(place: str) -> None:
    """Each has a store of their own, as processes have: all rank all prompts, none is lost or doubled, and no prompt is
    open to two at once."""
    with open_store(place, create=True) as store:
        made = dict(filled(store, prompts=8, answers=2))
    guard, opened, clashes = threading.Lock(), set(), []

    def annotate(name: str) -> int:
        done = 0
        with open_store(place) as mine:
            while done < len(made):
                asked = mine.next_prompt(name)
                if asked is None:  # the others have the rest open
                    time.sleep(0.002)
                    continue
                with guard:
                    clashes.extend([asked.id] if asked.id in opened else [])
                    opened.add(asked.id)
                time.sleep(0.001)
                with guard:
                    opened.discard(asked.id)
                said = {"id": f"{name}-{asked.id}", "prompt": asked.id, "answers": made[asked.id], "ranks": [1, 2]}
                mine.add_ranking(**said, annotator=name)
                assert not mine.add_ranking(**said, annotator=name).new  # sent twice
                done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(annotate, ["a", "b", "c", "d"])) == [8] * 4
    assert clashes == []
    with open_store(place) as store:
        assert len({(row["annotator"], row["prompt"][0]["content"]) for row in store.rankings()}) == 32
        assert store.counts()["rankings"] == 32


def test_one_id_sent_by_many_at_once_is_one_ranking(place: str) -> None:
    with open_store(place, create=True) as store:
        ((prompt, answers),) = filled(store)
        with ThreadPoolExecutor(6) as pool:
            sent = [
                pool.submit(rank, store, prompt, answers, [1, 2, 3], id="same", annotator=f"new{n % 2}")
                for n in range(12)
            ]
        saved = [one.result() for one in sent if one.exception() is None]
        assert sum(one.new for one in saved) == 1
        assert all("another ranking" in str(one.exception()) for one in sent if one.exception())
        assert store.counts()["rankings"] == 1


def test_two_tabs_at_once_leave_one_ranking_that_counts(place: str) -> None:
    with open_store(place, create=True) as store:
        ((prompt, answers),) = filled(store)
        with ThreadPoolExecutor(6) as pool:
            saved = list(pool.map(lambda n: rank(store, prompt, answers, [1, 2, 3], id=f"r{n}"), range(12)))
        (row,) = store.rankings()
        superseded = {one.supersedes for one in saved}
        assert superseded == {None, *(f"r{n}" for n in range(12))} - {row["id"]}  # a chain without a fork


def test_a_new_store_opened_by_many_at_once(place: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_store(place, create=True), range(4)))
    for number, one in enumerate(stores):
        one.add_prompt(f"{number}")
        one.close()
    with open_store(place) as store:
        assert store.counts()["prompts"] == 4


WRITER = """
import sys
from dodam.feedback.store import open_store
store = open_store(sys.argv[1], create=True)
for number in range(10_000):
    prompt = store.add_prompt(f"{number}")
    answers = store.add_candidates(prompt, ["a", "b"])
    store.add_ranking(id=str(number), prompt=prompt, answers=answers, ranks=[1, 2], annotator="kim")
    print(number, flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(place: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, place], stdout=subprocess.PIPE, text=True)
    acknowledged = [process.stdout.readline().strip() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += process.communicate()[0].split()
    with open_store(place) as store:
        there = [row["id"] for row in store.rankings()]
        assert len(there) == len(set(there)) and set(acknowledged) <= set(there)
        assert len(there) <= len(acknowledged) + 1
        rank(store, *filled(store)[0], [1, 2, 3])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_store(tmp_path / "feedback.sqlite", create=True) as store:
        rank(store, *filled(store)[0], [1, 2, 3], id="before")
    return tmp_path / "feedback.sqlite"


def ids(path: Path) -> list[str]:
    with open_store(path) as store:
        return [row["id"] for row in store.rankings()]


def test_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    with open_store(path) as store, sqlite3.connect(path, isolation_level=None) as other:
        made = filled(store)[0]
        other.execute("BEGIN IMMEDIATE")
        assert told(lambda: rank(store, *made, [3, 2, 1])).endswith(
            "locked by another program. Nothing was stored; try again."
        )
        assert [row["id"] for row in store.rankings()] == ["before"]  # reading goes on
        other.execute("ROLLBACK")
        rank(store, *made, [3, 2, 1], id="after")
    other.close()
    assert ids(path) == ["after"]


def test_a_lock_is_waited_for(path: Path) -> None:
    with open_store(path) as store:
        made, other = filled(store)[0], sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
        timer.start()
        rank(store, *made, [3, 2, 1], id="after")
        timer.join()
        other.close()
    assert ids(path) == ["after"]


def test_moved_while_in_use(path: Path) -> None:
    moved = path.with_name("moved.sqlite")
    with open_store(path) as store:
        made = filled(store)[0]
        rank(store, *made, [3, 2, 1], id="acknowledged", annotator="lee")
        path.rename(moved)
        assert "was moved, replaced or deleted while in use" in told(lambda: rank(store, *made, [2, 1, 3]))
    assert ids(moved) == ["before", "acknowledged"]


def test_moved_and_killed(path: Path) -> None:
    """A log that stayed behind holds nothing that was acknowledged: the file alone has it."""
    writer = WRITER.replace("range(10_000)", "range(100, 110)") + "sys.stdin.read()"
    words = [sys.executable, "-c", writer, str(path)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    acknowledged = [process.stdout.readline().strip() for _ in range(10)]
    moved = path.rename(path.with_name("moved.sqlite"))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert ids(moved) == ["before", *acknowledged]


def test_another_file_in_its_place(path: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "other.sqlite", create=True):
        pass
    with open_store(path) as store:
        made = filled(store)[0]
        os.replace(tmp_path / "other.sqlite", path)
        assert "was moved, replaced or deleted" in told(lambda: rank(store, *made, [2, 1, 3]))


def test_full(path: Path) -> None:
    from sqlalchemy import event

    with open_store(path) as store:
        made = filled(store)[0]
        store.close()  # connections made from now on have no room for another page
        event.listen(
            store.database.engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 1")
        )
        assert "the disk is full" in told(lambda: store.add_prompt("x" * 100_000))
        assert "the disk is full" in told(lambda: [rank(store, *made, [1, 2, 3], id=f"{n}") for n in range(200)])
    assert ids(path)[0] in {"before", *map(str, range(200))}
    with open_store(path) as store:
        rank(store, *made, [3, 2, 1], id="after")
    assert ids(path) == ["after"]
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


READER = """
import sys
from dodam.errors import StorageError
from dodam.feedback.store import is_store, open_store
assert is_store(sys.argv[1])
with open_store(sys.argv[1]) as store:
    print([row["id"] for row in store.rankings()])
    try:
        store.add_prompt("x")
    except StorageError as error:
        print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_read_only(path: Path) -> None:
    bound = []
    if os.getuid() == 0:  # whom permissions do not bind otherwise
        bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        if not shutil.which("setpriv"):
            pytest.skip("root, and no setpriv to give up its rights")
    path.chmod(0o444)
    path.parent.chmod(0o555)
    words = [*bound, sys.executable, "-c", READER, str(path)]
    try:
        output = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    finally:
        path.parent.chmod(0o755)
    assert output[0] == "['before']"
    assert output[1].endswith("cannot be written. Mend the permissions of the file and of its folder.")


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n' * 1000, encoding="utf-8")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    for path in (rows, other, tmp_path, tmp_path / "nowhere.sqlite"):
        assert not is_store(str(path))
        with pytest.raises(FolderError):
            open_store(path)
    for path in (rows, other, tmp_path):
        assert "no feedback store" in told(lambda path=path: open_store(path, create=True))
    assert rows.read_text(encoding="utf-8") == '{"text": "a"}\n' * 1000
    assert "dodam serve MODEL --feedback" in told(lambda: open_store(tmp_path / "nowhere.sqlite"))


def test_looking_at_a_store_leaves_its_locks_alone(path: Path) -> None:
    """POSIX drops all of a process's locks on a file when it closes any handle of that file."""
    with open_store(path) as store:
        made = filled(store)[0]
        for _ in range(3):
            assert is_store(str(path))
        script = (
            f"import sqlite3; print(sqlite3.connect({str(path)!r}).execute('PRAGMA journal_mode = DELETE').fetchone())"
        )
        refused = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert "locked" in refused.stderr  # a connection is open, so another process may not leave WAL
        rank(store, *made, [3, 2, 1], id="after")
    assert ids(path) == ["after"]


def test_newer_stores_are_refused(place: str) -> None:
    from sqlalchemy import text

    with open_store(place, create=True) as store, store.database.engine.begin() as connection:
        connection.execute(text("UPDATE feedback_version SET version_num = '9999'"))
    assert "is of version 9999, this Dodam knows stores up to" in told(lambda: open_store(place))


def test_parts_of_a_store(path: Path) -> None:
    assert selection(str(path)) == (str(path), ("written", "edited", "ranked first"))
    assert selection(f"{path}#edited") == (str(path), ("edited",))
    assert selection("postgresql://h/d#ranked") == ("postgresql://h/d", ("ranked first",))
    assert selection("rows.jsonl") is None and selection("rows.jsonl#edited") is None
    with pytest.raises(UsageError, match=r"no part `edit`.*#written, #edited, #ranked"):
        selection(f"{path}#edit")


def test_keys_of_annotators(store: Store) -> None:
    store.set_key("kim", "비밀")
    assert store.admits("kim", "비밀") and not store.admits("kim", "other") and not store.admits("kim")
    assert store.admits("lee")
    assert store.annotators() == ["kim"]
    rank(store, *filled(store)[0], [1, 2, 3])
    assert store.admits("kim", "비밀") and not store.admits("kim")


def test_guidelines(store: Store) -> None:
    version = store.add_guideline("정직하고 짧게.")
    assert store.add_guideline("정직하고 짧게.\n") == version != store.add_guideline("길게.")


def test_a_conversation_is_deleted_for_good(store: Store, tmp_path: Path) -> None:
    key, other = new_key(), new_key()
    chat = [{"role": "user", "content": "SECRET-QUESTION 제 번호는 010-1234-5678"}]
    prompt, answer = store.collect(key, chat, "SECRET-ANSWER kim@example.com", {"model": "m"})
    assert store.collect(key, chat, "SECRET-ANSWER kim@example.com", {"model": "m"}) == (prompt, answer)
    asked = store.prompt(prompt)
    assert asked.messages[0]["content"] == "SECRET-QUESTION 제 번호는 [PHONE]"
    assert asked.answers[0].text == "SECRET-ANSWER [EMAIL]"
    second = [*chat, {"role": "assistant", "content": "SECRET-ANSWER"}, {"role": "user", "content": "또?"}]
    store.collect(key, second, "SECRET-END", {"model": "m"})
    kept, kept_answer = store.collect(other, chat, "SECRET-ANSWER kim@example.com", {"model": "m"})
    assert kept != prompt  # the same words of another person are theirs
    (third,) = store.add_candidates(prompt, ["SECRET-OTHER"])
    rank(store, prompt, [answer, third], [1, 2], id="goes")
    store.add_demonstration(id="d", prompt=prompt, text="SECRET-EDIT", annotator="kim", edited=answer)
    store.add_thumb(id="t", answer=answer, up=True)
    store.next_prompt("lee")
    store.skip(prompt, "park")
    deleted = store.delete_by_key(key)
    assert (deleted.prompts, deleted.answers, deleted.demonstrations, deleted.thumbs) == (2, 3, 1, 1)
    assert deleted.rankings == ("goes",)
    assert store.counts()["prompts"] == 1 and store.prompt(kept).answers[0].id == kept_answer
    assert "no conversation has this key" in told(lambda: store.delete_by_key(key))
    store.delete_by_key(other)
    store.add_prompt("가")
    if not store.where.startswith("postgresql"):
        assert b"SECRET" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_deleting_is_told_while_another_program_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    key = new_key()
    with open_store(path) as store:
        store.collect(key, "하나", "둘", {})
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM prompts").fetchone()
            assert "its log still holds traces" in told(lambda: store.delete_by_key(key))
        other.close()
        assert store.counts()["conversations"] == 0


@pytest.mark.usefixtures("postgres")
class TestPostgres:
    """What only a server can do."""

    def test_a_stopped_server_is_told_and_come_back_to(self, request: pytest.FixtureRequest) -> None:
        server: Server = request.getfixturevalue("postgres")
        with open_store(server.empty_database(), create=True) as store:
            made = filled(store)[0]
            rank(store, *made, [1, 2, 3], id="before")
            server.stop()
            message = told(lambda: rank(store, *made, [1, 2, 3], id="lost", annotator="lee"))
            assert "the database server" in message and "secret" not in message
            server.start()
            rank(store, *made, [1, 2, 3], id="after", annotator="lee")
            assert [row["id"] for row in store.rankings()] == ["before", "after"]

    def test_deleting_is_told_while_another_program_reads(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import psycopg

        server: Server = request.getfixturevalue("postgres")
        url, key = server.empty_database(), new_key()

        def traces() -> bool:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CHECKPOINT")
            files = [file for file in (server.folder / "data" / "base").rglob("*") if file.is_file()]
            return any(b"ZZSECRET" in file.read_bytes() for file in files)

        with open_store(url, create=True) as store:
            store.collect(key, "ZZSECRET", "ZZSECRET", {})
            with psycopg.connect(url) as reader:
                reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                reader.execute("SELECT 1 FROM prompts").fetchall()
                monkeypatch.setattr(database, "PATIENCE", 0.1)
                assert "its files still hold traces" in told(lambda: store.delete_by_key(key))
                assert traces() and store.counts()["conversations"] == 0
            monkeypatch.undo()
            store.collect(key, "ZZSECRET", "ZZSECRET", {})
            with psycopg.connect(url) as reader:  # who leaves in time is waited for
                reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                reader.execute("SELECT 1 FROM prompts").fetchall()
                leaving = threading.Timer(0.3, reader.rollback)
                leaving.start()
                store.delete_by_key(key)
                leaving.join()
            assert not traces()

    def test_of_two_in_each_others_way_both_get_through(self, request: pytest.FixtureRequest) -> None:
        from dodam.feedback import prompts

        with open_store(request.getfixturevalue("postgres").empty_database(), create=True) as store:
            (one, _), (two, _) = filled(store, prompts=2)
            for name in ("c", "d"):
                store.set_key(name, name)
            store.database.write(
                lambda session: [prompts.lend(session, id, n, 9e9) for id, n in ((one, "c"), (two, "d"))]
            )
            both = threading.Barrier(2, timeout=20)
            tried = []

            def release(first: str, second: str) -> None:
                def work(session) -> None:
                    tried.append(first)
                    prompts.lend(session, first, "c" if first == one else "d", 9e9 + 1)
                    if len(tried) <= 2:  # each holds one and wants the other's: one of the two must give way
                        both.wait()
                    prompts.lend(session, second, "c" if second == one else "d", 9e9 + 1)

                store.database.write(work)

            with ThreadPoolExecutor(2) as pool:
                for done in [pool.submit(release, one, two), pool.submit(release, two, one)]:
                    done.result()
            assert len(tried) == 3

    def test_wrong_urls(self, request: pytest.FixtureRequest) -> None:
        server: Server = request.getfixturevalue("postgres")
        url = server.empty_database()
        assert "is no feedback store" in told(lambda: open_store(url))
        assert "there is no such database" in told(lambda: open_store(url + "x", create=True))
        assert "postgresql://user:password@host:5432/name" in told(lambda: open_store("postgresql://h:port/x"))
        missing = told(lambda: open_store("postgresql://kim:secret@127.0.0.1:1/x"))
        assert "cannot be reached" in missing and "secret" not in missing and "kim:***@127.0.0.1:1/x" in missing

    def test_a_read_only_database(self, request: pytest.FixtureRequest) -> None:
        import psycopg

        url = request.getfixturevalue("postgres").empty_database()
        with open_store(url, create=True) as store:
            rank(store, *filled(store)[0], [1, 2, 3], id="before")
        with psycopg.connect(url, autocommit=True) as connection:
            name = url.rpartition("/")[2]
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with open_store(url) as store, pytest.raises(StorageError, match="read-only"):
            store.add_prompt("x")
        with open_store(url) as store:
            assert [row["id"] for row in store.rankings()] == ["before"]


def test_errors_are_ours_and_nothing_else(path: Path) -> None:
    """A torn file is named and left as it is."""
    torn = path.read_bytes()
    path.write_bytes(torn[:4096] + os.urandom(len(torn) - 4096))
    before = path.read_bytes()
    with pytest.raises((FolderError, StorageError, DataError)) as error:
        ids(path)
    assert str(path) in str(error.value)
    assert path.read_bytes() == before
