"""What stands around the facts: openings, endings, joints and little stories of the bundled world.

Slots are `{name}` (with "the film", "영화" and the like already in place), the attributes of the kind, `{label}`,
`{value}`, `{of}`; Korean predicates stand in brackets (endings.py). In a story `{name}` is the bare name.
"""

OPENINGS = {
    "ko": (
        "오늘은 {name}에 관한 글을 [읽었].",
        "어제 도서관에서 {name}에 대한 책을 [찾았].",
        "할머니께서 {name} 이야기를 들려주[셨].",
        "친구에게서 {name}에 관한 편지를 [받았].",
        "이 글은 {name}{을/를} 소개하는 글[이].",
        "학교에서 {name}에 대해 [배웠].",
        "{name}에 대해 아는 것을 적어 [보았].",
        "라디오에서 {name} 이야기가 [나왔].",
        "{name}{을/를} 아는 사람은 생각보다 [많].",
        "신문에서 {name}에 관한 기사를 오려 [두었].",
        "{name}에 대해 물어보는 사람이 많아서 여기에 [적].",
        "기차 안에서 {name} 이야기를 [들었].",
        "수첩에 {name}에 대한 것을 몇 가지 [적었].",
        "비가 와서 집에서 {name}에 대해 [알아보았].",
    ),
    "en": (
        "Today I read something about {name}.",
        "Yesterday I found a book on {name} in the library.",
        "My grandmother told me about {name}.",
        "A friend sent me a letter about {name}.",
        "This page is about {name}.",
        "At school we learned about {name}.",
        "Here is what I know about {name}.",
        "There was a talk on the radio about {name}.",
        "More people know {name} than you would think.",
        "I cut out a piece in the paper about {name}.",
        "Many people ask about {name}, so I write it down here.",
        "On the train somebody spoke about {name}.",
        "These are a few notes on {name}.",
        "It rained, so I stayed at home and read about {name}.",
    ),
}

ENDINGS = {
    "ko": (
        "여기까지가 {name} 이야기[이].",
        "다음에는 더 자세히 알아보고 [싶].",
        "참 재미있는 이야기[였].",
        "잊지 않으려고 여기에 적어 [두].",
        "내일 동생에게도 들려줄 생각[이].",
        "{name}에 대해 이만큼 알면 [충분하].",
        "오늘의 일기는 여기까지[이].",
        "다음 시간에 시험을 본다고 [했].",
        "언젠가 직접 확인해 보고 [싶].",
        "이것으로 {name} 소개를 마치[겠].",
    ),
    "en": (
        "That is all about {name} for today.",
        "Next time I want to find out more.",
        "It was a good story.",
        "I write it down so that I do not forget it.",
        "Tomorrow I will tell my little brother.",
        "That is enough to know about {name}.",
        "So much for my diary today.",
        "There will be a test on this next week.",
        "One day I want to see for myself.",
        "Now you know {name} a little better.",
    ),
}

DIALOGUES = {
    "ko": (
        ("{name}에 대해 아는 게 있어요?", "네, 조금 알아요.", "또 무엇을 알아요?", "하나 더 있어요."),
        ("{name} 이야기를 들었어요?", "들었어요.", "더 이야기해 주세요.", "그리고 이것도 있어요."),
        ("{name}에 대해 발표를 해야 해요.", "내가 도와줄게요.", "고마워요. 더 있어요?", "그럼요."),
        ("혹시 {name}{을/를} 아세요?", "알고 있어요.", "정말요? 더 말해 주세요.", "이것도 기억해 두세요."),
    ),
    "en": (
        ("Have you heard of {name}?", "Yes, a little.", "What else do you know?", "One more thing."),
        ("I must give a talk about {name}.", "I can help you.", "Thank you. Is there more?", "There is."),
        ("Do you know anything about {name}?", "I do.", "Really? Tell me more.", "Remember this as well."),
        ("Somebody spoke about {name} today.", "I know the story.", "Please go on.", "There is also this."),
    ),
}
"""First question, first reply, second question, second reply; facts follow each reply."""

SPEAKERS = {"ko": ("지우", "하준", "서연", "민수", "은우", "수빈"), "en": ("Ann", "Bob", "Eve", "Jim", "Sue", "Max")}

PAIRS = {
    "ko": (
        "{name}{of} {label}{은/는} {value}{이고/고}, {name2}{of2} {label}{은/는} {value2}[이].",
        "{name}{of} {label}{이/가} {value}{이라/라}면, {name2}{of2} {label}{은/는} {value2}[이].",
        "{name}{of} {label}{은/는} {value}[이]. 그런데 {name2}{of2} {label}{은/는} {value2}[이].",
        "{label}{을/를} 견주어 보면 {name} 쪽은 {value}, {name2} 쪽은 {value2}[이].",
    ),
    "en": (
        "{name}'s {label} is {value}, while {name2}'s {label} is {value2}.",
        "The {label} of {name} is {value}. The {label} of {name2}, however, is {value2}.",
        "Compare the two: the {label} of {name} is {value}, that of {name2} is {value2}.",
        "If the {label} of {name} is {value}, then that of {name2} is {value2}.",
    ),
}
"""One attribute of two entities."""

JOINTS = {
    "ko": (
        "{name}{of} {label}{은/는} {value}{이고/고}, {label2}{은/는} {value2}[이].",
        "{name}에 대한 두 가지: {label}{은/는} {value}, {label2}{은/는} {value2}.",
        "{label} {value}, {label2} {value2}. 바로 {name} 이야기[이].",
        "{name}{은/는} 두 가지로 알려져 [있]. {label}{은/는} {value}, {label2}{은/는} {value2}[이].",
    ),
    "en": (
        "{name}'s {label} is {value}, and the {label2} is {value2}.",
        "Two things about {name}: the {label} is {value}, the {label2} is {value2}.",
        "The {label} is {value} and the {label2} is {value2}: that is {name}.",
        "{name} is known for two things. The {label} is {value}, and the {label2} is {value2}.",
    ),
}
"""Two attributes of one entity."""

HEADINGS = {
    "ko": ("{label} 모음", "{label} 한눈에 보기", "외워 둘 것: {label}", "{label} 목록"),
    "en": ("List: {label}", "At a glance: {label}", "To remember: {label}", "Notes on {label}"),
}

STORIES = {
    "ko": {
        "person": (
            "옛날이야기가 아니라 요즘 이야기[이]. {name}{은/는} {city}에서 [태어났]. {name}{은/는} 낮에는 {job}{으로/로} "
            "일하고 저녁에는 {instrument}{을/를} [연주했]. 어느 날 손님이 찾아오자 {name}{은/는} 좋아하는 {food}{을/를} "
            "[대접했]. 두 사람은 {hobby} 이야기를 하며 밤을 [새웠].",
            "{job}인 {name}에게 드디어 휴가가 [생겼]. {name}{은/는} 먼저 고향 {city}에 [갔]. 점심으로 {food}{을/를} 먹고, "
            "오후에는 {hobby}{을/를} [즐겼]. 밤이 되자 {name}의 방에서 {instrument} 소리가 [흘러나왔].",
            "{name}의 생일이 [되었]. 친구들은 {name}{이/가} 좋아하는 {food}{을/를} 상에 [차렸]. {city}에서 온 동생은 취미인 "
            "{hobby}에 쓸 물건을 [선물했]. {name}{은/는} 고마워서 {instrument}{을/를} 한 곡 [연주했]. 내일이면 {name}{은/는} "
            "다시 {job}의 자리로 [돌아가].",
            "신입 기자가 {name}{을/를} [만났]. {name}{은/는} 자기를 {job}{이라/라}고 [소개했]. {name}{은/는} {city}에서 보낸 어린 "
            "시절과 {instrument}{을/를} 배운 이야기를 [했]. 그리고 {name}{은/는} {hobby}{이/가} 취미이고 {food}{을/를} 가장 "
            "좋아한다고 [말했].",
        ),
        "town": (
            "{month}{이/가} 되어 우리는 {name} 축제에 [갔]. {name} 입구에서 {animal} 깃발이 우리를 [맞았]. {name}의 길가에는 "
            "{flower}{이/가} 피어 [있었]. 우리는 {sight} 앞에서 사진을 찍고 {name}의 {product}{을/를} [샀].",
            "{name}에 사는 아이가 엽서를 [썼]. 엽서에는 {name}의 {sight}{이/가} 그려져 [있었]. 아이는 {product}{을/를} 함께 "
            "보낸다고 [적었]. 그리고 {month} 축제에 {name}{으로/로} 놀러 오라고 [했]. 우표에는 {name}의 상징인 {animal}{과/와} "
            "{flower}{이/가} [있었].",
        ),
        "film": (
            "{year}에 나온 영화 '{name}'{을/를} 다시 [보았]. 감독 {director}{은/는} 이 영화를 {country}에서 [찍었]. 영화 '{name}'의 "
            "주인공은 {hero}{이고/고}, 그가 찾는 것은 {thing}[이].",
            "극장 주인은 영화 '{name}'{을/를} 가장 [좋아했]. 그는 {director} 감독이 {country}에서 촬영한 이야기를 자주 [했]. 영화 "
            "'{name}'에서는 {hero}{이/가} {thing}{을/를} [찾]. 처음 상영한 해는 {year}[이].",
        ),
        "animal": (
            "아이들이 {name}{을/를} 보러 {home}{으로/로} [갔]. 몸이 {colour}인 {name}{이/가} {diet}{을/를} 먹고 [있었]. 그때 "
            "{fear}{이/가} 나타나자 {name}{은/는} 재빨리 [숨었]. 선생님은 {name}{이/가} {age}을 산다고 [말했].",
            "아기 {name}{이/가} 처음 집을 [나섰]. {home}에서 자란 {name}{은/는} {diet}{을/를} 찾아다[녔]. {name}{은/는} {fear}{이/가} "
            "무서웠지만 {colour} 몸을 펴고 용기를 [냈]. 그 {name}{은/는} {age}을 [살았].",
        ),
        "shop": (
            "{street}{을/를} 걷다가 {sign} 간판을 [보았]. 그곳이 바로 {name}[이]. {name}의 주인 {owner}{이/가} {goods}{을/를} "
            "[보여 주었]. {name}{은/는} {year}에 문을 연 가게라고 [했].",
            "비를 피해 {name}에 [들어갔]. {name}{은/는} {goods}{을/를} 파는 가게[이]. 주인 {owner}{은/는} {name}{이/가} {year}부터 "
            "{street}에 있었다고 [말했]. 나오면서 보니 {name}의 간판은 {sign}[이].",
        ),
    },
    "en": {
        "person": (
            "This is not an old tale. {name} was born in {city}. By day {name} works as {job}, and in the evening {name} "
            "plays {instrument}. One day a guest came, and {name} served {food}, the best food of all for {name}. They talked "
            "about {hobby}, the hobby of {name}, all night.",
            "At last {name}, who is {job}, had a holiday. First {name} went home to {city}. For lunch there was {food}, which "
            "{name} loves, and in the afternoon there was time for {hobby}. At night {name} played {instrument}.",
            "It was the birthday of {name}. Friends put {food}, the favourite of {name}, on the table. A brother came from "
            "{city}, the home town, with a gift for {hobby}. To thank them {name} played {instrument}. Tomorrow {name} will be "
            "{job} again.",
            "A young reporter met {name}. {name} said: I am {job}. {name} spoke of a childhood in {city} and of learning "
            "{instrument}. Then {name} said that {hobby} is a fine hobby and that no food is as good as {food}.",
        ),
        "town": (
            "In {month} we went to the festival of {name}. At the gate of {name} the flag showed {animal}. In the gardens of "
            "{name} grew {flower}. We took a picture of {sight} and bought {product} in {name}.",
            "A child from {name} wrote a postcard. The card showed {sight} in {name}. The child sent {product} along and said: "
            "come to {name} for the festival in {month}. The stamp showed the symbols of {name}, {animal} and {flower}.",
        ),
        "film": (
            "I saw the film {name} from {year} again. The director {director} shot the film {name} in {country}. The hero of "
            "the film {name} is {hero}, and the hero looks for {thing}.",
            "The owner of the cinema likes the film {name} best. {director} directed it in {country}, and it came out in "
            "{year}. The film {name} tells of {hero} and of the search for {thing}.",
        ),
        "animal": (
            "The children went to see the {name}, which lives in {home}. The {name}, all {colour}, was eating {diet}. The "
            "teacher said that the {name} is afraid of {fear} and lives for {age}.",
            "A young {name} left its home in {home} for the first time. The {name} looked for {diet} to eat. The {name} was "
            "afraid of {fear}, but its {colour} body gave it courage. That {name} lived for {age}.",
        ),
        "shop": (
            "We walked down {street} until we saw the {sign} sign of {name}. The owner of {name}, {owner}, showed us "
            "{goods}. The shop {name} opened in {year}.",
            "It rained, so we went into {name}. The shop {name} sells {goods}. The owner, {owner}, said that {name} has been on "
            "{street} since {year}. The sign of {name} is {sign}.",
        ),
    },
}
