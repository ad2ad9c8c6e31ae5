"""How a text is cut into words before pairs are merged: the choices of `--split` and `--digits`.

In comes a choice, out go regular expressions that a text is cut by, one after the other; no token ever crosses such a
cut. All of them fit into a `tokenizer.json`, so that no program needs code of ours to cut in the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer

SplitName = Literal["qwen2", "gpt2", "gpt4", "gpt4o", "llama3", "korean", "morphemes"]
Digits = Literal["single", "grouped"]

DIGIT = r"\p{N}"
THREE_DIGITS = r"\p{N}{1,3}"

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Qwen2's: English contractions, words with one leading mark or space, single digits, punctuation, white space.
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(rf"|{DIGIT}|", rf"|{THREE_DIGITS}|")
"""Also GPT-4's (cl100k), which is spelt otherwise and cuts alike."""

GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

LONG_PARTICLES = (
    "으로서|으로써|에게서|한테서|에서|에게|께서|한테|으로|로서|로써|까지|부터|처럼|보다|마다|조차|마저|밖에|만큼|대로|"
    "이나|이며|이고|이라|라고|하고"
)
SHORT_PARTICLES = "은|는|이|가|을|를|의|에|도|만|와|과|로"
HANGUL = "[가-힣]"
# A stem is as short as it can be, so that the particles behind it are as many as there are. Before particles of one
# syllable it has two at least: 나는, 우리, 사이 stay whole. Lengths are bounded, so that a long line without spaces
# costs no more than others.
KOREAN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{HANGUL}{{1,16}}?"
    rf"(?=(?:{LONG_PARTICLES})(?:{LONG_PARTICLES}|{SHORT_PARTICLES}){{0,3}}(?!{HANGUL}))"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{HANGUL}{{2,16}}?(?=(?:{SHORT_PARTICLES}){{1,2}}(?!{HANGUL}))"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{HANGUL}+"
    rf"|[^\r\n\p{{L}}\p{{N}}]?(?:(?!{HANGUL})\p{{L}})+"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, kw_only=True)
class Split:
    """One choice: what a text is cut by, with digits as the choice itself has them and in either other way."""

    patterns: tuple[str, ...]
    single: tuple[str, ...]
    """The same with every digit by itself."""
    grouped: tuple[str, ...]
    """The same with up to three digits together."""
    whole_words: bool = False
    """A word that is in the vocabulary is taken without merging. After our own learning that gives the same ids; what
    reads the file by Llama 3's name expects it."""
    whole_characters: bool = False
    """Learning keeps the bytes of a character together."""

    def cuts(self, digits: Digits | None = None) -> tuple[str, ...]:
        """The patterns with digits in this way; None: as the choice has them."""
        return {None: self.patterns, "single": self.single, "grouped": self.grouped}[digits]


def around_digits(pattern: str) -> Split:
    """A choice whose pattern has digits as an alternative of its own."""
    single, grouped = (pattern.replace(f"|{THREE_DIGITS}|", f"|{DIGIT}|"), pattern)
    if single == pattern:
        grouped = pattern.replace(f"|{DIGIT}|", f"|{THREE_DIGITS}|")
    return Split(patterns=(pattern,), single=(single,), grouped=(grouped,))


SPLITS: dict[SplitName, Split] = {
    "qwen2": around_digits(QWEN2),
    "gpt2": Split(patterns=(GPT2,), single=(DIGIT, GPT2), grouped=(THREE_DIGITS, GPT2)),
    "gpt4": around_digits(LLAMA3),
    "gpt4o": around_digits(GPT4O),
    "llama3": Split(patterns=(LLAMA3,), single=(QWEN2,), grouped=(LLAMA3,), whole_words=True),
    "korean": Split(
        patterns=(KOREAN,),
        single=(KOREAN,),
        grouped=(KOREAN.replace(f"|{DIGIT}|", f"|{THREE_DIGITS}|"),),
        whole_characters=True,
    ),
    "morphemes": around_digits(QWEN2),
}
"""What `--split` takes. `morphemes` cuts as `qwen2` does; only while it learns it cuts at morphemes too."""


def choice_of(patterns: tuple[str, ...]) -> str:
    """The flags that give these patterns, such as `--split korean --digits grouped`; "" for those of others."""
    for name, split in SPLITS.items():
        if patterns == split.patterns:
            return f"--split {name}"
    ways: tuple[Digits, ...] = ("single", "grouped")
    found = [(name, way) for name, split in SPLITS.items() for way in ways if patterns == split.cuts(way)]
    return f"--split {found[0][0]} --digits {found[0][1]}" if found else ""


def pre_tokenizer(patterns: Sequence[str], *, by_bytes: bool = True) -> "PreTokenizer":
    """What cuts a text by these patterns, one after the other, and then, unless told otherwise, spells the words in the
    characters that stand for bytes."""
    from tokenizers import Regex, pre_tokenizers

    stages: list[PreTokenizer] = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    if by_bytes:
        stages.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre_tokenizers.Sequence(stages)
