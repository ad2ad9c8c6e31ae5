"""English words for the word problems: what fills the slots of the phrasebook `word_forms_en.txt`.

In: a random generator. Out: the slots of one problem; instructions; the words around a question and an answer.
"""

import random

QUESTION, SOLUTION, ANSWER = "Question", "Solution", "Answer"

ASK_STEPS = (
    "Show your steps.",
    "Solve it step by step.",
    "Explain how you get the answer.",
    "Work it out step by step, please.",
    "Write out the calculation.",
    "Please show the solution.",
    "Give the steps and the answer.",
)
ASK_DIRECT = (
    "Answer with just the number.",
    "Only give the number.",
    "No steps, just the answer.",
    "Give the final answer only.",
    "Reply with a single number.",
    "Just tell me the answer.",
)
INTROS = (
    "Here is a problem.",
    "Read this carefully.",
    "The weather is fine today.",
    "It is time for math.",
    "It was a happy Saturday.",
    "This is what happened.",
)
DRILLS = {
    "+": "Addition practice",
    "-": "Subtraction practice",
    "×": "Multiplication practice",
    "÷": "Division practice",
}

# fmt: off
GIRLS = (
    "Anna", "Emma", "Mia", "Lucy", "Sara", "Grace", "Nora", "Ruby", "Ella", "Jane", "Clara", "Alice",
)
BOYS = (
    "Tom", "Ben", "Sam", "Jack", "Leo", "Max", "Noah", "Paul", "Henry", "Oscar", "David", "Eric",
)
# fmt: on
NAMES = (*GIRLS, *BOYS)
KIN = ("sister", "brother", "cousin", "little sister", "little brother")
VEHICLES = ("bus", "train", "tram", "minibus", "subway train")
PLACES = ("park", "library", "playground", "gym", "museum", "swimming pool")
BOXES = (("box", "boxes"), ("bag", "bags"), ("basket", "baskets"), ("jar", "jars"), ("tray", "trays"))
# fmt: off
FOODS = (
    "apples", "pears", "candies", "cookies", "muffins", "potatoes", "eggs",
    "strawberries", "chocolates", "dumplings", "walnuts", "peaches", "tomatoes", "plums",
)
THINGS = (
    "marbles", "stickers", "pencils", "notebooks", "cards", "stamps", "badges",
    "books", "shells", "buttons", "balloons", "postcards", "roses", "tulips",
    "crayons", "erasers", "dolls", "comics", "ribbons",
    *FOODS,
)
GOODS = (
    "notebook", "pencil", "muffin", "postcard", "rose", "pen",
    "cookie", "cake", "eraser", "ruler", "crayon",
    "cup", "ball", "kite", "candle", "flower",
    "sock", "map", "magnet", "toy", "puzzle",
)
# fmt: on
MONEY = ("dollars", "euros", "coins")
FEMALE = {"he": "she", "He": "She", "his": "her", "him": "her"}
MALE = {"he": "he", "He": "He", "his": "his", "him": "him"}


def slots(rng: random.Random) -> dict[str, str]:
    """The words of one problem: every slot of the phrasebook except the numbers."""
    name, friend, other = rng.sample(NAMES, 3)
    box, boxes = rng.choice(BOXES)
    good, good2 = rng.sample(GOODS, 2)
    return {
        **(FEMALE if name in GIRLS else MALE),
        "name": name,
        "friend": friend,
        "other": other,
        "thing": rng.choice(THINGS),
        "food": rng.choice(FOODS),
        "money": rng.choice(MONEY),
        "good": good,
        "goods": good + "s",
        "good2": good2,
        "goods2": good2 + "s",
        "box": box,
        "boxes": boxes,
        "kin": rng.choice(KIN),
        "vehicle": rng.choice(VEHICLES),
        "place": rng.choice(PLACES),
    }
