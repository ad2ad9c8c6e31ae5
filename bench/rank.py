"""Ranking by script through the real page, several annotators at once, the server killed in between: what is lost?

    python bench/rank.py MODEL [--minutes 10] [--annotators 2] [--kills 3] [--pause 1] [--out DIR]

Each annotator is a Chromium of their own (CHROME names it, else the one on the PATH) that ranks the answers of MODEL,
sampled live, by keys, by the mouse and by clicks, with ties, all bad, edits, skips and undo. The script notes what
it did and what the page said was saved; meanwhile the server is killed with SIGKILL and started again. In the end both
are compared with the store. One JSON line: `lost` (acknowledged and not in the store), `wrong` (there, and not as it
was made), `doubled` (in the store more often than it was made). Exit code 1 if there is any.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
PATIENCE = 120_000  # milliseconds that an annotator waits for the page, a restart of the server included
SHARES = {"skip": 0.05, "undo": 0.05, "all bad": 0.05, "edit": 0.1}


@dataclass
class Server:
    """`dodam serve` in a process of its own, on one port whenever it is started."""

    words: list[str]
    log: Path
    process: Any = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "dodam", "serve", *self.words]
        with self.log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(*command, stderr=log)
        while "/rank" not in self.log.read_text(encoding="utf-8"):
            if self.process.returncode is not None:
                raise SystemExit(f"the server does not start:\n{self.log.read_text(encoding='utf-8')}")
            await asyncio.sleep(0.1)

    async def stop(self, number: int) -> None:
        self.process.send_signal(number)
        await self.process.wait()


@dataclass
class Annotator:
    """A person at a page, and what they have done: (prompt, answers in the order shown) -> ranks."""

    name: str
    page: Any
    chance: random.Random
    made: dict[tuple[str, tuple[str, ...]], tuple[list[int], bool]] = field(default_factory=dict)
    order: list[Any] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)

    async def work(self, until: float, pause: float) -> None:
        await self.page.goto("rank")
        while time.monotonic() < until:
            await self.page.wait_for_selector(".card:focus")
            act = self.chance.choices([*SHARES, "rank"], [*SHARES.values(), 1 - sum(SHARES.values())])[0]
            if act == "undo" and self.order:
                await self.undo()
            elif act == "skip":
                await self.leave(self.page.keyboard.press("s"))
                self.order.append(None)
                self.counts["skips"] += 1
            else:
                await self.rank(act)
            await asyncio.sleep(pause * self.chance.random() * 2)

    async def seen(self) -> tuple[str, tuple[str, ...]]:
        """What the page asks: the prompt and the answers, as they are."""
        prompt = await self.page.locator(".message").last.text_content()
        return prompt, tuple(await self.page.locator(".card .text").all_text_contents())

    async def leave(self, act: Any) -> None:
        """Do what brings another prompt, and wait for it."""
        card = await self.page.query_selector(".card")
        await act
        await card.wait_for_element_state("hidden", timeout=PATIENCE)

    async def undo(self) -> None:
        await self.leave(self.page.keyboard.press("u"))
        last = self.order.pop()
        if last is not None:
            del self.made[last]
        self.counts["undone"] += 1

    async def rank(self, act: str) -> None:
        asked = await self.seen()
        number = len(asked[1])
        places = [self.chance.randint(1, number) for _ in range(number)]
        for index, place in enumerate(places):
            await self.chance.choice([self.by_key, self.by_drag, self.by_click])(index, place)
        all_bad = self.page.locator(".bottom button[aria-pressed]")
        if (await all_bad.get_attribute("aria-pressed") == "true") != (act == "all bad"):  # undo brings it back pressed
            await all_bad.click()
        if act == "edit":
            await self.page.locator('[data-answer="0"]').focus()
            await self.page.keyboard.press("e")
            await self.page.locator("textarea.edit").fill(f"고친 답 {self.counts['edits']}")
            await self.page.keyboard.press("Escape")
            self.counts["edits"] += 1
        used = sorted(set(places))
        await self.leave(self.page.keyboard.press("Control+Enter"))
        self.made[asked] = [used.index(place) + 1 for place in places], act == "all bad"
        self.order.append(asked)
        self.counts["rankings"] += 1

    async def by_key(self, index: int, place: int) -> None:
        await self.page.locator(f'[data-answer="{index}"]').focus()
        await self.page.keyboard.press(str(place))

    async def by_click(self, index: int, place: int) -> None:
        digit = self.page.locator(f'[data-answer="{index}"] .digit').nth(place - 1)
        if await digit.get_attribute("aria-checked") != "true":
            await digit.click()

    async def by_drag(self, index: int, place: int) -> None:
        handle = self.page.locator(f'[data-answer="{index}"] .handle')
        await handle.scroll_into_view_if_needed()
        start = await handle.bounding_box()
        end = await self.page.locator(f'[data-place="{place}"]').bounding_box()
        await self.page.mouse.move(start["x"] + 9, start["y"] + 9)
        await self.page.mouse.down()
        await self.page.mouse.move(end["x"] + end["width"] / 2, end["y"] + 10, steps=3)
        await self.page.mouse.up()
        await self.by_click(index, place)  # where the place was scrolled away under the pointer


async def kill(server: Server, times: list[float]) -> None:
    """Kill the server at these moments, and start it again."""
    for moment in times:
        await asyncio.sleep(max(0.0, moment - time.monotonic()))
        await server.stop(signal.SIGKILL)
        await asyncio.sleep(1)
        await server.start()


def compare(people: list[Annotator], rows: Iterator[dict]) -> dict[str, int]:
    """What the people made, against what the store has."""
    stored: Counter = Counter()
    values: dict[Any, Any] = {}
    for row in rows:
        shown = sorted(set(zip(row["shown"], row["answers"], row["ranks"], strict=True)))  # two may say the same
        key = row["annotator"], row["prompt"][-1]["content"], tuple(answer for _, answer, _ in shown)
        stored[key] += 1
        values[key] = [rank for _, _, rank in shown], row["all_bad"]
    made = {(one.name, *asked): said for one in people for asked, said in one.made.items()}
    lost = sum(key not in stored for key in made)
    wrong = sum(key in stored and values[key] != said for key, said in made.items())
    doubled = sum(count - (key in made) for key, count in stored.items())
    return {"stored": sum(stored.values()), "lost": lost, "wrong": wrong, "doubled": doubled}


async def play(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from playwright.async_api import async_playwright

    from dodam.feedback.store import open_store

    store, port = folder / "feedback.sqlite", free_port()
    words = [arguments.model, "--port", str(port), "--feedback", str(store), "--prompts", str(write_prompts(folder))]
    server = Server([*words, "--max-tokens", "48", "--temperature", "1"], folder / "server.log")
    await server.start()
    chrome = os.environ.get("CHROME") or shutil.which("chromium") or shutil.which("google-chrome")
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chrome, args=FLAGS)
            people = []
            for number in range(arguments.annotators):
                name = f"annotator {number + 1}"
                context = await browser.new_context(base_url=f"http://127.0.0.1:{port}/", locale="ko-KR")
                context.set_default_timeout(PATIENCE)
                await context.add_init_script(f"localStorage.setItem('name', {json.dumps(json.dumps(name))})")
                people.append(Annotator(name, await context.new_page(), random.Random(number)))
            began, seconds = time.monotonic(), arguments.minutes * 60
            moments = [began + seconds * (n + 1) / (arguments.kills + 1) for n in range(arguments.kills)]
            work = [one.work(began + seconds, arguments.pause) for one in people]
            await asyncio.gather(*work, kill(server, moments))
            await browser.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            await server.stop(signal.SIGTERM)
    with open_store(str(store)) as opened:
        found = compare(people, opened.rankings())
    counts = sum((one.counts for one in people), Counter())
    return {"minutes": arguments.minutes, "annotators": len(people), "kills": arguments.kills, **counts, **found}


def write_prompts(folder: Path) -> Path:
    """Questions of the bundled corpus, each once."""
    from dodam.data.sources import rows

    asked = (re.sub(r"\s+", " ", row["messages"][0]["content"]) for _, row in islice(rows("sample:chat"), 6000))
    path = folder / "prompts.txt"
    path.write_text("\n".join(dict.fromkeys(asked)), encoding="utf-8")
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--annotators", type=int, default=2)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--pause", type=float, default=1.0, help="mean seconds between two rankings")
    parser.add_argument("--out", type=Path, help="where the store is kept; else it is thrown away")
    arguments = parser.parse_args(words)
    with contextlib.ExitStack() as stack:
        folder = arguments.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        result = asyncio.run(play(arguments, folder))
    print(json.dumps(result))
    return int(bool(result["lost"] or result["wrong"] or result["doubled"]))


if __name__ == "__main__":
    sys.exit(main())
