"""What everybody knows: things, colors, opposites, capitals, days and months, in Korean and English.

In: nothing; tables written by hand. Out: rows whose cells are Korean first, English after. What a newcomer asks about
first stands first; `favored` draws it more often.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

from dodam.sample.lexicon import table

T = TypeVar("T")

# What things are: Korean noun, what is said of it; English subject with its verb, what is said of it.
THINGS = table("""
바나나 | 노랗고 달콤한 과일이에요 | a banana is | a sweet yellow fruit
하늘 | 파래요 | the sky is | blue
사과 | 빨갛고 아삭한 과일이에요 | an apple is | a crisp red fruit
레몬 | 노랗고 신 과일이에요 | a lemon is | a sour yellow fruit
포도 | 송이로 열리는 작은 과일이에요 | a grape is | a small fruit that grows in bunches
수박 | 여름에 먹는 크고 시원한 과일이에요 | a watermelon is | a big cool fruit for summer
딸기 | 빨갛고 작은 과일이에요 | a strawberry is | a small red fruit
당근 | 주황색 뿌리채소예요 | a carrot is | an orange root vegetable
설탕 | 하얗고 달아요 | sugar is | white and sweet
소금 | 하얗고 짜요 | salt is | white and salty
꿀 | 벌이 만드는 달콤한 음식이에요 | honey is | a sweet food made by bees
우유 | 하얗고 몸에 좋은 음료예요 | milk is | a white and healthy drink
커피 | 쓰고 향기로운 음료예요 | coffee is | a bitter drink that smells good
빵 | 밀가루로 만든 음식이에요 | bread is | a food made from flour
김치 | 배추로 만든 매운 한국 음식이에요 | kimchi is | a spicy Korean food made from cabbage
눈 | 하얗고 차가워요 | snow is | white and cold
얼음 | 차갑고 단단해요 | ice is | cold and hard
불 | 뜨겁고 밝아요 | fire is | hot and bright
물 | 투명하고 맛이 없어요 | water is | clear and has no taste
바다 | 넓고 파래요 | the sea is | wide and blue
해 | 뜨겁고 밝은 별이에요 | the sun is | a hot and bright star
달 | 밤하늘에 떠요 | the moon is | seen in the night sky
지구 | 우리가 사는 둥근 행성이에요 | the earth is | the round planet we live on
구름 | 하얗고 하늘에 떠 있어요 | a cloud is | white and floats in the sky
비 | 구름에서 내려요 | rain is | water that falls from clouds
풀 | 초록색이에요 | grass is | green
장미 | 가시가 있는 예쁜 꽃이에요 | a rose is | a pretty flower with thorns
나무 | 뿌리와 줄기와 잎이 있어요 | a tree is | a tall plant with roots and leaves
고양이 | 야옹 하고 우는 동물이에요 | a cat is | an animal that says meow
강아지 | 멍멍 짖는 귀여운 동물이에요 | a puppy is | a cute animal that barks
토끼 | 귀가 긴 동물이에요 | a rabbit is | an animal with long ears
코끼리 | 코가 긴 큰 동물이에요 | an elephant is | a big animal with a long nose
기린 | 목이 긴 동물이에요 | a giraffe is | an animal with a long neck
호랑이 | 줄무늬가 있는 무서운 동물이에요 | a tiger is | a scary animal with stripes
거북이 | 느리고 등딱지가 있는 동물이에요 | a turtle is | a slow animal with a shell
소 | 우유를 주는 동물이에요 | a cow is | an animal that gives milk
닭 | 알을 낳는 새예요 | a chicken is | a bird that lays eggs
벌 | 꿀을 모으는 곤충이에요 | a bee is | an insect that makes honey
물고기 | 물속에서 헤엄치는 동물이에요 | a fish is | an animal that swims in water
새 | 날개로 나는 동물이에요 | a bird is | an animal that flies with wings
의사 | 아픈 사람을 고치는 사람이에요 | a doctor is | a person who helps sick people
교사 | 학생을 가르치는 사람이에요 | a teacher is | a person who teaches students
요리사 | 음식을 만드는 사람이에요 | a cook is | a person who makes food
농부 | 곡식과 채소를 기르는 사람이에요 | a farmer is | a person who grows food
소방관 | 불을 끄는 사람이에요 | a firefighter is | a person who puts out fires
학교 | 학생들이 공부하는 곳이에요 | a school is | a place where students study
병원 | 아픈 사람이 가는 곳이에요 | a hospital is | a place for sick people
도서관 | 책을 빌려 읽는 곳이에요 | a library is | a place to borrow and read books
시장 | 물건을 사고파는 곳이에요 | a market is | a place to buy and sell things
공항 | 비행기를 타는 곳이에요 | an airport is | a place to take a plane
시계 | 시간을 알려 주는 물건이에요 | a clock is | a thing that shows the time
우산 | 비를 막아 주는 물건이에요 | an umbrella is | a thing that keeps off the rain
냉장고 | 음식을 차갑게 보관하는 기계예요 | a refrigerator is | a machine that keeps food cold
자전거 | 바퀴가 두 개인 탈것이에요 | a bicycle is | a vehicle with two wheels
비행기 | 하늘을 나는 탈것이에요 | an airplane is | a vehicle that flies in the sky
기차 | 철길을 달리는 탈것이에요 | a train is | a vehicle that runs on rails
봄 | 꽃이 피는 따뜻한 계절이에요 | spring is | a warm season when flowers bloom
여름 | 일 년 중 가장 더운 계절이에요 | summer is | the hottest season of the year
가을 | 단풍이 드는 시원한 계절이에요 | fall is | a cool season when leaves turn red
겨울 | 일 년 중 가장 추운 계절이에요 | winter is | the coldest season of the year
""")

COLORS = table("""
하늘 | 파란색 | the sky | blue
바나나 | 노란색 | a banana | yellow
눈 | 하얀색 | snow | white
풀 | 초록색 | grass | green
석탄 | 검은색 | coal | black
당근 | 주황색 | a carrot | orange
포도 | 보라색 | a grape | purple
딸기 | 빨간색 | a strawberry | red
초콜릿 | 갈색 | chocolate | brown
해바라기 | 노란색 | a sunflower | yellow
코끼리 | 회색 | an elephant | gray
우유 | 하얀색 | milk | white
""")

OPPOSITES = table("""
크다 | 작다 | big | small
높다 | 낮다 | high | low
많다 | 적다 | many | few
길다 | 짧다 | long | short
무겁다 | 가볍다 | heavy | light
빠르다 | 느리다 | fast | slow
덥다 | 춥다 | hot | cold
밝다 | 어둡다 | bright | dark
쉽다 | 어렵다 | easy | difficult
비싸다 | 싸다 | expensive | cheap
깨끗하다 | 더럽다 | clean | dirty
조용하다 | 시끄럽다 | quiet | noisy
강하다 | 약하다 | strong | weak
기쁘다 | 슬프다 | happy | sad
좋다 | 나쁘다 | good | bad
열다 | 닫다 | open | close
켜다 | 끄다 | on | off
사다 | 팔다 | buy | sell
가다 | 오다 | go | come
주다 | 받다 | give | take
이기다 | 지다 | win | lose
시작하다 | 끝나다 | begin | end
젊다 | 늙다 | young | old
넓다 | 좁다 | wide | narrow
두껍다 | 얇다 | thick | thin
""")

CAPITALS = table("""
중국 | 베이징 | China | Beijing
한국 | 서울 | Korea | Seoul
일본 | 도쿄 | Japan | Tokyo
영국 | 런던 | the United Kingdom | London
프랑스 | 파리 | France | Paris
미국 | 워싱턴 | the United States | Washington
몽골 | 울란바토르 | Mongolia | Ulaanbaatar
베트남 | 하노이 | Vietnam | Hanoi
태국 | 방콕 | Thailand | Bangkok
필리핀 | 마닐라 | the Philippines | Manila
인도네시아 | 자카르타 | Indonesia | Jakarta
인도 | 뉴델리 | India | New Delhi
네팔 | 카트만두 | Nepal | Kathmandu
이란 | 테헤란 | Iran | Tehran
이라크 | 바그다드 | Iraq | Baghdad
튀르키예 | 앙카라 | Turkey | Ankara
이집트 | 카이로 | Egypt | Cairo
케냐 | 나이로비 | Kenya | Nairobi
모로코 | 라바트 | Morocco | Rabat
에티오피아 | 아디스아바바 | Ethiopia | Addis Ababa
러시아 | 모스크바 | Russia | Moscow
우크라이나 | 키이우 | Ukraine | Kyiv
폴란드 | 바르샤바 | Poland | Warsaw
체코 | 프라하 | the Czech Republic | Prague
헝가리 | 부다페스트 | Hungary | Budapest
오스트리아 | 빈 | Austria | Vienna
독일 | 베를린 | Germany | Berlin
아일랜드 | 더블린 | Ireland | Dublin
스페인 | 마드리드 | Spain | Madrid
포르투갈 | 리스본 | Portugal | Lisbon
이탈리아 | 로마 | Italy | Rome
그리스 | 아테네 | Greece | Athens
스웨덴 | 스톡홀름 | Sweden | Stockholm
노르웨이 | 오슬로 | Norway | Oslo
핀란드 | 헬싱키 | Finland | Helsinki
덴마크 | 코펜하겐 | Denmark | Copenhagen
캐나다 | 오타와 | Canada | Ottawa
멕시코 | 멕시코시티 | Mexico | Mexico City
쿠바 | 아바나 | Cuba | Havana
브라질 | 브라질리아 | Brazil | Brasilia
아르헨티나 | 부에노스아이레스 | Argentina | Buenos Aires
칠레 | 산티아고 | Chile | Santiago
페루 | 리마 | Peru | Lima
호주 | 캔버라 | Australia | Canberra
뉴질랜드 | 웰링턴 | New Zealand | Wellington
""")

MONTHS = [
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
]
# A series goes round: the last is followed by the first.
SERIES = (
    ("ko", "요일", ["월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일"]),
    ("ko", "달", [f"{month}월" for month in range(1, 13)]),
    ("ko", "계절", ["봄", "여름", "가을", "겨울"]),
    ("en", "day", ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]),
    ("en", "month", MONTHS),
    ("en", "season", ["spring", "summer", "fall", "winter"]),
)


def favored(rng: random.Random, rows: Sequence[T]) -> T:
    """One of the rows; the earlier it stands, the more often it is drawn."""
    return rows[int(len(rows) * rng.random() ** 2)]
