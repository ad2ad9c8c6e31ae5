"""The pipeline of prepare: the same bytes whatever does the work, however it is cut into parts and whenever it is
killed; decisions against plain references; work folders, engines, the dry run.
"""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam import cli
from dodam.config import build
from dodam.data import duplicates, engine, parts, pipeline, prepare, progress, split, work
from dodam.data.documents import read_documents, read_manifest
from dodam.data.parts import Reading
from dodam.data.prepare import Prepare
from dodam.data.skipped import Skipped
from dodam.data.sources import Document, inputs_of
from dodam.data.text import clean
from dodam.errors import DataError, DodamError, UsageError

WORDS = ["나무", "새", "도담은", "말을", "배운다", "하늘", "물", "the", "a", "tree", "bird", "old", "water", "sings"]
SIZES = {"parts.PART_BYTES": 2500, "pipeline.GROUP_BYTES": 700, "pipeline.FILE_BYTES": 6000}


def sentence(number: int) -> str:
    words = [WORDS[number * (place + 3) % len(WORDS)] for place in range(4 + number % 9)]
    return f"{' '.join(words)} {number % 97}."


def made(out: Path, *data: object, **choices: object) -> dict:
    return prepare.run(build(Prepare, {"data": data, "out": out, **choices}, "test"))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts, row groups and files of some kB, so that a little text makes many."""
    for name, size in SIZES.items():
        monkeypatch.setattr(f"dodam.data.{name}", size)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


def write_corpus(folder: Path) -> Path:
    """Rows and a text that are cut, small files that are put together, a packed one; duplicates within and across."""
    folder.mkdir()
    rows = [json.dumps({"text": sentence(n % 150)}, ensure_ascii=False) + "\n" for n in range(200)]
    (folder / "rows.jsonl").write_text("".join(rows), encoding="utf-8")
    with gzip.open(folder / "packed.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(rows[140:] + [json.dumps({"text": sentence(n)}) + "\n" for n in range(500, 540)])
    paragraphs = [" ".join(sentence(7 * n + m) for m in range(6)) for n in range(60)]
    (folder / "book.md").write_text("\n\n".join(paragraphs), encoding="utf-8")
    for number in range(8):
        (folder / f"note{number}.txt").write_text(sentence(900 + number % 6), encoding="utf-8")
    return folder


# Cutting


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet='a가 \\"\r\u2028', max_size=12), min_size=1, max_size=30), st.integers(5, 200))
def test_ranges_of_rows_read_as_the_whole_file(tmp_path_factory, texts: list[str], size: int) -> None:
    folder = tmp_path_factory.mktemp("ranges")
    path = folder / "a.jsonl"
    path.write_bytes("\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode())
    whole, cut = read_all(path, 1 << 30), read_all(path, size)
    assert cut == whole and len(whole) == len(texts)
    assert len(read_parts(path, size)) > path.stat().st_size // size // 40


def read_parts(path: Path, size: int) -> list[parts.Part]:
    inputs = inputs_of([str(path)])
    reading = Reading({}, "utf-8", "", 1, skip_bad=False, otherwise="")
    return parts.parts_of(inputs, parts.survey_all(([str(path)], reading, size)), size)


def read_all(path: Path, size: int) -> list[Document]:
    reading = Reading({}, "utf-8", "", 1, skip_bad=False, otherwise="")
    cut = read_parts(path, size)
    return [one for part in cut for one in parts.read_part(part, reading, Skipped(False), path.parent)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ranges_of_text_lose_nothing_and_know_their_lines(tmp_path: Path, end: str) -> None:
    path = tmp_path / "book.txt"
    lines = [line for n in range(90) for line in (sentence(n), *([""] if n % 4 == 0 else []))]
    path.write_bytes(("\ufeff" + end.join(lines)).encode())
    found = read_all(path, 600)
    assert len(found) > 4
    assert " ".join(one.text for one in found).split() == " ".join(lines).split()
    for one in found:
        assert lines[int(one.id.rpartition(":")[2]) - 1 :][0] == one.text.splitlines()[0]
    assert sum(lines[int(one.id.rpartition(":")[2]) - 2] == "" for one in found[1:]) >= len(found) - 2  # at paragraphs


@pytest.mark.parametrize(
    "content", ["가나다\n".encode("utf-16") * 400, "가나다\n".encode("cp949") * 400, b"a\0\n" * 900]
)
def test_what_is_not_utf8_is_not_cut(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert len(read_parts(tmp_path / "a.txt", 500)) == 1


def test_a_bad_row_in_a_range_is_named_with_its_line_in_the_file(tmp_path: Path) -> None:
    rows = [json.dumps({"text": sentence(n)}, ensure_ascii=False) for n in range(200)]
    rows[150], rows[170] = "{torn", '{"text": 7}'
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        made(tmp_path / "out", str(path), workers=1)
    assert caught.value.where == f"{path}:151" and "--skip-bad" in str(caught.value)
    assert "range-" not in str(caught.value)
    result = made(tmp_path / "out", str(path), workers=1, skip_bad=True, deduplicate=False)
    assert result["removed"] == {"unreadable": 2} and result["documents"] == 198


# The same bytes


def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path, corpus: Path) -> None:
    for workers in (1, 2, 3):
        made(tmp_path / str(workers), str(corpus), workers=workers, skip_bad=workers == 1)
    alike = [tree(tmp_path / str(workers)) for workers in (2, 3)]
    assert alike[0] == alike[1]
    names = [name for name in alike[0] if name.endswith(".parquet")]
    assert len(names) > 4  # several files of each split
    assert {name: alike[0][name] for name in names} == {name: (tmp_path / "1" / name).read_bytes() for name in names}
    assert not list(tmp_path.glob(".*"))


def test_nothing_is_lost_and_the_order_is_kept(tmp_path: Path, corpus: Path) -> None:
    made(tmp_path / "out", str(corpus), workers=1, validation=0.2)
    found = [row for part in ("train", "validation") for row in read_documents(tmp_path / "out", part)]
    reading = Reading({}, "utf-8", "", 1, skip_bad=False, otherwise="")
    inputs = inputs_of([str(corpus)])
    cut = parts.parts_of(inputs, parts.survey_all(([one.path for one in inputs], reading, 2500)), 2500)
    wanted: dict[str, Document] = {}
    for part in cut:
        for one in parts.read_part(part, reading, Skipped(False), tmp_path):
            wanted.setdefault(clean(one.text), one)
    assert {row["text"]: row["id"] for row in found} == {text: one.id for text, one in wanted.items()}
    assert len(found) == len(wanted) == read_manifest(tmp_path / "out")["documents"]
    for part in ("train", "validation"):
        here = [row["text"] for row in read_documents(tmp_path / "out", part)]
        assert here == [text for text in wanted if text in set(here)]


KILLED = """
import os, signal, sys
import pyarrow.parquet
from dodam.config import build
from dodam.data import data_report, parts, pipeline, prepare, shards
for name, size in %r.items():
    module, _, name = name.partition(".")
    setattr(globals()[module], name, size)
moves = 0
def moving(function):
    def moved(*places, **more):  # SIGKILL just before or just after the Nth file is put in its place
        global moves
        moves += 1
        if moves == wanted and wanted %% 2:
            os.kill(os.getpid(), signal.SIGKILL)
        function(*places, **more)
        if moves == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
    return moved
os.replace, os.rename = moving(os.replace), moving(os.rename)
config = build(prepare.Prepare, {"data": sys.argv[1], "out": sys.argv[2], "workers": 1}, "test")
for number in sys.argv[3:]:
    child = os.fork()
    if not child:
        wanted = int(number)
        prepare.run(config)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def test_killed_at_twenty_moments_and_started_again(tmp_path: Path, corpus: Path) -> None:
    """Each run is killed some files further on than the one before began; what is done stays done."""
    made(tmp_path / "undisturbed", str(corpus), workers=1)
    moments = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 9, 8, 7, 6, 5, 4, 3, 2]
    words = [sys.executable, "-c", KILLED % SIZES, str(corpus), str(tmp_path / "out"), *map(str, moments), "0"]
    killed = subprocess.run(words, capture_output=True, text=True, check=True)
    codes = killed.stdout.split()
    assert codes[:-1] == [str(-signal.SIGKILL)] * 20 and codes[-1] == "0", killed.stdout + killed.stderr
    assert "goes on at" in killed.stderr
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")
    assert not list(tmp_path.glob(".*"))


PROCESSES = """
import sys, time
from dodam.data import parts, pipeline, prepare
from dodam.data.prepare import Prepare
for name, size in %r.items():
    module, _, name = name.partition(".")
    setattr(globals()[module], name, size)
pipeline._decide = lambda *rest: time.sleep(600)  # so that it is there to be killed, however late
prepare.run(Prepare(data=(sys.argv[1],), out=prepare.Path(sys.argv[2]), workers=2))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_killed_with_two_workers_none_stays_behind(tmp_path: Path, corpus: Path) -> None:
    made(tmp_path / "undisturbed", str(corpus), workers=1)
    out = tmp_path / "out"
    words = [sys.executable, "-c", PROCESSES % SIZES, str(corpus), str(out)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as running:
        wait_until(lambda: list(work.folder_of(out).glob("0/*.json")))
        workers = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        running.kill()
    assert len(workers) == 2
    wait_until(lambda: not any(is_running(pid) for pid in workers))
    made(out, str(corpus), workers=1)
    assert tree(out) == tree(tmp_path / "undisturbed")


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited for a minute")


def leave_behind(monkeypatch, out: Path, corpus: Path, **choices: object) -> None:
    """The work folder of a run that was interrupted when all its parts were read."""
    with monkeypatch.context() as patched:
        patched.setattr(duplicates, "decide", interrupt)
        with pytest.raises(KeyboardInterrupt):
            made(out, str(corpus), workers=1, **choices)


def interrupt(observed: Iterator) -> None:
    raise KeyboardInterrupt


def test_what_is_done_is_not_done_again_but_what_is_torn(tmp_path: Path, corpus: Path, monkeypatch, capsys) -> None:
    out = tmp_path / "out"
    leave_behind(monkeypatch, out, corpus)
    left = sorted((work.folder_of(out) / "0").glob("*.parquet"))
    assert len(left) > 6 and not out.exists()
    left[3].write_bytes(left[3].read_bytes()[:-9])
    read: list[int] = []
    whole = parts.read_part
    monkeypatch.setattr(pipeline, "read_part", lambda part, *rest: read.append(part.number) or whole(part, *rest))
    made(out, str(corpus), workers=1)
    assert read == [3] and "prepare: reading: goes on at" in capsys.readouterr().err
    made(tmp_path / "undisturbed", str(corpus), workers=1)
    assert tree(out) == tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("change", ["setting", "file"])
def test_another_command_begins_anew(tmp_path: Path, corpus: Path, monkeypatch, change: str) -> None:
    out = tmp_path / "out"
    leave_behind(monkeypatch, out, corpus)
    choices = {"min_characters": 30} if change == "setting" else {}
    if change == "file":
        (corpus / "book.md").write_text("아주 다른 글.\n\n" * 400, encoding="utf-8")
    made(out, str(corpus), workers=1, **choices)
    made(tmp_path / "undisturbed", str(corpus), workers=1, **choices)
    assert tree(out) == tree(tmp_path / "undisturbed")


def test_bad_rows_that_were_skipped_are_errors_for_a_run_that_skips_none(
    tmp_path: Path, corpus: Path, monkeypatch
) -> None:
    (corpus / "z.jsonl").write_text("{torn\n", encoding="utf-8")
    out = tmp_path / "out"
    leave_behind(monkeypatch, out, corpus, skip_bad=True)
    with pytest.raises(DataError, match=r"z\.jsonl:1"):
        made(out, str(corpus), workers=1)


def test_a_work_folder_that_is_held_or_is_not_ours(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    with work.opened(work.folder_of(out)), pytest.raises(UsageError, match="another `dodam prepare` is at work"):
        made(out, str(corpus), workers=1)
    work.remove(work.folder_of(out))
    work.folder_of(out).mkdir()
    (work.folder_of(out) / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UsageError, match="is no work folder"):
        made(out, str(corpus), workers=1)
    assert [path.name for path in work.folder_of(out).iterdir()] == ["thesis.txt"]


# Decisions


def batches_of(rows: list[tuple[str, str]], size: int) -> list:
    found = [Document(text, f"f:{n}", source, "ko", "") for n, (source, text) in enumerate(rows)]
    cut = [found[start : start + size] for start in range(0, len(found), size)]
    return [batch for number, some in enumerate(cut) for batch in pipeline.batches(some, number, 40)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "가", "가나", "", "a b"]), min_size=1, max_size=40), st.integers(1, 9))
def test_of_equal_texts_the_first_stays(texts: list[str], size: int) -> None:
    cut = batches_of([("s", text) for text in texts], size)
    decided = duplicates.decide(map(duplicates.observe, cut))
    outcomes = [duplicates.apply(batch, decided) for batch in cut]
    kept = [row["id"] for outcome in outcomes for row in outcome.batch.to_pylist()]
    assert kept == [f"f:{texts.index(text)}" for text in dict.fromkeys(texts)]
    assert sum(outcome.counts.get("documents dropped: duplicate", 0) for outcome in outcomes) == len(texts) - len(kept)


def reference_split(rows: list[tuple[str, str]], share: float) -> tuple[list[str], list[str], list[str]]:
    """(train, validation, sources cut) by the definition, one source after another."""
    import xxhash

    train, validation, cut = [], [], []
    for source in dict.fromkeys(source for source, _ in rows):
        mine = [text for name, text in rows if name == source]
        digest = {text: xxhash.xxh3_128_intdigest(text.encode()) for text in mine}
        held_back = {text for text in mine if digest[text] < share * 2**128}
        if not held_back:
            lowest = min(mine, key=digest.__getitem__)
            others, total = set(mine) - {lowest}, sum(map(len, mine))
            held_back = {lowest} if others else set()
            too_much = not others or len(lowest) > 0.1 * total
            place = split.start_of_end(lowest, share * total / max(1, len(lowest))) if too_much else 0
            if place:
                times = mine.count(lowest)
                cut += [source] * times
                train += [lowest[:place].rstrip()] * times
                validation += [lowest[place:]] * times
                mine = [text for text in mine if text != lowest]
        train += [text for text in mine if text not in held_back]
        validation += [text for text in mine if text in held_back]
    return train, validation, cut


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 12), st.sampled_from([1, 1, 1, 900])), min_size=1, max_size=30
    ),
    st.integers(1, 9),
    st.sampled_from([0.01, 0.1, 0.4]),
)
def test_the_split_is_the_one_of_the_definition(drawn: list[tuple[str, int, int]], size: int, share: float) -> None:
    rows = [(source, f"글 {number} " * repeats) for source, number, repeats in drawn]
    cut = batches_of(rows, size)
    decided = split.decide((split.observe(batch, "abc") for batch in cut), share, 3)
    halves = [split.divide(batch, decided) for batch in cut]
    found = [sorted(row["text"] for half in halves for row in half[index].to_pylist()) for index in (0, 1)]
    train, validation, sources = reference_split(rows, share)
    assert found == [sorted(train), sorted(validation)]
    assert sorted(name for half in halves for name in half[2]) == sorted(sources)
    for half in halves:
        for batch in half[:2]:
            places = batch.column("place").to_pylist()
            assert places == sorted(places)
            assert batch.column("bytes").to_pylist() == [len(row["text"].encode()) for row in batch.to_pylist()]


# Engines


def test_results_come_in_the_order_of_the_tasks_and_the_earliest_error_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    reading = Reading({}, "utf-8", "", 1, skip_bad=False, otherwise="")
    with engine.engine("local", 2) as where:
        assert list(engine.run(where, len, ["a" * n for n in range(40)])) == list(range(40))
        arrived: list[int] = []
        assert list(engine.run(where, sorted, [[2, 1], [4, 3], []], arrived.append)) == [[1, 2], [3, 4], []]
        assert sorted(arrived) == [0, 1, 2]
        names = ["a.txt", "b.txt", "c.txt", "a.txt", "d.txt"]
        tasks = [([str(tmp_path / name)], reading, 100) for name in names]
        found = engine.run(where, parts.survey_all, tasks)
        assert next(found)[0].size == 1
        with pytest.raises(DataError, match=r"b\.txt: cannot be read"):
            next(found)
        assert list(engine.run(where, len, ["a", "bc"])) == [1, 2]  # the workers are still there
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            list(engine.run(where, eval, ["1 / 0", "1"]))


def not_to_be_found(task: int) -> int:
    """Workers do not know this module."""
    return task


@pytest.mark.parametrize(("function", "code"), [(os._exit, 3), (not_to_be_found, 1)])
def test_a_worker_that_dies_is_told(function, code: int, capfd) -> None:
    with engine.engine("local", 2) as where, pytest.raises(DodamError, match=f"ended with {code}"):
        list(engine.run(where, function, [3, 3]))


def test_workers_import_no_torch() -> None:
    with engine.engine("local", 2) as where:
        code = "__import__('sys').modules.keys() & {'torch', 'transformers', 'matplotlib'}"
        assert list(engine.run(where, eval, [code, code])) == [set(), set()]
    loaded = "import sys, dodam.data.pipeline; print([n for n in ('torch', 'pyarrow', 'numpy') if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert "torch" not in result.stdout and "pyarrow" not in result.stdout


# Dry run, progress


def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path, corpus: Path, capsys) -> None:
    rows = [json.dumps({"text": sentence(n) * (1 + n % 3)}, ensure_ascii=False) for n in range(900)]
    (tmp_path / "many.jsonl").write_text("\n".join(rows), encoding="utf-8")
    before = tree(tmp_path)
    words = ["prepare", "--data", str(corpus), str(tmp_path / "many.jsonl"), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--dry-run", "--json"]) == 0
    told = capsys.readouterr().out
    assert tree(tmp_path) == before and not (tmp_path / "out").exists()
    estimate = json.loads(told.splitlines()[-1])
    assert "| about " in told and "Nothing was written." in told
    assert cli.main([*words, "--no-deduplicate", "--workers", "1", "--json"]) == 0
    real = {source["name"]: source for source in json.loads(capsys.readouterr().out.splitlines()[-1])["sources"]}
    sources = {source["name"]: source for source in estimate["sources"]}
    assert sources.keys() == real.keys() and not estimate["exact"]
    assert abs(sources["many"]["documents"] - 900) < 45
    assert abs(sources["many"]["bytes"] / real["many"]["bytes"] - 1) < 0.05
    assert sources["rows"]["documents"] == 200 - 50 and estimate["removed"]["duplicate"] >= 50  # read to its end
    assert sources["packed"]["documents"] == 40 + 60


def test_a_dry_run_names_the_first_problem(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "글"}\n', encoding="utf-8")
    assert cli.main(["prepare", "--data", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "out"), "--dry-run"]) == 1
    assert "a.jsonl:1: there is no column `text`" in capsys.readouterr().err


def test_lines_of_progress() -> None:
    line = progress.line_of("prepare: reading", 30_000_000, 120_000_000, 20_000_000, 4.0)
    assert line == "prepare: reading:  25%  30.0 MB  5.0 MB/s  18s to go"
    assert [progress.duration(seconds) for seconds in (7.6, 190, 7500)] == ["8s", "3m10s", "2h05m"]
