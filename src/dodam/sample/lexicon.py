"""The words of the Korean-English sentences: subjects, verbs with their objects, places, times, adjectives.

In: nothing; tables written by hand. Out: small frozen records that `sentences.py` joins into sentences.
A word has, as far as both languages allow, one partner in the other: a translation then has one right answer.
"""

from dataclasses import dataclass

Pair = tuple[str, str]


@dataclass(frozen=True)
class Subject:
    """Who acts. `person` is "1" (I), "p" (we, they, plurals) or "3"."""

    korean: str
    english: str
    person: str


@dataclass(frozen=True)
class Verb:
    """A verb with its objects; `english` has `{}` where the object goes, `places` are where it is done."""

    stem: str
    linked: str
    particle: str
    english: str
    places: tuple[Pair, ...]
    objects: tuple[Pair, ...]


@dataclass(frozen=True)
class Adjective:
    """A quality with its 아/어 form, and the things that can have it."""

    stem: str
    linked: str
    english: str
    things: tuple[Pair, ...]


def pairs(text: str) -> tuple[Pair, ...]:
    """The pairs of "사과=an apple, 빵=bread"."""
    rows = (row.split("=") for row in text.replace("\n", " ").split(",") if row.strip())
    return tuple((korean.strip(), english.strip()) for korean, english in rows)


def table(text: str) -> list[list[str]]:
    """The cells of lines whose columns are divided by |; a line that ends in a comma goes on in the next."""
    return [[cell.strip() for cell in line.split("|")] for line in text.strip().replace(",\n", ", ").splitlines()]


SUBJECTS = (
    Subject("나", "I", "1"),
    *(Subject(*pair, "p") for pair in pairs("우리=we, 그들=they, 아이들=the children, 학생들=the students")),
    *(
        Subject(*pair, "3")
        for pair in pairs(
            """그=he, 그녀=she, 엄마=my mom, 아빠=my dad, 할머니=my grandmother, 할아버지=my grandfather, 삼촌=my uncle,
            이모=my aunt, 내 동생=my younger brother, 내 친구=my friend, 선생님=the teacher, 의사=the doctor,
            요리사=the cook, 농부=the farmer, 가수=the singer, 민수=Minsu, 지수=Jisu, 하준=Hajun, 수아=Sua, 톰=Tom,
            안나=Anna"""
        )
    ),
)

PLACES = {
    "eat": pairs("집에서=at home, 식당에서=at the restaurant, 카페에서=at the cafe, 공원에서=in the park"),
    "cook": pairs("집에서=at home, 부엌에서=in the kitchen, 식당에서=at the restaurant"),
    "study": pairs("집에서=at home, 학교에서=at school, 도서관에서=at the library, 카페에서=at the cafe"),
    "desk": pairs("집에서=at home, 방에서=in the room, 교실에서=in the classroom, 사무실에서=in the office"),
    "home": pairs("집에서=at home, 거실에서=in the living room, 방에서=in the room"),
    "shop": pairs("시장에서=at the market, 가게에서=at the store, 서울에서=in Seoul, 부산에서=in Busan"),
    "out": pairs("공원에서=in the park, 정원에서=in the garden, 마당에서=in the yard, 바닷가에서=at the beach"),
    "sport": pairs("체육관에서=at the gym, 운동장에서=on the playground, 학교에서=at school, 공원에서=in the park"),
    "water": pairs("수영장에서=at the pool, 바닷가에서=at the beach, 강에서=in the river"),
    "city": pairs("서울에서=in Seoul, 역에서=at the station, 공항에서=at the airport, 카페에서=at the cafe"),
    "wait": pairs("역에서=at the station, 공항에서=at the airport, 호텔에서=at the hotel, 병원에서=at the hospital"),
    "-": (),
}

VERBS = tuple(
    Verb(
        stem=korean.split()[0],
        linked=korean.split()[1],
        particle=[*korean.split(), "을/를"][2],
        english=english if "{}" in english or not objects else english + " {}",
        places=PLACES[places],
        objects=pairs(objects),
    )
    for korean, english, places, objects in table("""
먹 먹어 | eat | eat | 빵=bread, 사과=an apple, 국수=noodles, 김밥=gimbap, 피자=pizza, 점심=lunch, 아침=breakfast
마시 마셔 | drink | eat | 커피=coffee, 물=water, 우유=milk, 차=tea, 주스=juice
만들 만들어 | make | cook | 샌드위치=a sandwich, 수프=soup, 김치=kimchi, 쿠키=cookies
굽 구워 | bake | cook | 빵=bread, 쿠키=cookies, 고구마=sweet potatoes
썰 썰어 | cut | cook | 양파=onions, 당근=carrots, 고기=meat
씻 씻어 | wash | cook | 접시=the dishes, 컵=the cups, 채소=vegetables
읽 읽어 | read | study | 책=a book, 신문=the newspaper, 소설=a novel, 잡지=a magazine, 시=a poem, 편지=a letter
쓰 써 | write | desk | 편지=a letter, 이야기=a story, 보고서=a report, 시=a poem
공부하 공부해 | study | study | 영어=English, 수학=math, 역사=history, 과학=science, 한국어=Korean
가르치 가르쳐 | teach | study | 영어=English, 수학=math, 음악=music, 한국어=Korean
배우 배워 | learn | study | 영어=English, 음악=music, 과학=science, 한국어=Korean
풀 풀어 | solve | desk | 문제=a problem, 퍼즐=a puzzle, 수수께끼=a riddle
외우 외워 | memorize | desk | 단어=words, 시=a poem, 노래=a song
그리 그려 | draw | desk | 꽃=flowers, 나무=a tree, 고양이=a cat, 지도=a map, 산=the mountain
보 봐 | watch | home | 영화=a movie, 뉴스=the news, 경기=a game, 연극=a play
듣 들어 | listen to | home | 음악=music, 노래=a song, 라디오=the radio, 이야기=a story
부르 불러 | sing | home | 노래=a song
치 쳐 | play | home | 피아노=the piano, 기타=the guitar
하 해 | play | sport | 축구=soccer, 농구=basketball, 야구=baseball, 배구=volleyball
찍 찍어 | take | out | 사진=a photo, 영상=a video
사 사 | buy | shop | 새 차=a new car, 책=a book, 꽃=flowers, 모자=a hat, 우산=an umbrella, 자전거=a bicycle,
선물=a present, 새 컴퓨터=a new computer, 표=a ticket, 우유=milk, 과일=fruit, 신발=shoes
팔 팔아 | sell | shop | 과일=fruit, 꽃=flowers, 옷=clothes, 신발=shoes, 생선=fish
고르 골라 | choose | shop | 선물=a present, 모자=a hat, 책=a book, 옷=clothes
주문하 주문해 | order | eat | 피자=pizza, 커피=coffee, 국수=noodles, 주스=juice
빌리 빌려 | borrow | city | 우산=an umbrella, 자전거=a bicycle, 책=a book, 돈=money
청소하 청소해 | clean | - | 방=the room, 부엌=the kitchen, 거실=the living room, 교실=the classroom
열 열어 | open | - | 문=the door, 창문=the window, 상자=the box, 가방=the bag
닫 닫아 | close | - | 문=the door, 창문=the window, 상자=the box, 가방=the bag
켜 켜 | turn on | - | 불=the light, 텔레비전=the television, 라디오=the radio
끄 꺼 | turn off | - | 불=the light, 텔레비전=the television, 라디오=the radio
고치 고쳐 | fix | home | 시계=the clock, 의자=the chair, 텔레비전=the television
옮기 옮겨 | move | - | 상자=the box, 책상=the desk, 의자=the chair
버리 버려 | throw away | - | 쓰레기=the trash, 상자=the box
심 심어 | plant | out | 나무=a tree, 꽃=flowers, 감자=potatoes
키우 키워 | raise | home | 고양이=a cat, 강아지=a puppy, 토끼=a rabbit
찾 찾아 | look for | home | 열쇠=the key, 지갑=the wallet, 안경=the glasses, 가방=the bag
입 입어 | wear | - | 코트=a coat, 한복=a hanbok, 새 옷=new clothes
돕 도와 | help | - | 친구=a friend, 이웃=a neighbor, 손님=a guest
만나 만나 | meet | city | 친구=a friend, 손님=a guest, 이웃=a neighbor
기다리 기다려 | wait for | wait | 버스=the bus, 기차=the train, 친구=a friend, 손님=a guest
초대하 초대해 | invite | - | 친구=a friend, 이웃=a neighbor, 손님=a guest
방문하 방문해 | visit | - | 박물관=the museum, 서울=Seoul, 부산=Busan
보내 보내 | send | - | 편지=a letter, 이메일=an email, 선물=a present, 사진=a photo, 소포=a package
받 받아 | receive | - | 편지=a letter, 이메일=an email, 선물=a present, 소포=a package
타 타 | take {} | - | 버스=the bus, 기차=the train, 택시=a taxi, 지하철=the subway
떠나 떠나 | leave | - | 서울=Seoul, 부산=Busan, 마을=the village, 도시=the city
전화하 전화해 에게 | call | - | 친구=a friend, 이웃=a neighbor, 손님=a guest
이야기하 이야기해 과/와 | talk with | city | 친구=a friend, 이웃=a neighbor, 손님=a guest
놀 놀아 과/와 | play with | out | 친구=a friend, 강아지=a puppy, 고양이=a cat
가 가 에 | go to | - | 학교=school, 도서관=the library, 시장=the market, 병원=the hospital, 공원=the park,
은행=the bank, 서울=Seoul, 부산=Busan, 박물관=the museum, 극장=the theater, 바닷가=the beach, 식당=the restaurant
오 와 에 | come to | - | 학교=school, 도서관=the library, 공원=the park, 파티=the party, 마을=the village
도착하 도착해 에 | arrive at | - | 역=the station, 공항=the airport, 호텔=the hotel, 학교=school
오르 올라 에 | climb | - | 산=the mountain, 언덕=the hill
걷 걸어 | walk | out |
달리 달려 | run | sport |
운동하 운동해 | exercise | sport |
수영하 수영해 | swim | water |
자 자 | sleep | home |
쉬 쉬어 | rest | home |
일하 일해 | work | desk |
요리하 요리해 | cook | cook |
춤추 춤춰 | dance | sport |
산책하 산책해 | take a walk | out |
노래하 노래해 | sing | home |
""")
)

UNASKED = frozenset(["받", "도착하", "오르", "키우", "팔", "떠나", "오"])
"""Stems that make no natural request."""

LIKED = pairs(
    """음악=music, 커피=coffee, 축구=soccer, 여름=summer, 겨울=winter, 봄=spring, 가을=fall, 피자=pizza, 수학=math,
    김치=kimchi, 과일=fruit, 꽃=flowers, 생선=fish, 역사=history, 과학=science, 농구=basketball, 빵=bread, 우유=milk"""
)

TIMES = {
    "past": pairs(
        """어제=yesterday, 오늘 아침에=this morning, 어젯밤에=last night, 지난주에=last week,
        지난 주말에=last weekend"""
    ),
    "present": pairs("매일=every day, 매일 아침=every morning, 매일 저녁=every evening, 주말마다=every weekend"),
    "now": pairs("지금=now"),
    "future": pairs("내일=tomorrow, 오늘 밤에=tonight, 다음 주에=next week, 이번 주말에=this weekend, 나중에=later"),
}
YEARS = {
    "past": pairs("작년에=last year, 지난달에=last month"),
    "future": pairs("내년에=next year, 다음 달에=next month"),
}
YEARLY = frozenset(["배우", "가르치", "공부하", "사", "팔", "심", "키우", "방문하", "떠나", "가", "오", "일하", "읽"])
"""Stems of what one plans for, or remembers of, a whole year."""

ADJECTIVES = tuple(
    Adjective(korean.split()[0], korean.split()[1], english, pairs(things))
    for korean, english, things in table("""
크 커 | big | 집=house, 가방=bag, 상자=box, 나무=tree, 도시=city, 방=room
작 작아 | small | 집=house, 가방=bag, 상자=box, 방=room, 마을=village, 컵=cup
비싸 비싸 | expensive | 가방=bag, 시계=clock, 컴퓨터=computer, 모자=hat, 책=book, 집=house
싸 싸 | cheap | 가방=bag, 모자=hat, 우산=umbrella, 과일=fruit, 책=book
재미있 재미있어 | interesting | 책=book, 영화=movie, 이야기=story, 소설=novel, 경기=game
지루하 지루해 | boring | 책=book, 영화=movie, 이야기=story, 소설=novel, 경기=game
어렵 어려워 | difficult | 문제=problem, 책=book, 퍼즐=puzzle, 단어=word
쉽 쉬워 | easy | 문제=problem, 책=book, 퍼즐=puzzle, 단어=word
무겁 무거워 | heavy | 가방=bag, 상자=box, 책상=desk, 의자=chair
가볍 가벼워 | light | 가방=bag, 상자=box, 우산=umbrella, 의자=chair
맛있 맛있어 | delicious | 빵=bread, 수프=soup, 커피=coffee, 사과=apple, 피자=pizza
차갑 차가워 | cold | 물=water, 주스=juice, 우유=milk, 수프=soup
뜨겁 뜨거워 | hot | 물=water, 커피=coffee, 수프=soup, 차=tea
달 달아 | sweet | 사과=apple, 주스=juice, 커피=coffee, 과일=fruit
깨끗하 깨끗해 | clean | 방=room, 부엌=kitchen, 컵=cup, 물=water, 공원=park
더럽 더러워 | dirty | 방=room, 부엌=kitchen, 컵=cup, 신발=shoe, 창문=window
조용하 조용해 | quiet | 방=room, 마을=village, 도서관=library, 공원=park, 카페=cafe
시끄럽 시끄러워 | noisy | 도시=city, 시장=market, 카페=cafe, 교실=classroom
아름답 아름다워 | beautiful | 꽃=flower, 노래=song, 도시=city, 정원=garden, 그림=picture
귀엽 귀여워 | cute | 고양이=cat, 강아지=puppy, 토끼=rabbit
오래되 오래돼 | old | 집=house, 시계=clock, 노래=song, 마을=village, 나무=tree
안전하 안전해 | safe | 공원=park, 마을=village, 도시=city, 자전거=bicycle
유명하 유명해 | famous | 노래=song, 그림=picture, 식당=restaurant, 박물관=museum
빠르 빨라 | fast | 기차=train, 버스=bus, 자전거=bicycle, 컴퓨터=computer
느리 느려 | slow | 기차=train, 버스=bus, 컴퓨터=computer
""")
)

FEELINGS = pairs(
    """행복하 행복해=happy, 슬프 슬퍼=sad, 피곤하 피곤해=tired, 바쁘 바빠=busy, 배고프 배고파=hungry, 아프 아파=sick,
    친절하 친절해=kind, 건강하 건강해=healthy, 목마르 목말라=thirsty"""
)

JOBS = pairs(
    """의사=a doctor, 선생님=a teacher, 가수=a singer, 요리사=a cook, 농부=a farmer, 학생=a student, 간호사=a nurse,
    경찰관=a police officer, 소방관=a firefighter, 화가=a painter, 작가=a writer, 과학자=a scientist, 기자=a reporter,
    운전사=a driver, 배우=an actor, 변호사=a lawyer"""
)

SPOTS = pairs(
    """책상 위에=on the desk, 책상 아래에=under the desk, 의자 위에=on the chair, 상자 안에=in the box,
    가방 안에=in the bag, 방 안에=in the room, 문 앞에=in front of the door, 집 뒤에=behind the house,
    나무 아래에=under the tree, 학교 옆에=next to the school, 창문 옆에=next to the window"""
)
SPOT_THINGS = pairs(
    """책=a book, 컵=a cup, 고양이=a cat, 강아지=a puppy, 모자=a hat, 우산=an umbrella, 사과=an apple, 열쇠=a key,
    편지=a letter, 자전거=a bicycle, 시계=a clock, 가방=a bag"""
)

WEATHER = pairs("춥 추워=cold, 덥 더워=hot, 맑 맑아=sunny, 흐리 흐려=cloudy, 따뜻하 따뜻해=warm, 시원하 시원해=cool")
CITIES = pairs(
    "서울=Seoul, 부산=Busan, 대구=Daegu, 인천=Incheon, 광주=Gwangju, 대전=Daejeon, 제주=Jeju, 런던=London, 파리=Paris"
)

COUNTED = tuple(
    tuple(row)
    for row in table("""
사과 | 개 | apples
공 | 개 | balls
컵 | 개 | cups
책 | 권 | books
공책 | 권 | notebooks
연필 | 자루 | pencils
꽃 | 송이 | flowers
표 | 장 | tickets
사진 | 장 | photos
물고기 | 마리 | fish
토끼 | 마리 | rabbits
닭 | 마리 | chickens
""")
)
"""Things one counts: the Korean noun, its counter, the English plural."""

NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
