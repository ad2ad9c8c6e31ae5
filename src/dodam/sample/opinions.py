"""What one says in a review: things and judgements of them, in Korean and English.

In: nothing; tables written by hand. Out: `SHELVES`, one per language and kind of review, and the sentences that open or
close a review. Korean judgements are past stems (맛있었) that take 어요, 다, 지만, 고.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shelf:
    """Things of one kind with the judgements that fit each of them: good ones and bad ones."""

    domain: str
    things: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """What surrounds the judgements in one domain: neutral openings, good and bad closings."""

    openings: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _shelf(domain: str, things: str, good: str, bad: str) -> Shelf:
    return Shelf(domain, _words(things), _words(good), _words(bad))


SHELVES = {
    "ko": (
        _shelf(
            "식당",
            "음식, 국물, 고기, 반찬, 커피, 빵, 국수, 디저트, 볶음밥, 샐러드",
            "맛있었, 정말 맛있었, 신선했, 아주 훌륭했, 입에 잘 맞았, 나쁘지 않았, 생각보다 괜찮았, "
            "기대보다 맛있었, 최고였, 먹을 만했",
            "맛없었, 너무 맛없었, 식어 있었, 별로였, 맛있지 않았, 신선하지 않았, 기대보다 못했, "
            "입에 안 맞았, 최악이었, 먹기 힘들었",
        ),
        _shelf(
            "식당",
            "직원, 사장님, 서비스, 주방장",
            "친절했, 아주 친절했, 빨랐, 마음에 들었, 나무랄 데 없었, 느리지 않았",
            "불친절했, 친절하지 않았, 너무 느렸, 마음에 들지 않았, 무례했, 엉망이었",
        ),
        _shelf(
            "식당",
            "분위기, 식당, 자리, 화장실",
            "아늑했, 깨끗했, 편안했, 마음에 들었, 더럽지 않았, 시끄럽지 않았",
            "더러웠, 시끄러웠, 깨끗하지 않았, 불편했, 마음에 들지 않았, 어수선했",
        ),
        _shelf(
            "영화",
            "영화, 이야기, 결말, 대사, 내용, 마지막 장면, 줄거리",
            "감동적이었, 재미있었, 아주 재미있었, 지루하지 않았, 훌륭했, 인상적이었, 기억에 남았, "
            "나쁘지 않았, 새로웠, 최고였",
            "지루했, 너무 지루했, 뻔했, 재미없었, 감동적이지 않았, 실망스러웠, 억지스러웠, 재미있지 않았, 새롭지 않았, "
            "최악이었",
        ),
        _shelf(
            "영화",
            "연기, 음악, 영상, 배우들, 주인공",
            "훌륭했, 아주 훌륭했, 멋있었, 인상적이었, 마음에 들었, 어색하지 않았, 기대 이상이었",
            "어색했, 너무 어색했, 실망스러웠, 형편없었, 마음에 들지 않았, 훌륭하지 않았, 기대 이하였",
        ),
        _shelf(
            "물건",
            "배터리, 화면, 소리, 버튼, 색깔, 디자인, 재질, 바느질",
            "마음에 들었, 아주 좋았, 만족스러웠, 기대 이상이었, 나쁘지 않았, 훌륭했, 흠잡을 데 없었",
            "마음에 들지 않았, 아주 나빴, 실망스러웠, 기대 이하였, 좋지 않았, 형편없었, 엉망이었",
        ),
        _shelf(
            "물건",
            "제품, 가방, 의자, 이어폰, 신발, 시계, 우산",
            "튼튼했, 아주 튼튼했, 가볍고 편했, 쓸모 있었, 오래갔, 고장 나지 않았, 사진보다 예뻤",
            "금방 고장 났, 약했, 불편했, 쓸모없었, 오래가지 않았, 튼튼하지 않았, 사진보다 못했",
        ),
        _shelf(
            "가게",
            "배송, 상담, 교환, 답변",
            "빨랐, 아주 빨랐, 만족스러웠, 늦지 않았, 정확했, 꼼꼼했",
            "늦었, 너무 늦었, 불만족스러웠, 빠르지 않았, 엉망이었, 성의가 없었",
        ),
        _shelf(
            "가게",
            "가격, 할인, 포장, 매장",
            "마음에 들었, 적당했, 만족스러웠, 나쁘지 않았, 아주 좋았",
            "마음에 들지 않았, 실망스러웠, 만족스럽지 않았, 좋지 않았, 아주 나빴",
        ),
    ),
    "en": (
        _shelf(
            "restaurant",
            "the food, the soup, the meat, the coffee, the bread, the dessert, the pizza, the fish, the salad",
            "was delicious, was really delicious, was fresh, tasted great, was not bad, was better than expected, "
            "was excellent, was the best I have had",
            "was awful, was really awful, was cold and stale, tasted terrible, was not good, was worse than expected, "
            "was not fresh, was the worst I have had",
        ),
        _shelf(
            "restaurant",
            "the waiter, the service, the cook, the owner",
            "was kind, was very friendly, was fast, was not slow at all, impressed me",
            "was rude, was very unfriendly, was too slow, was not kind, disappointed me",
        ),
        _shelf(
            "restaurant",
            "the place, the atmosphere, the table, the restroom",
            "was cozy, was clean, was comfortable, was not dirty, was lovely",
            "was noisy, was dirty, was uncomfortable, was not clean, was unpleasant",
        ),
        _shelf(
            "film",
            "the movie, the story, the ending, the plot, the last scene, the script",
            "was moving, was exciting, was never boring, was fun, was not bad, was clever, stayed in my mind",
            "was boring, was too predictable, was never exciting, was dull, was not good, was silly, made no sense",
        ),
        _shelf(
            "film",
            "the acting, the music, the hero, the picture",
            "was wonderful, was impressive, was better than expected, was not awkward, was brilliant",
            "was terrible, was awkward, was worse than expected, was not impressive, was disappointing",
        ),
        _shelf(
            "product",
            "the battery, the screen, the sound, the design, the color, the button",
            "was great, works well, was not bad, exceeded my expectations, was perfect, satisfied me",
            "was bad, does not work, was not good, fell below my expectations, was useless, annoyed me",
        ),
        _shelf(
            "product",
            "the product, the bag, the chair, the phone, the watch, the umbrella, the lamp",
            "was strong, was very useful, lasted long, did not break, looked better than the photo",
            "was weak, was useless, broke quickly, did not last, looked worse than the photo",
        ),
        _shelf(
            "shop",
            "the delivery, the answer, the exchange, the refund",
            "was fast, was very quick, was not late, was careful, satisfied me",
            "was late, was very slow, was not fast, was careless, disappointed me",
        ),
        _shelf(
            "shop",
            "the price, the discount, the packaging, the store",
            "was fair, was very good, was not bad, pleased me",
            "was unfair, was very bad, was not good, upset me",
        ),
    ),
}

FRAMES = {
    "식당": Frame(
        ("지난주에 갔어요.", "친구와 같이 갔어요.", "점심을 먹으러 갔어요.", "집 근처 식당이에요."),
        ("또 갈 거예요.", "친구에게 추천하고 싶어요.", "다음에도 가고 싶어요.", "단골이 될 것 같아요."),
        ("다시는 안 갈 거예요.", "추천하고 싶지 않아요.", "다음에는 가고 싶지 않아요.", "돈이 아까웠어요."),
    ),
    "영화": Frame(
        ("어제 봤어요.", "친구와 같이 봤어요.", "주말에 극장에서 봤어요.", "두 시간짜리 영화예요."),
        ("또 보고 싶어요.", "꼭 보세요.", "시간이 아깝지 않았어요.", "친구에게 추천하고 싶어요."),
        ("다시는 안 볼 거예요.", "보지 마세요.", "시간이 아까웠어요.", "추천하고 싶지 않아요."),
    ),
    "물건": Frame(
        ("일주일 써 봤어요.", "지난달에 샀어요.", "선물로 샀어요.", "어제 받았어요."),
        ("또 살 거예요.", "돈이 아깝지 않았어요.", "친구에게 추천하고 싶어요.", "별 다섯 개예요."),
        ("다시는 안 살 거예요.", "돈이 아까웠어요.", "환불받고 싶어요.", "별 한 개도 아까워요."),
    ),
    "가게": Frame(
        ("인터넷으로 주문했어요.", "처음 주문했어요.", "지난주에 주문했어요.", "급하게 주문했어요."),
        ("또 주문할 거예요.", "믿을 수 있는 가게예요.", "앞으로도 여기서 살 거예요.", "별 다섯 개예요."),
        ("다시는 주문하지 않을 거예요.", "믿을 수 없는 가게예요.", "이제 여기서 안 살 거예요.", "환불받고 싶어요."),
    ),
    "restaurant": Frame(
        ("I went there last week.", "I went with a friend.", "I had lunch there.", "It is near my house."),
        ("I will go again.", "I recommend it.", "I want to go back.", "It was worth the money."),
        ("I will never go again.", "I do not recommend it.", "I do not want to go back.", "It was a waste of money."),
    ),
    "film": Frame(
        ("I saw it yesterday.", "I saw it with a friend.", "It is two hours long.", "I saw it last weekend."),
        ("I want to see it again.", "You should see it.", "It was worth my time.", "I recommend it."),
        ("I will never see it again.", "Do not see it.", "It was a waste of time.", "I do not recommend it."),
    ),
    "product": Frame(
        ("I used it for a week.", "I bought it last month.", "It was a present.", "It came yesterday."),
        ("I will buy it again.", "It was worth the money.", "I recommend it.", "Five stars."),
        ("I will never buy it again.", "It was a waste of money.", "I want a refund.", "Not even one star."),
    ),
    "shop": Frame(
        ("I ordered online.", "It was my first order.", "I ordered last week.", "I was in a hurry."),
        ("I will order again.", "I trust this shop.", "I will keep shopping here.", "Five stars."),
        ("I will never order again.", "I do not trust this shop.", "I will stop shopping here.", "I want a refund."),
    ),
}
