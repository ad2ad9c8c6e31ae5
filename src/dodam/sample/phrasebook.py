"""The text files beside this module: prose that people write, kept out of the code.

In: a file name. Out: its sections. A section starts with a line `== name`; what stands before the first is a comment.
"""

import re
from functools import lru_cache
from importlib.resources import files


@lru_cache(maxsize=32)
def sections(name: str) -> dict[str, str]:
    """The sections of a file by name."""
    content = files("dodam.sample").joinpath(name).read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^== ", content, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        found[heading] = body.strip()
    return found


@lru_cache(maxsize=4096)
def lines(section: str) -> tuple[str, ...]:
    r"""One entry a line; `\n` in an entry stands for a line break."""
    return tuple(line.replace("\\n", "\n") for line in section.splitlines())


@lru_cache(maxsize=4096)
def listed(section: str) -> tuple[str, ...]:
    """Entries between commas, over one line or several."""
    return tuple(re.split(r",\s+", section))


@lru_cache(maxsize=4096)
def columns(section: str) -> tuple[tuple[str, ...], ...]:
    """One row a line, its cells between ` | `."""
    return tuple(tuple(line.split(" | ")) for line in section.splitlines())
