"""Wishes ("나는 새 차를 사고 싶어요") and answers that help: a kind word, a tip, a question back.

In: a random generator. Out: wishes in many wordings, some with advice of their own, others of a kind (to buy, learn,
visit, eat, become something) with the advice of that kind.
"""

import random

from dodam.sample.knowledge import favored
from dodam.sample.korean import fill
from dodam.sample.lexicon import Pair, pairs, table

# A wish before 싶어요, advice, a question back; then the same in English, after "I want to".
OWN = table("""
새 차를 사고 | 먼저 예산을 정하고 여러 차를 비교해 보세요. | 어떤 차를 찾으세요?
새 집으로 이사하고 | 동네와 가격을 먼저 살펴보세요. | 어느 동네가 마음에 드세요?
살을 빼고 | 매일 조금씩 걷고 채소를 많이 드세요. | 운동을 좋아하세요?
건강해지고 | 잘 자고 골고루 먹고 자주 움직이세요. | 오늘 산책을 해 보는 건 어때요?
돈을 모으고 | 쓴 돈을 적고 매달 조금씩 저축해 보세요. | 무엇을 위해 모으고 싶으세요?
일찍 일어나고 | 저녁에 일찍 자고 알람을 맞춰 두세요. | 몇 시에 일어나고 싶으세요?
친구를 사귀고 | 먼저 웃으며 인사하고 같이 할 일을 찾아보세요. | 어떤 취미가 있으세요?
시험을 잘 보고 | 계획을 세우고 매일 조금씩 복습하세요. | 어떤 과목이 어려우세요?
책을 쓰고 | 매일 한 쪽씩 써 보세요. | 어떤 이야기를 쓰고 싶으세요?
고양이를 키우고 | 먹이와 화장실, 그리고 돌볼 시간을 준비하세요. | 집에 돌봐 줄 사람이 있나요?
강아지를 키우고 | 매일 산책할 시간이 있는지 생각해 보세요. | 어떤 강아지를 좋아하세요?
여행을 가고 | 먼저 날짜와 예산을 정해 보세요. | 바다와 산 중에 어디가 좋으세요?
쉬고 | 휴대폰을 끄고 편하게 누워 보세요. | 오늘 많이 바쁘셨나요?
자고 | 불을 끄고 조용히 누워 보세요. | 오늘 하루는 어땠나요?
집에 가고 | 조금만 더 힘내세요. | 집에서 무엇을 하고 싶으세요?
영화를 보고 | 좋아하는 이야기부터 골라 보세요. | 재미있는 영화와 슬픈 영화 중에 무엇이 좋으세요?
선물을 하고 | 받을 사람이 좋아하는 것을 떠올려 보세요. | 누구에게 줄 선물인가요?
엄마를 기쁘게 해 드리고 | 짧은 편지를 쓰거나 같이 시간을 보내세요. | 어머니는 무엇을 좋아하시나요?
친구와 화해하고 | 먼저 미안하다고 말해 보세요. | 무슨 일이 있었나요?
새 직장을 구하고 | 이력서를 쓰고 관심 있는 회사를 찾아보세요. | 어떤 일을 하고 싶으세요?
""")
OWN_ENGLISH = table("""
buy a new car | Set a budget first and compare several cars. | What kind of car do you want?
move to a new house | Look at the area and the price first. | Which area do you like?
lose weight | Walk a little every day and eat many vegetables. | Do you like sports?
be healthy | Sleep well, eat well and move often. | How about a walk today?
save money | Write down what you spend and save a little every month. | What do you want to save for?
get up early | Go to bed early and set an alarm. | When do you want to get up?
make friends | Smile, say hello and find something to do together. | What are your hobbies?
do well on the test | Make a plan and review a little every day. | Which subject is hard for you?
write a book | Try to write one page a day. | What story do you want to write?
have a cat | Get food, a litter box and time to care for it. | Is there someone at home to help?
have a dog | Think about whether you can walk it every day. | What kind of dog do you like?
go on a trip | Set the dates and the budget first. | Do you like the sea or the mountains?
rest | Turn off your phone and lie down. | Was it a busy day?
sleep | Turn off the light and lie down quietly. | How was your day?
go home | Just a little more. You can do it. | What do you want to do at home?
watch a movie | Choose a story you like. | Do you want a funny one or a sad one?
give a present | Think of what the person likes. | Who is the present for?
make my mom happy | Write a short letter or spend time with her. | What does she like?
make up with my friend | Say sorry first. | What happened?
find a new job | Write a resume and look for companies you like. | What kind of work do you want?
""")

# A wish about a thing of some kind; the answers name the thing again.
KINDS: tuple[tuple[str, str, tuple[Pair, ...], tuple[Pair, ...]], ...] = (
    (
        "{it}{을/를} 사고",
        "buy {it}",
        pairs(
            """새 휴대폰=a new phone, 새 컴퓨터=a new computer, 자전거=a bicycle, 신발=shoes, 가방=a bag, 시계=a watch,
            모자=a hat, 의자=a chair, 책상=a desk, 카메라=a camera, 피아노=a piano, 냉장고=a refrigerator, 코트=a coat,
            집=a house, 텔레비전=a television, 기타=a guitar, 우산=an umbrella, 침대=a bed, 안경=glasses"""
        ),
        (
            ("먼저 예산을 정하고 여러 가게를 비교해 보세요. 어떤 {it}{을/를} 찾으세요?",
             "Set a budget first and compare several shops. What kind do you want?"),
            ("언제 어디에서 쓸지 생각하면 고르기 쉬워요. 예산은 얼마인가요?",
             "It helps to think about when and where you will use it. What is your budget?"),
        ),
    ),
    (
        "{it}{을/를} 배우고",
        "learn {it}",
        pairs(
            """영어=English, 한국어=Korean, 수영=swimming, 요리=cooking, 기타=the guitar, 피아노=the piano, 춤=dancing,
            운전=driving, 그림=drawing, 수학=math, 노래=singing, 사진=photography, 테니스=tennis, 중국어=Chinese"""
        ),
        (
            ("매일 조금씩 연습하는 것이 가장 중요해요. {it}{을/를} 왜 배우고 싶으세요?",
             "The most important thing is to practice a little every day. Why do you want to learn it?"),
            ("쉬운 것부터 시작하고 좋은 선생님을 찾아보세요. 얼마나 배워 보셨나요?",
             "Start with easy things and find a good teacher. How much have you learned so far?"),
        ),
    ),
    (
        "{it}에 가고",
        "go to {it}",
        pairs(
            """바다=the sea, 산=the mountains, 제주도=Jeju Island, 부산=Busan, 서울=Seoul, 파리=Paris, 런던=London,
            놀이공원=an amusement park, 박물관=a museum, 동물원=the zoo, 콘서트=a concert, 일본=Japan, 미국=America"""
        ),
        (
            ("날짜를 정하고 가는 길과 날씨를 확인해 보세요. 누구와 함께 가세요?",
             "Choose a day and check the way and the weather. Who will you go with?"),
            ("{it}에서 하고 싶은 일을 먼저 적어 보세요. 언제 가세요?",
             "Write down what you want to do there. When will you go?"),
        ),
    ),
    (
        "{it}{을/를} 먹고",
        "eat {it}",
        pairs(
            """피자=pizza, 김밥=gimbap, 치킨=fried chicken, 국수=noodles, 아이스크림=ice cream, 케이크=cake, 빵=bread,
            떡볶이=tteokbokki, 비빔밥=bibimbap, 과일=fruit, 초콜릿=chocolate, 라면=ramen, 수박=watermelon, 고기=meat"""
        ),
        (
            ("맛있겠네요. 직접 만들거나 가까운 식당을 찾아보세요. 지금 배가 많이 고프세요?",
             "That sounds delicious. You can make it or find a restaurant nearby. Are you very hungry?"),
        ),
    ),
    (
        "{it}{이/가} 되고",
        "be {it}",
        pairs(
            """의사=a doctor, 선생님=a teacher, 가수=a singer, 요리사=a cook, 화가=a painter, 작가=a writer,
            배우=an actor, 과학자=a scientist, 소방관=a firefighter, 경찰관=a police officer, 간호사=a nurse,
            축구 선수=a soccer player"""
        ),
        (
            ("멋진 꿈이에요. 지금 할 수 있는 작은 일부터 시작해 보세요. 왜 {it}{이/가} 되고 싶으세요?",
             "That is a great dream. Start with small things you can do now. Why do you want to be {it}?"),
        ),
    ),
)  # fmt: skip

SAYING = {
    "ko": (
        "나는 {}싶어요.",
        "나는 {}싶어요",
        "저는 {}싶어요.",
        "{}싶어요.",
        "나 {}싶어.",
        "나는 {}싶다.",
        "요즘 {}싶어요.",
        "{}싶은데 어떻게 해야 할까요?",
        "저는 {}싶습니다.",
    ),
    "en": (
        "I want to {}.",
        "I want to {}",
        "I would like to {}.",
        "I really want to {}.",
        "I'd like to {}. What should I do?",
    ),
}
KIND_WORDS = {"ko": ("좋은 생각이에요!", "그러시군요!", "도와드릴게요."), "en": ("Good idea!", "I see!", "I can help.")}


def wish(rng: random.Random) -> tuple[str, str, str]:
    """Language, a wish, and an answer that helps."""
    language = rng.choice(("ko", "en"))
    if rng.random() < 0.4:
        wanted, tip, question = favored(rng, OWN if language == "ko" else OWN_ENGLISH)
        advice = f"{tip} {question}"
    else:
        korean, english, things, advices = rng.choice(KINDS)
        side = 0 if language == "ko" else 1
        slots = {"it": rng.choice(things)[side]}
        wanted, advice = fill((korean, english)[side], slots), fill(rng.choice(advices)[side], slots)
    said = favored(rng, SAYING[language]).format(wanted + " " if language == "ko" else wanted)
    return language, said, f"{rng.choice(KIND_WORDS[language])} {advice}"
