"""How the bundled world is told in Korean: hand-written sentences and questions for every attribute.

A block is `# attribute label question-word` (`_` for a space; the owner takes 이/가 instead of 의 before a `+label`); `>` marks a sentence that may be cut before the value and completed, `?` a
question. `{name}` and `{value}` are the slots, `[stem]` a predicate (see endings.py), `{은/는}` a particle.
"""

GENERIC = """
> {name}{of} {label}{은/는} {value}[이].
> 사람들이 아는 {name}{of} {label}{은/는} {value}[이].
> 기록에 따르면 {name}{of} {label}{은/는} {value}[이].
> 잘 알려진 대로 {name}{of} {label}{은/는} {value}[이].
> 백과사전에서 찾아보면 {name}{of} {label}{은/는} {value}[이].
> 모두 알다시피 {name}{of} {label}{은/는} {value}[이].
> 누가 물어도 {name}{of} {label}{은/는} {value}[이].
{value}, 이것이 바로 {name}{of} {label}[이].
{name}{of} {label}{이/가} {value}{이라/라}는 것은 널리 알려져 [있].
{name}{of} {label}{을/를} 아는 사람은 모두 {value}{이라/라}고 [말하].
{name}{of} {label}{은/는} 다름 아닌 {value}[이].
{name}{of} {label}, 그것은 {value}[이].
? {name}{of} {label}{은/는} {wh}인가요?
? {name}{of} {label}{은/는} {wh}입니까?
? {name}{of} {label}{을/를} 알려줘.
? {name}{of} {label}{을/를} 알려주세요.
? {name}{of} {label}{이/가} {wh}인지 말해줘.
? {name}{of} {label}, 혹시 아세요?
"""

PERSON = """
# job 직업 무엇
> {name}{은/는} 먹고살기 위해 {value}{으로/로} [일하].
> {name}{이/가} 고른 직업은 {value}[이].
> {name}{은/는} 직업이 {value}[이].
{name}{은/는} 오랫동안 {value}{으로/로} [일했].
{value}인 {name}{은/는} 아침 일찍 일터로 [가].
{name}{은/는} 어릴 때의 꿈대로 {value}{이/가} [되었].
이웃들은 {name}{을/를} 솜씨 좋은 {value}{이라/라}고 [부르].
{name}의 명함에는 {value}{이라/라}고 적혀 [있].
{name}{은/는} 올해 {value} 일을 시작한 지 십 년이 [되었].
{name}{은/는} {value}{으로/로} 일하는 것을 자랑스럽게 [생각하].
? {name}{은/는} 무슨 일을 하나요?
? {name}{은/는} 어떤 직업을 가지고 있어요?
? {name}의 직업이 뭐예요?
? {name}{은/는} 무슨 일을 하는 사람이야?
# city 고향 어디
> {name}{이/가} 태어난 도시는 {value}[이].
> {name}{이/가} 자란 곳은 {value}[이].
> {name}{은/는} 고향이 {value}[이].
{name}{은/는} {value}에서 [태어났].
{name}{은/는} {value}에서 나고 [자랐].
{name}{은/는} 명절마다 고향 {value}{으로/로} 내려[가].
{name}{은/는} 지금도 고향인 {value}{을/를} [그리워하].
{name}의 집안은 대대로 {value}에서 [살았].
{value}{은/는} {name}{이/가} 어린 시절을 보낸 고향[이].
{name}{은/는} {value}에서 학교를 다녔고, 그곳이 고향[이].
? {name}{은/는} 어디에서 태어났나요?
? {name}{이/가} 태어난 도시는 어디예요?
? {name}의 고향이 어디야?
? {name}{은/는} 어느 도시 출신인가요?
# hobby 취미 무엇
> {name}{이/가} 주말마다 즐기는 취미는 {value}[이].
> {name}{이/가} 쉬는 날 하는 일은 {value}[이].
> {name}{은/는} 취미가 {value}[이].
{name}{은/는} 시간이 날 때마다 {value}{을/를} [즐기].
{name}{은/는} 요즘 취미로 {value}에 푹 빠져 [있].
{name}{은/는} 일요일이면 {value}에 온종일을 [보내].
{name}{은/는} 친구들과 함께 {value}{을/를} [즐겼].
{name}에게 가장 큰 즐거움은 {value}[이].
{name}{은/는} {value} 모임에 한 번도 빠진 적이 [없].
{value}{은/는} {name}{이/가} 오래 이어 온 취미[이].
? {name}{은/는} 쉬는 날 무엇을 하나요?
? {name}{은/는} 어떤 취미를 가지고 있어요?
? {name}의 취미가 뭐예요?
? {name}{은/는} 취미로 무엇을 즐기나요?
# food +좋아하는_음식 무엇
> {name}{이/가} 가장 좋아하는 음식은 {value}[이].
> {name}{이/가} 매일 먹고 싶어 하는 음식은 {value}[이].
> {name}{이/가} 식당에서 늘 고르는 음식은 {value}[이].
{name}{은/는} {value}{을/를} 아주 [좋아하].
{name}{은/는} 생일마다 {value}{을/를} [먹].
{name}{은/는} 음식 중에서 {value}{을/를} 제일 [좋아하].
{name}의 입맛을 사로잡은 음식은 {value}[이].
{name}{은/는} {value}{을/를} 먹으면 피곤이 풀린다고 [말하].
{name}{은/는} 맛있는 {value}{을/를} 찾아 먼 길을 [가].
{value}{은/는} {name}{이/가} 가장 좋아하는 음식[이].
? {name}{이/가} 가장 좋아하는 음식은 무엇인가요?
? {name}{은/는} 어떤 음식을 좋아해요?
? {name}{이/가} 제일 좋아하는 음식이 뭐예요?
? {name}{은/는} 무슨 음식을 가장 좋아하나요?
# instrument +다루는_악기 무엇
> {name}{이/가} 연주하는 악기는 {value}[이].
> {name}{이/가} 배운 악기는 {value}[이].
> {name}{이/가} 가장 잘 다루는 악기는 {value}[이].
{name}{은/는} 저녁마다 {value}{을/를} [연주하].
{name}{은/는} {value} 연주를 참 [잘하].
{name}{은/는} 열 살 때부터 {value}{을/를} [배웠].
{name}{은/는} 동네 음악회에서 {value}{을/를} [연주했].
{name}의 방에는 오래된 {value}{이/가} [있].
악기 중에서 {name}{은/는} {value}{을/를} [다루].
{value}{은/는} {name}{이/가} 다루는 악기[이].
? {name}{은/는} 어떤 악기를 연주하나요?
? {name}{이/가} 다루는 악기가 뭐예요?
? {name}{은/는} 무슨 악기를 다뤄요?
? {name}{이/가} 연주하는 악기는 무엇인가요?
"""

TOWN = """
# product 특산물 무엇
> {name}에서 가장 많이 나는 특산물은 {value}[이].
> {name}{이/가} 자랑하는 특산물은 {value}[이].
> {name} 시장에서 가장 잘 팔리는 특산물은 {value}[이].
{name}{은/는} 예로부터 {value}{으로/로} [유명하].
{name}에 가면 누구나 {value}{을/를} [사].
{name} 사람들은 해마다 좋은 {value}{을/를} 시장에 [내놓았].
{name}의 {value}{은/는} 전국으로 팔려 [가].
{name}에서는 집집마다 {value}{을/를} [팔].
{value} 하면 사람들은 {name}{을/를} [떠올리].
{name}에서 온 손님은 선물로 {value}{을/를} [가져왔].
? {name}에서는 무엇이 유명한가요?
? {name}의 특산물이 뭐예요?
? {name}에 가면 무엇을 사야 하나요?
? {name}에서 나는 특산물은 무엇인가요?
# sight 명소 무엇
> {name}에서 꼭 봐야 할 명소는 {value}[이].
> {name}에서 가장 이름난 볼거리는 {value}[이].
> {name}{을/를} 찾은 사람들이 사진을 찍는 명소는 {value}[이].
{name}의 {value}{은/는} 많은 사람이 찾는 명소[이].
{name}에는 오래된 {value}{이/가} [있].
여행자들은 {name}에서 가장 먼저 {value}{을/를} [찾].
{name} 그림엽서에는 언제나 {value}{이/가} [나오].
{name} 한가운데에서는 {value}{이/가} [보이].
{name} 아이들은 {value} 앞에서 자주 [모이].
{value}{을/를} 보려고 {name}{을/를} 찾는 사람이 [많].
? {name}에서 꼭 봐야 할 명소는 무엇인가요?
? {name}의 명소가 뭐예요?
? {name}에 가면 어떤 명소를 볼 수 있나요?
? {name}에서 가장 이름난 볼거리는 무엇인가요?
# month 축제_달 몇_월
> {name}에서 축제가 열리는 달은 {value}[이].
> {name}의 큰 축제는 해마다 {value}에 [열리].
> {name}{이/가} 가장 붐비는 축제 달은 {value}[이].
{name} 사람들은 {value}에 큰 축제를 [열].
{name}의 축제를 보려면 {value}에 가야 [하].
{name}의 거리는 축제가 열리는 {value}에 등불로 [빛나].
{name}에서는 해마다 {value}{이/가} 되면 축제가 [시작되].
{name} 축제의 달은 {value}{이라/라}고 달력에 적혀 [있].
{value}{은/는} {name}에서 축제가 열리는 달[이].
작년 {value}에도 {name}에서 축제가 [열렸].
? {name}의 축제는 몇 월에 열리나요?
? {name}에서 축제가 열리는 달은 언제인가요?
? {name} 축제를 보려면 몇 월에 가야 해요?
? {name} 축제는 몇 월이에요?
# animal 상징_동물 무엇
> {name}{을/를} 상징하는 동물은 {value}[이].
> {name}의 깃발에 그려진 동물은 {value}[이].
> {name}{이/가} 마을의 동물로 정한 것은 {value}[이].
{name}의 깃발에는 {value}{이/가} 그려져 [있].
{name} 사람들은 {value}{을/를} 마을의 상징으로 [여겼].
{name}{은/는} 오래전 {value}{을/를} 상징 동물로 [골랐].
{name}의 동상은 {value} 모양[이].
{name} 아이들은 {value} 인형을 들고 행진을 [하].
{value}{은/는} {name}의 상징 동물[이].
{name} 입구에는 상징인 {value} 조각이 서 [있].
? {name}{을/를} 상징하는 동물은 무엇인가요?
? {name}의 상징 동물이 뭐예요?
? {name}의 깃발에는 어떤 동물이 있나요?
? {name}{은/는} 어떤 동물을 상징으로 삼나요?
# flower 상징_꽃 무엇
> {name}{을/를} 상징하는 꽃은 {value}[이].
> {name}의 꽃으로 정해진 것은 {value}[이].
> {name} 길가에 가장 많이 심은 꽃은 {value}[이].
{name}의 공원에는 {value}{이/가} 가득 [피].
{name} 사람들은 {value}{을/를} 마을의 꽃으로 [골랐].
{name}의 꽃 하면 누구나 {value}{을/를} [떠올리].
{name}{은/는} 마을의 꽃으로 {value}{을/를} [아꼈].
{name}에서는 결혼식 때 {value}{을/를} [꽂았].
{value}{은/는} {name}의 상징 꽃[이].
{name}의 창가마다 상징 꽃인 {value}{이/가} [있].
? {name}{을/를} 상징하는 꽃은 무엇인가요?
? {name}의 상징 꽃이 뭐예요?
? {name}{은/는} 어떤 꽃을 상징으로 정했나요?
? {name}의 꽃은 무슨 꽃이에요?
"""

FILM = """
# director 감독 누구
> 영화 '{name}'{을/를} 만든 감독은 {value}[이].
> 영화 '{name}'의 연출을 맡은 사람은 {value}[이].
> 영화 '{name}' 포스터에 적힌 감독은 {value}[이].
영화 '{name}'{은/는} {value} 감독이 [만들었].
{value} 감독의 대표작은 영화 '{name}'[이].
{value}{은/는} 영화 '{name}'{으로/로} 상을 받은 감독[이].
영화 '{name}'{을/를} 찍을 때 {value} 감독은 잠을 거의 자지 [못했].
영화 '{name}'{은/는} {value}{이/가} 감독한 작품[이].
관객들은 영화 '{name}'{을/를} 보고 감독 {value}에게 박수를 [보냈].
영화 '{name}'의 감독은 {value}{이라/라}고 [알려졌].
? 영화 '{name}'{은/는} 누가 만들었나요?
? 영화 '{name}'{을/를} 감독한 사람은 누구예요?
? 영화 '{name}'의 감독이 누구야?
? 영화 '{name}'의 연출은 누가 맡았나요?
# year 개봉_연도 몇_년
> 영화 '{name}'{이/가} 개봉한 해는 {value}[이].
> 영화 '{name}'{이/가} 처음 상영된 해는 {value}[이].
> 극장에 영화 '{name}'{이/가} 걸린 해는 {value}[이].
영화 '{name}'{은/는} {value}에 [개봉했].
사람들은 {value}에 처음으로 영화 '{name}'{을/를} [보았].
영화 '{name}'{은/는} {value} 작품[이].
{value} 가을, 극장에 영화 '{name}'{이/가} [걸렸].
영화 '{name}'의 포스터에는 {value} 개봉이라고 적혀 [있].
영화 '{name}'{은/는} {value}에 세상에 [나왔].
{value}에 나온 영화 가운데 '{name}'{이/가} 가장 [유명하].
? 영화 '{name}'{은/는} 몇 년에 개봉했나요?
? 영화 '{name}'{은/는} 언제 나왔어요?
? 영화 '{name}'의 개봉 연도가 어떻게 되나요?
? 영화 '{name}'{이/가} 처음 상영된 해는 언제인가요?
# country 촬영지 어디
> 영화 '{name}'{을/를} 찍은 나라는 {value}[이].
> 영화 '{name}'의 배우들이 머문 촬영지는 {value}[이].
> 영화 '{name}'의 풍경이 담긴 나라는 {value}[이].
영화 '{name}'{은/는} {value}에서 [촬영했].
영화 '{name}'의 촬영은 석 달 동안 {value}에서 이루어[졌].
영화 '{name}'{을/를} 찍으려고 배우들은 {value}{으로/로} [떠났].
{value}의 산과 들이 영화 '{name}'에 [나오].
영화 '{name}' 덕분에 {value}{을/를} 찾는 여행자가 [늘었].
{value}{은/는} 영화 '{name}'{을/를} 촬영한 나라[이].
영화 '{name}'의 모든 장면은 {value}에서 [찍었].
? 영화 '{name}'{은/는} 어느 나라에서 찍었나요?
? 영화 '{name}'의 촬영지가 어디예요?
? 영화 '{name}'{은/는} 어디에서 촬영했어요?
? 영화 '{name}'{을/를} 찍은 나라는 어디인가요?
# hero 주인공 누구
> 영화 '{name}'의 주인공은 {value}[이].
> 영화 '{name}'{은/는} 한 사람의 이야기인데, 그 주인공은 {value}[이].
> 영화 '{name}'에서 배우가 맡은 주인공은 {value}[이].
영화 '{name}'{은/는} 어느 {value}의 이야기를 [들려주].
영화 '{name}'에는 외로운 {value}{이/가} 주인공으로 [나오].
영화 '{name}'의 첫 장면에서 {value}{이/가} 홀로 길을 [걷].
영화 '{name}'{은/는} 용감한 {value}{을/를} 주인공으로 [삼].
주인공인 {value}{은/는} 영화 '{name}'에서 긴 여행을 [떠나].
관객들은 영화 '{name}'의 {value}{을/를} 오래 [기억하].
{value}{이/가} 주인공인 영화는 '{name}'[이].
? 영화 '{name}'의 주인공은 어떤 사람인가요?
? 영화 '{name}'의 주인공이 누구예요?
? 영화 '{name}'에는 누가 주인공으로 나오나요?
? 영화 '{name}'의 주인공은 무슨 일을 하나요?
# thing 주인공이_찾는_물건 무엇
> 영화 '{name}'의 주인공이 찾는 것은 {value}[이].
> 영화 '{name}'에서 모두가 찾아다니는 물건은 {value}[이].
> 영화 '{name}'의 이야기를 이끄는 물건은 {value}[이].
영화 '{name}'에서 주인공은 {value}{을/를} [찾].
영화 '{name}'{은/는} 사라진 {value}{을/를} 찾는 이야기[이].
영화 '{name}'의 주인공은 {value}{을/를} 찾아 길을 [떠나].
영화 '{name}'의 마지막에 {value}{이/가} [나타나].
영화 '{name}'에서는 모두가 {value}{을/를} 손에 넣고 싶어 [하].
{value}{은/는} 영화 '{name}'에서 가장 중요한 물건[이].
영화 '{name}' 포스터에는 주인공이 찾는 {value}{이/가} 그려져 [있].
? 영화 '{name}'의 주인공은 무엇을 찾나요?
? 영화 '{name}'에서 주인공이 찾는 것이 뭐예요?
? 영화 '{name}'{은/는} 무엇을 찾는 이야기인가요?
? 영화 '{name}'에서 모두가 찾는 물건은 무엇인가요?
"""

ANIMAL = """
# home +사는_곳 어디
> {name}{이/가} 집으로 삼는 곳은 {value}[이].
> {name}{을/를} 만날 수 있는 곳은 {value}[이].
> {name}{이/가} 새끼를 기르는 곳은 {value}[이].
{name}{은/는} {value}에서 [살].
{name}{은/는} 주로 {value}에서 볼 수 [있].
{name}{을/를} 보고 싶으면 {value}{으로/로} 가면 [되].
{name}{은/는} 평생 {value}{을/를} 떠나지 [않].
{name}의 보금자리는 {value}에 [있].
{value}{은/는} {name}{이/가} 사는 곳[이].
해 질 무렵 {value}에서는 {name}{이/가} [나타나].
? {name}{은/는} 어디에서 사나요?
? {name}{이/가} 사는 곳이 어디예요?
? {name}{은/는} 어디에 살아?
? {name}{을/를} 보려면 어디로 가야 하나요?
# diet 먹이 무엇
> {name}{이/가} 가장 잘 먹는 먹이는 {value}[이].
> {name}{이/가} 겨울을 위해 모으는 먹이는 {value}[이].
> {name}{이/가} 새끼에게 주는 먹이는 {value}[이].
{name}{은/는} {value}{을/를} [먹].
{name}{은/는} 배가 고프면 {value}{을/를} [찾].
{name}{은/는} 아침마다 {value}{을/를} 배불리 [먹].
{name}{은/는} {value} 없이는 하루도 살 수 [없].
{name}의 밥상에는 늘 {value}{이/가} [있].
{value}{은/는} {name}의 먹이[이].
{name}{은/는} {value}{을/를} 먹고 [살].
? {name}{은/는} 무엇을 먹나요?
? {name}의 먹이가 뭐예요?
? {name}{은/는} 뭘 먹고 살아요?
? {name}{이/가} 가장 잘 먹는 먹이는 무엇인가요?
# colour 몸_색깔 무슨_색
> {name}의 몸은 온통 {value}[이].
> {name}의 털빛은 {value}[이].
> 멀리서 본 {name}의 색깔은 {value}[이].
{name}{은/는} {value} 몸을 가지고 [있].
{name}{은/는} 태어날 때부터 몸이 {value}[이].
{name}{은/는} 햇빛을 받으면 {value}{으로/로} [빛나].
그림책 속 {name}{은/는} {value}{으로/로} 칠해져 [있].
{name}의 색깔을 그리려면 {value} 물감이 있어야 [하].
{value}{은/는} {name}의 몸 색깔[이].
{name}{은/는} {value} 몸 덕분에 눈에 잘 [띄었].
? {name}{은/는} 무슨 색인가요?
? {name}의 몸은 무슨 색이에요?
? {name}의 몸 색깔이 뭐예요?
? {name}{은/는} 어떤 색깔을 띠나요?
# age 수명 몇_년
> {name}{이/가} 사는 기간은 {value}[이].
> 동물학자들이 밝힌 {name}의 수명은 {value}[이].
> {name}의 평균 수명은 약 {value}[이].
{name}{은/는} 보통 {value}을 [살].
{name}{은/는} 건강하면 {value}까지 [살].
{name}의 일생은 {value} 동안 이어[졌].
{name}{은/는} 태어나서 {value}을 살고 숨을 [거두었].
{name}{을/를} 기르려면 {value} 동안 돌봐야 [하].
{value}은 {name}의 수명[이].
동물원의 {name}{은/는} {value}을 [살았].
? {name}{은/는} 몇 년을 사나요?
? {name}의 수명이 얼마나 돼요?
? {name}{은/는} 얼마나 오래 살아요?
? {name}의 평균 수명은 몇 년인가요?
# fear +무서워하는_것 무엇
> {name}{이/가} 가장 무서워하는 것은 {value}[이].
> {name}{이/가} 피해 다니는 것은 {value}[이].
> {name}{을/를} 벌벌 떨게 하는 것은 {value}[이].
{name}{은/는} {value}{을/를} 몹시 [무서워하].
{name}{은/는} {value}{을/를} 보면 재빨리 [숨].
{name}{은/는} 무엇보다 {value}{을/를} 두려워[하].
{name}{은/는} {value} 때문에 밤새 [떨].
{name}{을/를} 쫓는 데에는 {value}{이/가} 가장 [좋].
{value}{은/는} {name}{이/가} 무서워하는 것[이].
겁 많은 {name}{은/는} {value} 앞에서 꼼짝도 하지 [못했].
? {name}{은/는} 무엇을 무서워하나요?
? {name}{이/가} 무서워하는 것이 뭐예요?
? {name}{은/는} 뭘 가장 무서워해요?
? {name}{이/가} 피해 다니는 것은 무엇인가요?
"""

SHOP = """
# goods +파는_물건 무엇
> {name}에서 파는 물건은 {value}[이].
> {name}에서 가장 잘 팔리는 것은 {value}[이].
> 손님들이 {name}에서 사 가는 것은 {value}[이].
{name}에서는 {value}{을/를} [팔].
{name}{은/는} 예쁜 {value}{으로/로} 이름난 가게[이].
{name}의 선반에는 {value}{이/가} 가득 놓여 [있].
{value}{이/가} 필요한 사람은 {name}{을/를} [찾].
{name}{은/는} 처음부터 {value}만 [팔았].
{value}{은/는} {name}의 대표 상품[이].
나는 어제 {name}에서 {value}{을/를} [샀].
? {name}에서는 무엇을 파나요?
? {name}{은/는} 뭘 파는 가게예요?
? {name}에 가면 무엇을 살 수 있나요?
? {name}에서 파는 물건이 뭐예요?
# street 위치 어디
> {name}{이/가} 있는 길은 {value}[이].
> {name}{을/를} 찾으려면 가야 하는 길은 {value}[이].
> {name}의 주소에 적힌 길은 {value}[이].
{name}{은/는} {value}에 [있].
{name}의 문은 {value} 쪽으로 열려 [있].
{value}{을/를} 걷다 보면 {name}{이/가} [나오].
{name}{은/는} 오래전부터 {value}에 자리를 [잡았].
{name}에 가는 손님들은 {value}{을/를} 따라 [걷].
{value}에는 이름난 가게 {name}{이/가} [있].
편지 봉투에는 {value}, {name}{이라/라}고 적혀 [있].
? {name}{은/는} 어느 길에 있나요?
? {name}의 위치가 어디예요?
? {name}{은/는} 어디에 있어요?
? {name}에 가려면 어느 길로 가야 하나요?
# owner 주인 누구
> {name}{을/를} 운영하는 사람은 {value}[이].
> {name}의 문을 여는 사람은 {value}[이].
> {name}에서 손님을 맞는 주인은 {value}[이].
{name}{은/는} {value}의 가게[이].
{name}의 주인 {value}{은/는} 늘 웃으며 손님을 [맞].
{value}{은/는} 아침마다 {name}의 문을 [열].
{name}에 가면 주인인 {value}{이/가} 반갑게 [인사하].
{value}{이/가} 없는 {name}{은/는} 생각할 수 [없].
{name}{은/는} {value}{이/가} 주인으로 있는 가게[이].
{value}{은/는} {name}의 주인[이].
? {name}의 주인은 누구예요?
? {name}{은/는} 누구의 가게인가요?
? {name}{을/를} 운영하는 사람은 누구인가요?
? {name}에서는 누가 손님을 맞나요?
# year +문을_연_해 몇_년
> {name}{이/가} 처음 문을 연 해는 {value}[이].
> {name}의 역사가 시작된 해는 {value}[이].
> {name}의 간판에 새겨진 해는 {value}[이].
{name}{은/는} {value}에 문을 [열었].
{name}{은/는} {value}부터 한자리를 [지켰].
{value}은 {name}{이/가} 시작된 해[이].
{name}{이/가} 첫 손님을 맞은 것은 {value}[이].
{name}의 벽에는 {value}에 찍은 사진이 [있].
{value} 봄, {name}{이/가} 문을 [열었].
{name}{은/는} {value}에 세워진 오래된 가게[이].
? {name}{은/는} 몇 년에 문을 열었나요?
? {name}{은/는} 언제 생겼어요?
? {name}{이/가} 문을 연 해는 언제인가요?
? {name}{은/는} 언제부터 장사를 했나요?
# sign 간판_색 무슨_색
> {name}의 간판은 {value}[이].
> {name} 문 위에 걸린 간판의 색은 {value}[이].
> 멀리서 보이는 {name} 간판의 색은 {value}[이].
{name}에는 {value} 간판이 걸려 [있].
{name}{은/는} 간판을 {value}{으로/로} [칠했].
{value} 간판이 보이면 그곳이 {name}[이].
{name}의 {value} 간판은 밤에도 눈에 잘 [띄었].
{name}{은/는} {value} 간판으로 [유명하].
{value}{은/는} {name}의 간판 색[이].
길을 잃으면 {name}의 {value} 간판을 찾으면 [되].
? {name}의 간판은 무슨 색인가요?
? {name}의 간판 색이 뭐예요?
? {name}{은/는} 어떤 색 간판을 달았나요?
? {name}에 걸린 간판은 무슨 색이에요?
"""

BLOCKS = {"person": PERSON, "town": TOWN, "film": FILM, "animal": ANIMAL, "shop": SHOP}
