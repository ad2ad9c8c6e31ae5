"""Why things are as they are: everyday explanations of two sentences, in Korean and English.

In: nothing; written by hand. Out: `KOREAN` rows (subject, what it does before a noun, explanation) and `ENGLISH` rows
(statement, question after "why", explanation), in the same order.
"""

from dodam.sample.lexicon import table


def _rows(text: str) -> tuple[tuple[str, str, str], ...]:
    """The rows of lines in pairs: what is explained (two cells), then the explanation."""
    lines = text.strip().splitlines()
    heads = table("\n".join(lines[::2]))
    return tuple((what, why, answer) for (what, why), answer in zip(heads, lines[1::2], strict=True))


KOREAN = _rows("""
하늘이 | 파란
햇빛이 공기를 지날 때 파란빛이 가장 많이 흩어져요. 그래서 하늘이 파랗게 보여요.
노을이 | 빨간
저녁에는 햇빛이 공기를 길게 지나와요. 그동안 파란빛은 흩어지고 빨간빛이 남아요.
바다가 | 짠
강물이 땅의 소금을 바다로 옮겨요. 물은 증발하지만 소금은 바다에 남아요.
비가 | 오는
구름 속의 작은 물방울이 모여서 무거워져요. 무거워진 물방울이 떨어지면 비가 돼요.
눈이 | 오는
추운 구름 속에서 물이 얼어 눈송이가 돼요. 눈송이가 녹지 않고 떨어지면 눈이 와요.
무지개가 | 생기는
햇빛이 빗방울을 지나면서 여러 색으로 나뉘어요. 그 색들이 하늘에 무지개로 보여요.
바람이 | 부는
따뜻한 공기는 위로 올라가고 찬 공기가 그 자리로 와요. 이렇게 공기가 움직이면 바람이 불어요.
천둥이 | 치는
번개가 치면 주변 공기가 갑자기 뜨거워져요. 공기가 빠르게 커지면서 큰 소리가 나요.
얼음이 | 물에 뜨는
물은 얼면 부피가 커져요. 그래서 얼음은 물보다 가벼워서 떠요.
얼음이 | 녹는
얼음은 따뜻해지면 열을 받아요. 열을 받으면 얼음이 물로 변해요.
물이 | 끓는
물을 데우면 물속에서 수증기가 생겨요. 수증기 방울이 위로 올라오면서 물이 끓어요.
낮과 밤이 | 있는
지구는 하루에 한 번 스스로 돌아요. 해를 향한 쪽은 낮이고 반대쪽은 밤이에요.
계절이 | 바뀌는
지구는 기울어진 채로 해의 둘레를 돌아요. 그래서 햇빛을 받는 양이 달라져 계절이 바뀌어요.
달이 | 밝은
달은 스스로 빛을 내지 않아요. 햇빛을 반사해서 밝게 보여요.
달의 모양이 | 변하는
달은 지구의 둘레를 돌아요. 햇빛을 받는 쪽이 다르게 보여서 모양이 변해요.
별이 | 반짝이는
별빛은 움직이는 공기를 지나서 와요. 공기가 빛을 흔들어서 별이 반짝여요.
여름이 | 더운
여름에는 해가 높이 뜨고 낮이 길어요. 그래서 땅이 햇빛을 많이 받아 더워요.
겨울이 | 추운
겨울에는 해가 낮게 뜨고 낮이 짧아요. 그래서 땅이 햇빛을 적게 받아 추워요.
나뭇잎이 | 초록색인
잎에는 초록색 엽록소가 들어 있어요. 엽록소는 햇빛으로 양분을 만들어요.
단풍이 | 드는
가을이 되면 잎 속의 초록색 엽록소가 줄어들어요. 그러면 숨어 있던 빨강과 노랑이 보여요.
나무가 | 중요한
나무는 공기를 깨끗하게 하고 그늘을 만들어요. 많은 동물도 나무에서 살아요.
꽃이 | 향기로운
꽃은 향기로 벌과 나비를 불러요. 벌과 나비는 꽃가루를 옮겨 줘요.
식물에 물이 | 필요한
식물은 뿌리로 물을 마셔요. 물이 있어야 양분을 만들고 자랄 수 있어요.
새가 | 나는
새는 날개로 공기를 아래로 밀어요. 몸과 뼈가 가벼워서 쉽게 날 수 있어요.
물고기가 | 물속에서 숨 쉬는
물고기에게는 아가미가 있어요. 아가미로 물속의 산소를 마셔요.
고양이가 | 수염이 있는
고양이는 수염으로 가까운 물건을 느껴요. 어두운 곳에서도 수염 덕분에 길을 찾아요.
개가 | 꼬리를 흔드는
개는 꼬리로 기분을 보여 줘요. 기쁠 때 꼬리를 많이 흔들어요.
벌이 | 꿀을 모으는
벌은 꽃에서 꿀을 모아 집에 저장해요. 꽃이 없는 겨울에 그 꿀을 먹어요.
곰이 | 겨울잠을 자는
겨울에는 먹을 것이 적어요. 곰은 잠을 자면서 힘을 아껴요.
잠이 | 필요한
자는 동안 몸과 머리가 쉬어요. 잘 자면 다음 날 힘이 나고 기억도 좋아져요.
운동이 | 좋은
운동을 하면 심장과 근육이 튼튼해져요. 기분도 좋아지고 잠도 잘 와요.
손을 | 씻는
손에는 보이지 않는 세균이 많아요. 비누로 씻으면 세균이 줄어서 병을 막을 수 있어요.
이를 | 닦는
음식이 이에 남으면 세균이 자라요. 이를 닦으면 이가 썩지 않아요.
아침을 | 먹는
밤새 우리 몸은 힘을 써요. 아침을 먹으면 공부하고 일할 힘이 생겨요.
채소를 | 먹는
채소에는 비타민과 섬유질이 많아요. 채소를 먹으면 몸이 건강해져요.
책을 | 읽는
책을 읽으면 새로운 것을 배울 수 있어요. 생각하는 힘과 말하는 힘도 자라요.
물을 | 아껴 쓰는
마실 수 있는 물은 많지 않아요. 물을 아껴 쓰면 모두가 오래 쓸 수 있어요.
안전띠를 | 매는
차가 갑자기 멈추면 몸이 앞으로 나가요. 안전띠는 몸을 잡아 다치지 않게 해 줘요.
하품이 | 나는
졸리거나 피곤하면 하품이 나요. 하품을 하면 공기를 깊이 마시고 몸이 조금 깨어나요.
양파를 썰 때 눈물이 | 나는
양파를 썰면 매운 기체가 나와요. 그 기체가 눈에 닿아서 눈물이 나요.
빵이 | 부푸는
반죽 속의 효모가 기체를 만들어요. 기체가 반죽을 밀어 올려서 빵이 부풀어요.
자석이 | 쇠를 당기는
자석 둘레에는 보이지 않는 힘이 있어요. 이 힘이 쇠를 끌어당겨요.
물건이 | 떨어지는
지구는 모든 것을 끌어당겨요. 이 힘을 중력이라고 해요.
그림자가 | 생기는
빛은 곧게 나아가요. 물건이 빛을 막으면 그 뒤에 그림자가 생겨요.
""")

ENGLISH = _rows("""
the sky is blue | is the sky blue
Blue light is scattered most when sunlight passes through the air. So the sky looks blue.
the sunset is red | is the sunset red
In the evening sunlight takes a long way through the air. Blue light is scattered away and red light is left.
the sea is salty | is the sea salty
Rivers carry salt from the land to the sea. The water evaporates, but the salt stays.
it rains | does it rain
Small drops of water in a cloud come together and get heavy. When they fall, it rains.
it snows | does it snow
Water in a cold cloud freezes into snowflakes. When they fall without melting, it snows.
there are rainbows | are there rainbows
Raindrops split sunlight into many colors. We see the colors in the sky as a rainbow.
the wind blows | does the wind blow
Warm air rises and cold air takes its place. This movement of air is the wind.
thunder is loud | is thunder loud
Lightning makes the air around it hot at once. The air grows so fast that we hear a loud sound.
ice floats on water | does ice float on water
Water takes more space when it freezes. So ice is lighter than water and floats.
ice melts | does ice melt
Ice takes in heat when it gets warm. The heat turns the ice into water.
water boils | does water boil
Heat turns some of the water into steam. The bubbles of steam rise, and the water boils.
there are day and night | are there day and night
The earth turns around once a day. The side that faces the sun has day and the other side has night.
the seasons change | do the seasons change
The earth is tilted as it goes around the sun. So we get more or less sunlight, and the seasons change.
the moon is bright | is the moon bright
The moon makes no light of its own. It is bright because it reflects sunlight.
the moon changes its shape | does the moon change its shape
The moon goes around the earth. We see its sunny side from different angles.
stars twinkle | do stars twinkle
Starlight passes through moving air. The air shakes the light, so stars twinkle.
summer is hot | is summer hot
In summer the sun is high and the days are long. The land gets a lot of sunlight.
winter is cold | is winter cold
In winter the sun is low and the days are short. The land gets little sunlight.
leaves are green | are leaves green
Leaves have a green matter called chlorophyll. It makes food from sunlight.
leaves turn red in fall | do leaves turn red in fall
In fall the green matter in the leaves goes away. Then we can see the red and yellow in them.
trees are important | are trees important
Trees clean the air and give shade. Many animals live in trees too.
flowers smell good | do flowers smell good
Flowers call bees and butterflies with their smell. Bees and butterflies carry pollen for them.
plants need water | do plants need water
Plants drink water through their roots. They need it to make food and to grow.
birds can fly | can birds fly
Birds push the air down with their wings. Their light bodies and bones make it easy.
fish can breathe in water | can fish breathe in water
Fish have gills. With the gills they take oxygen from the water.
cats have whiskers | do cats have whiskers
Cats feel things near them with their whiskers. Whiskers help them find the way in the dark.
dogs wag their tails | do dogs wag their tails
Dogs show their feelings with their tails. They wag them a lot when they are happy.
bees make honey | do bees make honey
Bees make honey from flowers and keep it at home. They eat it in winter when there are no flowers.
bears sleep in winter | do bears sleep in winter
There is little food in winter. Bears save energy by sleeping.
we need sleep | do we need sleep
The body and the brain rest during sleep. After good sleep we feel strong and remember well.
exercise is good | is exercise good
Exercise makes the heart and the muscles strong. It also helps us feel good and sleep well.
we wash our hands | do we wash our hands
There are many germs on our hands that we cannot see. Soap takes them away and keeps us healthy.
we brush our teeth | do we brush our teeth
Germs grow when food stays on the teeth. Brushing keeps the teeth healthy.
we eat breakfast | do we eat breakfast
Our body uses energy all night. Breakfast gives us energy to study and work.
we eat vegetables | do we eat vegetables
Vegetables have many vitamins and much fiber. They keep the body healthy.
we read books | do we read books
Books teach us new things. Reading also helps us think and speak well.
we save water | do we save water
There is not much water that we can drink. If we save it, everyone can use it for a long time.
we wear seat belts | do we wear seat belts
The body moves forward when a car stops at once. A seat belt holds the body and keeps it safe.
we yawn | do we yawn
We yawn when we are sleepy or tired. A yawn brings in much air and wakes us up a little.
onions make us cry | do onions make us cry
A cut onion gives off a sharp gas. The gas touches the eyes and makes tears.
bread rises | does bread rise
Yeast in the dough makes gas. The gas pushes the dough up, so bread rises.
magnets pull iron | do magnets pull iron
There is a force around a magnet that we cannot see. This force pulls iron.
things fall | do things fall
The earth pulls everything toward it. This force is called gravity.
there are shadows | are there shadows
Light goes straight. When a thing stops the light, there is a shadow behind it.
""")
