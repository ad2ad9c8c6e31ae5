"""Set phrases in Korean and English: what one says word for word, outside any grammar.

In: nothing; written by hand. Out: `PHRASES`, pairs for translation and for small talk in the pretraining text.
"""

from dodam.sample.lexicon import Pair, table

PHRASES: tuple[Pair, ...] = tuple(
    (korean, english)
    for korean, english in table("""
안녕하세요. | Hello.
안녕히 가세요. | Goodbye.
안녕히 주무세요. | Good night.
좋은 아침이에요. | Good morning.
만나서 반가워요. | Nice to meet you.
고마워요. | Thank you.
정말 고마워요. | Thank you very much.
천만에요. | You are welcome.
미안해요. | I am sorry.
괜찮아요. | It is okay.
실례합니다. | Excuse me.
오랜만이에요. | Long time no see.
잘 지내요? | How are you?
저는 잘 지내요. | I am fine.
이름이 뭐예요? | What is your name?
몇 살이에요? | How old are you?
어디에 살아요? | Where do you live?
어디에서 왔어요? | Where are you from?
지금 몇 시예요? | What time is it now?
오늘이 무슨 요일이에요? | What day is it today?
이것은 얼마예요? | How much is this?
화장실이 어디예요? | Where is the bathroom?
역이 어디예요? | Where is the station?
도와주세요. | Please help me.
천천히 말해 주세요. | Please speak slowly.
다시 말해 주세요. | Please say it again.
잠깐만 기다려 주세요. | Please wait a moment.
들어오세요. | Please come in.
앉으세요. | Please sit down.
조심하세요. | Be careful.
서두르세요. | Hurry up.
걱정하지 마세요. | Do not worry.
포기하지 마세요. | Do not give up.
생일 축하해요. | Happy birthday.
새해 복 많이 받으세요. | Happy New Year.
축하해요. | Congratulations.
행운을 빌어요. | Good luck.
맛있게 드세요. | Enjoy your meal.
잘 먹었습니다. | Thank you for the meal.
건강하세요. | Stay healthy.
빨리 나으세요. | Get well soon.
좋은 하루 보내세요. | Have a nice day.
좋은 여행 되세요. | Have a good trip.
내일 봐요. | See you tomorrow.
나중에 봐요. | See you later.
알겠어요. | I understand.
모르겠어요. | I do not know.
이해하지 못했어요. | I did not understand.
물론이에요. | Of course.
아마도요. | Maybe.
맞아요. | That is right.
틀렸어요. | That is wrong.
좋은 생각이에요. | That is a good idea.
문제없어요. | No problem.
저도 그렇게 생각해요. | I think so too.
그건 사실이 아니에요. | That is not true.
배가 고파요. | I am hungry.
목이 말라요. | I am thirsty.
머리가 아파요. | I have a headache.
배가 아파요. | I have a stomachache.
감기에 걸렸어요. | I have a cold.
길을 잃었어요. | I am lost.
늦어서 미안해요. | I am sorry I am late.
사랑해요. | I love you.
보고 싶어요. | I miss you.
한국어를 할 수 있어요? | Can you speak Korean?
영어를 조금 할 수 있어요. | I can speak a little English.
비가 와요. | It is raining.
눈이 와요. | It is snowing.
바람이 많이 불어요. | It is very windy.
날씨가 좋아요. | The weather is nice.
하늘이 파래요. | The sky is blue.
밖이 어두워요. | It is dark outside.
시간이 없어요. | I have no time.
돈이 없어요. | I have no money.
질문이 있어요. | I have a question.
예약했어요. | I have a reservation.
물 좀 주세요. | Water, please.
계산서 주세요. | The bill, please.
여보세요? | Hello? Who is this?
저는 한국 사람이에요. | I am Korean.
저는 학생이에요. | I am a student.
무슨 일이에요? | What is the matter?
왜 그래요? | Why is that?
누구세요? | Who are you?
정말이에요? | Really?
준비됐어요? | Are you ready?
준비됐어요. | I am ready.
시작합시다. | Let us begin.
집에 갑시다. | Let us go home.
좀 쉽시다. | Let us take a rest.
조용히 해 주세요. | Please be quiet.
여기에 이름을 써 주세요. | Please write your name here.
사진을 찍어도 돼요? | May I take a photo?
여기 앉아도 돼요? | May I sit here?
들어가도 돼요? | May I come in?
""")
)
