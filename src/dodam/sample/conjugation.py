"""Verb and adjective forms, Korean and English, for the sentences of the bundled corpus.

In: a Korean stem with its 아/어 form ("듣", "들어") or an English base form ("write").
Out: the form asked for ("들을 거예요", "듣는다"; "wrote", "writing").
"""

NIEUN, RIEUL, BIEUP, SSANG_SIOT = 4, 8, 17, 20  # places of the finals ㄴ ㄹ ㅂ ㅆ in the Unicode order

# Stems whose last consonant changes before a vowel: ㄷ and ㅂ irregulars.
SOFTENED = {"듣": "들으", "걷": "걸으", "돕": "도우", "굽": "구우", "줍": "주우", "춥": "추우", "덥": "더우"}

PAST = {
    "be": "was", "bring": "brought", "buy": "bought", "choose": "chose", "come": "came", "cut": "cut", "draw": "drew",
    "drink": "drank", "eat": "ate", "feed": "fed", "find": "found", "go": "went", "have": "had", "leave": "left",
    "lose": "lost", "make": "made", "meet": "met", "read": "read", "run": "ran", "sell": "sold", "send": "sent",
    "sing": "sang", "sit": "sat", "sleep": "slept", "swim": "swam", "take": "took", "teach": "taught",
    "throw": "threw", "wear": "wore", "write": "wrote",
}  # fmt: skip
DOUBLED = frozenset(["cut", "plan", "run", "sit", "stop", "swim", "wrap"])
VOWELS = frozenset("aeiou")


def final(text: str) -> int:
    """The final consonant of the last syllable, 0 for none."""
    return (ord(text[-1]) - 0xAC00) % 28


def add_final(text: str, consonant: int) -> str:
    """`text`, which ends in an open syllable, closed with `consonant`."""
    assert final(text) == 0, text
    return text[:-1] + chr(ord(text[-1]) + consonant)


def open_stem(stem: str) -> str:
    """The stem as it stands before ㄴ, ㄹ, ㅂ: 가 -> 가, 먹 -> 먹으, 만들 -> 만드, 듣 -> 들으."""
    if stem[-1] in SOFTENED:
        return stem[:-1] + SOFTENED[stem[-1]]
    if final(stem) == RIEUL:
        return stem[:-1] + chr(ord(stem[-1]) - RIEUL)
    return stem if final(stem) == 0 else stem + "으"


def past_stem(linked: str) -> str:
    """The past stem from the 아/어 form: 먹어 -> 먹었, 가 -> 갔, 해 -> 했."""
    return add_final(linked, SSANG_SIOT)


def future_stem(stem: str) -> str:
    """The stem with (으)ㄹ: 가 -> 갈, 먹 -> 먹을, 듣 -> 들을."""
    return add_final(open_stem(stem), RIEUL)


def proposal(stem: str) -> str:
    """The form with (으)ㅂ시다: 가 -> 갑시다, 먹 -> 먹읍시다, 만들 -> 만듭시다."""
    return add_final(open_stem(stem), BIEUP) + "시다"


def plain_present(stem: str) -> str:
    """The written present of a verb: 가 -> 간다, 먹 -> 먹는다, 만들 -> 만든다."""
    if final(stem) in (0, RIEUL):
        return add_final(open_stem(stem), NIEUN) + "다"
    return stem + "는다"


def english_past(phrase: str) -> str:
    """The past of an English verb phrase; its first word is the verb: "turn on" -> "turned on"."""
    verb, space, rest = phrase.partition(" ")
    return PAST.get(verb, _regular(verb, "ed")) + space + rest


def english_third(phrase: str) -> str:
    """The third person singular: "study English" -> "studies English"."""
    verb, space, rest = phrase.partition(" ")
    if verb == "have":
        form = "has"
    elif verb.endswith("y") and verb[-2] not in VOWELS:
        form = verb[:-1] + "ies"
    else:
        form = verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "o")) else "s")
    return form + space + rest


def english_ing(phrase: str) -> str:
    """The progressive: "take the bus" -> "taking the bus"."""
    verb, space, rest = phrase.partition(" ")
    return _regular(verb, "ing") + space + rest


def _regular(verb: str, ending: str) -> str:
    if verb in DOUBLED:
        return verb + verb[-1] + ending
    if verb.endswith("e"):
        return verb[:-1] + ending
    if ending == "ed" and verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    return verb + ending
