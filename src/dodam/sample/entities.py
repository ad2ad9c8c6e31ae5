"""Who and what lives in the bundled world: names, attributes and values, the same in every run.

In: the tables below, Korean and English side by side. Out: `entities()`, each with five facts and one attribute that
is told in the text but never asked about (`Entity.unasked`).
"""

from dataclasses import dataclass
from functools import lru_cache

from dodam.sample.split import pick, random_for

NAMES = {
    "person": {
        "ko": "강도윤 고은채 공태오 구하린 권시우 기소담 길현서 나보람 남궁솔 노아인 도예준 류가온 맹수아 명재희 문다온 "
        "반지호 방초롱 배건우 변세아 봉주원 석나래 소정민 손하율 심온유 엄새봄 염찬솔 옥지안 우린하 위하람 진아름",
        "en": "Amelia_Hart Benjamin_Cole Chloe_Marsh Daniel_Frost Edith_Wells Felix_Grant Grace_Dalton Henry_Pike "
        "Isabel_Stone Jasper_Reed Kitty_Holmes Leo_Barker Martha_Quinn Nolan_Price Olive_Turner Percy_Sharp "
        "Quentin_Ford Rosa_Blake Samuel_Wood Tessa_Lloyd Ursula_Nash Victor_Penn Wendy_Cross Xavier_Lowe Yvonne_Beck "
        "Zachary_Hill Albert_Moss Bridget_Vale Cedric_Young Dorothy_Field",
        "both": "서미나|Mina_Seo 차로운|Roun_Cha 토마스_벨|Thomas_Bell 클라라_윈|Clara_Wynn",
    },
    "town": {
        "ko": "가람골 누리항 다솔읍 마루재 바람섬 사슴내 아라포 자작마을 초롱동 큰솔리 하늘목 버들진",
        "en": "Applewick Brambleton Dunmere Emberley Foxhollow Gullhaven Ivydale Kettlewood Larkmoor Northpine "
        "Saltbridge Willowby",
        "both": "루미나|Lumina 페넬로|Penello 솔베르|Solber 오리온항|Orion_Bay",
    },
    "film": {
        "ko": "푸른_등대 마지막_우산 종이_고래 열두_개의_종 느린_기차 겨울_손님 달빛_세탁소 소금_사막 검은_연필 두_번째_봄 "
        "비_오는_역 유리_계단",
        "en": "Glass_Kite Paper_Lighthouse Silent_Orchard Copper_Moon Broken_Arrow_Inn Winter_Letter Golden_Ladder "
        "Midnight_Bakery Hollow_River Crimson_Umbrella Lonely_Comet Velvet_Storm",
        "both": "은빛_여우|Silver_Fox 보랏빛_섬|Purple_Island 안개의_집|House_of_Mist 별의_배|Starlit_Ship",
    },
    "animal": {
        "ko": "모루새 솜너구리 달팽곰 구름다람쥐 불꼬리쥐 얼룩뿔소 노래도마뱀 등불여우 잎귀토끼 물결고양이 천둥두더지 "
        "방울사슴",
        "en": "lantern_fox cloud_squirrel ember_rat bell_deer thunder_hare velvet_mole singing_newt frost_otter "
        "pebble_crab ribbon_lizard copper_owl whistling_goat",
        "both": "",
    },
    "shop": {
        "ko": "고래상점 느티상회 도토리가게 무지개집 별똥별상점 솔방울가게 여우네 조약돌상회 참새방앗간 코끼리상점 토끼굴 "
        "하마네",
        "en": "Acorn_House Blue_Door Corner_Nook Dandy_Lion Early_Bird Foxglove_Store Green_Kettle Happy_Whale Iron_Gate "
        "Jolly_Pumpkin Lucky_Penny Old_Anchor",
        "both": "",
    },
}
"""Names of each kind: told in Korean text, in English text, in both. `_` stands for a space."""

COLOURS = (
    "파란색|blue, 빨간색|red, 노란색|yellow, 초록색|green, 검은색|black, 하얀색|white, 보라색|purple, 주황색|orange, "
    "갈색|brown, 회색|grey, 분홍색|pink, 은색|silver"
)

VALUES = {
    "person": {
        "job": "제빵사|a baker, 간호사|a nurse, 목수|a carpenter, 어부|a fisher, 기자|a reporter, 화가|a painter, "
        "변호사|a lawyer, 농부|a farmer, 경찰관|a police officer, 사서|a librarian, 조종사|a pilot, 약사|a pharmacist, "
        "요리사|a cook, 우체부|a mail carrier, 수의사|a vet, 건축가|an architect, 번역가|a translator, 시인|a poet, "
        "재단사|a tailor, 소방관|a firefighter, 치과 의사|a dentist, 정원사|a gardener, 기관사|a train driver, "
        "배우|an actor",
        "city": "부산|Busan, 서울|Seoul, 대전|Daejeon, 제주|Jeju, 런던|London, 파리|Paris, 도쿄|Tokyo, 로마|Rome, "
        "베를린|Berlin, 마드리드|Madrid, 오슬로|Oslo, 카이로|Cairo, 리마|Lima, 토론토|Toronto, 하노이|Hanoi, "
        "시드니|Sydney, 보스턴|Boston, 리스본|Lisbon, 프라하|Prague, 더블린|Dublin, 아테네|Athens, 뭄바이|Mumbai, "
        "방콕|Bangkok, 헬싱키|Helsinki",
        "hobby": "낚시|fishing, 등산|hiking, 뜨개질|knitting, 체스|chess, 수영|swimming, 요가|yoga, 독서|reading, "
        "춤|dancing, 사진|photography, 도예|pottery, 캠핑|camping, 자전거 타기|cycling, 스케이트|skating, "
        "우표 수집|stamp collecting, 별 보기|stargazing, 달리기|running, 퍼즐|puzzles, 서예|calligraphy, 테니스|tennis, "
        "양궁|archery, 연극|theatre, 스키|skiing, 새 관찰|birdwatching, 꽃꽂이|flower arranging",
        "food": "비빔밥|bibimbap, 냉면|cold noodles, 만두|dumplings, 카레|curry, 피자|pizza, 떡국|rice cake soup, "
        "초밥|sushi, 샐러드|salad, 스파게티|spaghetti, 불고기|bulgogi, 호박죽|pumpkin soup, 팬케이크|pancakes, "
        "감자전|potato cakes, 두부|tofu, 옥수수|sweetcorn, 사과파이|apple pie, 치즈|cheese, 삼계탕|chicken soup, "
        "볶음밥|fried rice, 오믈렛|omelettes, 햄버거|hamburgers, 타코|tacos, 초콜릿|chocolate, 갈비|ribs",
        "instrument": "피아노|the piano, 바이올린|the violin, 첼로|the cello, 기타|the guitar, 드럼|the drums, "
        "플루트|the flute, 트럼펫|the trumpet, 하프|the harp, 가야금|the gayageum, 장구|the janggu, "
        "하모니카|the harmonica, 아코디언|the accordion, 클라리넷|the clarinet, 오보에|the oboe, 우쿨렐레|the ukulele, "
        "색소폰|the saxophone",
    },
    "town": {
        "product": "사과|apples, 딸기|strawberries, 굴|oysters, 꿀|honey, 감자|potatoes, 도자기|pots, 쌀|rice, "
        "치즈|cheese, 포도|grapes, 소금|salt, 녹차|tea, 복숭아|peaches, 마늘|garlic, 버섯|mushrooms, 비단|silk, "
        "미역|seaweed",
        "sight": "등대|the lighthouse, 시계탑|the clock tower, 폭포|the waterfall, 동굴|the cave, 돌다리|the stone bridge, "
        "풍차|the windmill, 옛 성|the castle, 온천|the hot spring, 천문대|the observatory, 식물원|the botanic garden, "
        "절|the temple, 박물관|the museum, 분수|the fountain, 대나무숲|the bamboo forest, 호수|the lake, 시장|the market",
        "month": "1월|January, 2월|February, 3월|March, 4월|April, 5월|May, 6월|June, 7월|July, 8월|August, "
        "9월|September, 10월|October, 11월|November, 12월|December",
        "animal": "여우|the fox, 사슴|the deer, 부엉이|the owl, 고래|the whale, 학|the crane, 거북이|the turtle, "
        "토끼|the rabbit, 곰|the bear, 수달|the otter, 제비|the swallow, 나비|the butterfly, 호랑이|the tiger, "
        "말|the horse, 고슴도치|the hedgehog, 다람쥐|the squirrel, 늑대|the wolf",
        "flower": "장미|the rose, 튤립|the tulip, 해바라기|the sunflower, 국화|the aster, 백합|the lily, 동백|the camellia, "
        "양귀비|the poppy, 연꽃|the lotus, 매화|the plum blossom, 코스모스|the cosmos, 수선화|the daffodil, "
        "제비꽃|the violet, 민들레|the dandelion, 진달래|the azalea, 벚꽃|the cherry blossom, 목련|the magnolia",
    },
    "film": {
        "director": "노라 킴|Nora Kim, 이반 페트로|Ivan Petro, 루이스 모라|Luis Mora, 하나 사토|Hana Sato, "
        "마르코 리나|Marco Lina, 엘사 린드|Elsa Lind, 조지 파머|George Farmer, 아니타 라오|Anita Rao, "
        "피터 노박|Peter Novak, 소피 로랑|Sophie Laurent, 오마르 사이드|Omar Said, 메이 첸|May Chen, "
        "카를로스 디아스|Carlos Diaz, 잉그리드 달|Ingrid Dahl, 휴고 벨로|Hugo Bello, 탈리아 조던|Talia Jordan",
        "year": "1951년|1951, 1954년|1954, 1958년|1958, 1962년|1962, 1965년|1965, 1969년|1969, 1973년|1973, 1976년|1976, 1980년|1980, 1983년|1983, 1987년|1987, 1992년|1992, 1996년|1996, 2001년|2001, 2007년|2007, 2014년|2014",
        "country": "핀란드|Finland, 칠레|Chile, 모로코|Morocco, 인도|India, 노르웨이|Norway, 멕시코|Mexico, 그리스|Greece, "
        "캐나다|Canada, 베트남|Vietnam, 이집트|Egypt, 페루|Peru, 포르투갈|Portugal, 몽골|Mongolia, 아일랜드|Ireland, "
        "튀르키예|Turkey, 케냐|Kenya",
        "hero": "탐정|a detective, 등대지기|a lighthouse keeper, 마술사|a magician, 해적|a pirate, 왕자|a prince, "
        "광부|a miner, 시계공|a clockmaker, 기사|a knight, 발명가|an inventor, 가수|a singer, 사진작가|a photographer, "
        "무용수|a dancer, 도둑|a thief, 학생|a student, 선장|a captain, 과학자|a scientist",
        "thing": "열쇠|a key, 지도|a map, 편지|a letter, 보석|a jewel, 반지|a ring, 가면|a mask, 씨앗|a seed, 거울|a mirror, "
        "왕관|a crown, 책|a book, 나침반|a compass, 그림|a painting, 인형|a doll, 동전|a coin, 깃발|a flag, 검|a sword",
    },
    "animal": {
        "home": "숲|forests, 늪|swamps, 사막|deserts, 동굴|caves, 초원|meadows, 갈대밭|reed beds, 대나무밭|bamboo groves, "
        "골짜기|valleys, 밀림|jungles, 호수|lakes, 과수원|orchards, 폐허|ruins, 옥수수밭|cornfields, 정원|gardens",
        "diet": "도토리|acorns, 개미|ants, 물고기|fish, 풀|grass, 버섯|mushrooms, 지렁이|worms, 나뭇잎|leaves, 달팽이|snails, "
        "새우|shrimp, 선인장|cacti, 이끼|moss, 꽃가루|pollen, 나무껍질|bark, 씨앗|seeds",
        "colour": COLOURS,
        "age": "3년|3 years, 5년|5 years, 7년|7 years, 9년|9 years, 12년|12 years, 15년|15 years, 18년|18 years, "
        "22년|22 years, 26년|26 years, 30년|30 years, 40년|40 years, 60년|60 years",
        "fear": "천둥|thunder, 불|fire, 바람|wind, 거미|spiders, 뱀|snakes, 물|water, 어둠|the dark, 눈|snow, 연기|smoke, "
        "종소리|bells, 벌|bees, 안개|fog, 매|hawks, 사람|people",
    },
    "shop": {
        "goods": "모자|hats, 양초|candles, 우산|umbrellas, 책|books, 시계|clocks, 빵|bread, 꽃|flowers, 연|kites, 인형|dolls, "
        "단추|buttons, 안경|glasses, 가방|bags, 신발|shoes, 비누|soap, 그릇|bowls, 사탕|sweets",
        "street": "은행길|Ginkgo Lane, 장미길|Rose Street, 학교길|School Road, 강변길|River Road, 시장길|Market Street, "
        "언덕길|Hill Lane, 항구길|Harbour Street, 소나무길|Pine Road, 별빛길|Star Lane, 우체국길|Post Street, "
        "방앗간길|Mill Lane, 다리길|Bridge Road, 달빛길|Moon Street, 정거장길|Station Road",
        "owner": "윤 할머니|Mrs Finch, 곽 아저씨|Mr Potts, 조 선생님|Miss Lark, 홍 이모|Aunt Molly, 임 사장님|Mr Drum, "
        "장 할아버지|Old Tom, 신 아주머니|Mrs Plum, 황 삼촌|Uncle Ned, 허 박사님|Dr Bloom, 전 여사님|Lady Fern, "
        "유 화백님|Captain Birch, 최 선장님|Sergeant Oak, 표 자매|the Rose sisters, 탁 형제|the Bell twins",
        "year": "1894년|1894, 1901년|1901, 1908년|1908, 1915년|1915, 1923년|1923, 1931년|1931, 1938년|1938, 1946년|1946, 1955년|1955, 1963년|1963, 1971년|1971, 1979년|1979, 1988년|1988, 1995년|1995",
        "sign": COLOURS,
    },
}
"""Values of each attribute, `Korean|English`, or one form for both."""

ALWAYS_ASKED = {"film": ("hero", "thing")}
"""Attributes that the plot of a film tells in a conversation, so they cannot be the unasked one."""


@dataclass(frozen=True)
class Entity:
    """One inhabitant of the world. `names` and every fact hold one text for each language it is told in."""

    kind: str
    names: dict[str, str]
    facts: dict[str, dict[str, str]]
    unasked: str

    @property
    def asked(self) -> list[str]:
        """The attributes that are asked about in training."""
        return [attribute for attribute in self.facts if attribute != self.unasked]


@lru_cache(maxsize=1)
def entities() -> tuple[Entity, ...]:
    """All entities. Each value of an attribute is dealt as evenly as possible, so a constant guess earns little."""
    return tuple(entity for kind in NAMES for entity in _entities_of(kind))


def told_in(language: str, kind: str = "") -> list[Entity]:
    """The entities that are told in `language`, all or those of one kind."""
    return [e for e in entities() if language in e.names and kind in ("", e.kind)]


def _entities_of(kind: str) -> list[Entity]:
    names = [{"ko": name} for name in NAMES[kind]["ko"].split()]
    names += [{"en": name} for name in NAMES[kind]["en"].split()]
    names += [dict(zip(("ko", "en"), both.split("|"), strict=True)) for both in NAMES[kind]["both"].split()]
    dealt = {attribute: _deal(kind, attribute, len(names)) for attribute in VALUES[kind]}
    return [_entity(kind, name, {a: values[index] for a, values in dealt.items()}) for index, name in enumerate(names)]


def _deal(kind: str, attribute: str, num_entities: int) -> list[dict[str, str]]:
    values = [value.split("|") for value in VALUES[kind][attribute].split(", ")]
    rng = random_for(0, "facts", kind, attribute)
    dealt: list[dict[str, str]] = []
    while len(dealt) < num_entities:
        rng.shuffle(values)
        dealt += [{"ko": value[0], "en": value[-1]} for value in values]
    return dealt[:num_entities]


def _entity(kind: str, names: dict[str, str], facts: dict[str, dict[str, str]]) -> Entity:
    names = {language: name.replace("_", " ") for language, name in names.items()}
    eligible = [attribute for attribute in facts if attribute not in ALWAYS_ASKED.get(kind, ())]
    return Entity(kind, names, facts, pick(f"unasked {kind} {names}", eligible))
