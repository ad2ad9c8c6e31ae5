"""Korean words for the word problems: what fills the slots of the phrasebook `word_forms_ko.txt`.

In: a random generator. Out: the slots of one problem; instructions; the words around a question and an answer.
The sentences of one block of the phrasebook share a speech level (합니다체 or 해요체).
"""

import random

QUESTION, SOLUTION, ANSWER = "질문", "풀이", "답"

ASK_STEPS = (
    "풀이와 함께 답해 주세요.",
    "단계별로 풀어 줘.",
    "풀이 과정을 보여 주세요.",
    "차근차근 풀어 주세요.",
    "한 단계씩 계산해 줘.",
    "식을 쓰고 답을 구하세요.",
    "어떻게 풀었는지도 알려 줘.",
)
ASK_DIRECT = (
    "답만 말해 줘.",
    "숫자로만 답하세요.",
    "풀이 없이 답만 알려 주세요.",
    "정답 숫자만 적어 줘.",
    "계산 과정은 빼고 답만 써 주세요.",
    "바로 답만 말해 주세요.",
)
INTROS = (
    "문제입니다.",
    "잘 읽고 생각해 보세요.",
    "오늘은 날씨가 맑습니다.",
    "수학 시간입니다.",
    "즐거운 토요일입니다.",
    "이런 일이 있었어요.",
)
DRILLS = {"+": "덧셈 연습", "-": "뺄셈 연습", "×": "곱셈 연습", "÷": "나눗셈 연습"}

# fmt: off
NAMES = (
    "민수", "지영", "하준", "서연", "도윤", "수아", "지호", "예린", "준서", "다은", "현우", "유진",
    "태민", "소라", "은서", "재훈", "나래", "진우", "하늘", "미나", "성민", "보라", "동현", "가은",
)
EDIBLE = (
    "사과", "귤", "사탕", "쿠키", "빵", "감자", "달걀", "딸기", "초콜릿", "만두", "호두", "떡",
    "복숭아", "토마토", "고구마", "밤",
)
# fmt: on
KIN = ("여동생", "남동생", "동생", "사촌 동생", "막냇동생")
VEHICLES = ("버스", "기차", "지하철", "전철", "고속버스")
PLACES = ("공원", "도서관", "놀이터", "체육관", "수영장", "박물관")
BOXES = ("상자", "봉지", "바구니", "주머니", "통")
FOODS = tuple((word, "개") for word in EDIBLE)
THINGS = (
    *(
        ("구슬", "개"),
        ("스티커", "장"),
        ("연필", "자루"),
        ("공책", "권"),
        ("카드", "장"),
        ("우표", "장"),
        ("딱지", "장"),
    ),
    *(("색종이", "장"), ("동화책", "권"), ("조개껍데기", "개"), ("단추", "개"), ("풍선", "개"), ("엽서", "장")),
    *(("장미", "송이"), ("튤립", "송이"), ("색연필", "자루"), ("지우개", "개"), ("인형", "개"), ("만화책", "권")),
    *FOODS,
)
CHEAP = (
    *(
        ("공책", "권"),
        ("연필", "자루"),
        ("빵", "개"),
        ("우유", "병"),
        ("장미", "송이"),
        ("엽서", "장"),
        ("양말", "켤레"),
    ),
    *(("주스", "병"), ("사과", "개"), ("지우개", "개"), ("그림책", "권"), ("색연필", "자루"), ("쿠키", "개")),
)
DEAR = (
    *(("의자", "개"), ("가방", "개"), ("운동화", "켤레"), ("시계", "개"), ("책상", "개"), ("자전거", "대")),
    *(("모자", "개"), ("구두", "켤레"), ("외투", "벌"), ("이불", "채"), ("치마", "벌")),
)
MONEY = (("만 원", "몇만 원", DEAR), ("달러", "몇 달러", CHEAP), ("유로", "몇 유로", CHEAP))


def slots(rng: random.Random) -> dict[str, str]:
    """The words of one problem: every slot of the phrasebook except the numbers."""
    name, friend, other = rng.sample(NAMES, 3)
    thing, unit = rng.choice(THINGS)
    food, piece = rng.choice(FOODS)
    money, how_much, shelf = rng.choice(MONEY)
    (goods, each), (goods2, each2) = rng.sample(shelf, 2)
    return {
        "name": name,
        "friend": friend,
        "other": other,
        "thing": thing,
        "unit": unit,
        "food": food,
        "piece": piece,
        "money": money,
        "how_much": how_much,
        "goods": goods,
        "each": each,
        "goods2": goods2,
        "each2": each2,
        "box": rng.choice(BOXES),
        "kin": rng.choice(KIN),
        "vehicle": rng.choice(VEHICLES),
        "place": rng.choice(PLACES),
    }
