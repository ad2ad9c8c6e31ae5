// What the pages say, in Korean and English. One language at a time; the browser's own until another is chosen.
import { keep, recall } from "./kept";

export type Language = "ko" | "en";

const WORDS = {
  // the frame
  chat: ["대화", "Chat"],
  rank: ["순위", "Rank"],
  write: ["쓰기", "Write"],
  otherLanguage: ["English", "한국어"],
  person: ["이름·키", "Name and key"],
  name: ["이름", "Name"],
  apiKey: ["키 (필요할 때만)", "Key (only if asked)"],
  pages: ["쪽", "Pages"],
  nowhere: ["이런 쪽은 없습니다.", "There is no such page."],
  retry: ["서버가 답하지 않습니다. 다시 해 봅니다…", "The server does not answer. Trying again…"],
  noFeedback: [
    "이 서버는 평가를 받지 않습니다. `dodam serve 모델 --feedback`으로 시작하세요.",
    "This server takes no feedback. Start it with `dodam serve MODEL --feedback`.",
  ],
  whoAreYou: ["누가 평가하나요?", "Who is judging?"],
  begin: ["시작", "Begin"],
  guideline: ["지침", "Guideline"],
  // chat
  model: ["모델", "Model"],
  newChat: ["새 대화", "New chat"],
  settings: ["설정", "Settings"],
  temperature: ["온도 (0–2)", "Temperature (0–2)"],
  topP: ["Top-p (0–1)", "Top-p (0–1)"],
  topK: ["Top-k (0 = 끔)", "Top-k (0 = off)"],
  minP: ["Min-p (0 = 끔)", "Min-p (0 = off)"],
  repetition: ["반복 페널티", "Repetition penalty"],
  maxTokens: ["최대 토큰", "Max tokens"],
  seed: ["시드", "Seed"],
  system: ["시스템 지시", "System instruction"],
  serverDefault: ["서버 기본값", "server's default"],
  random: ["무작위", "random"],
  askAnything: ["무엇이든 물어보세요.", "Ask anything."],
  continues: [
    "대화를 배우지 않은 모델입니다. 글을 이어서 씁니다.",
    "This is a base model: it continues your text.",
  ],
  message: ["메시지", "Message"],
  send: ["보내기", "Send"],
  stop: ["멈추기", "Stop"],
  dropped: ["대화가 길어 가장 오래된 문답을 뺐습니다.", "The oldest turn was dropped."],
  emptyAnswer: ["빈 답입니다.", "The answer was empty."],
  lengthLimit: ["길이 한도에서 끝났습니다.", "Ended at the length limit."],
  stopped: ["멈췄습니다.", "Stopped."],
  good: ["좋아요", "Good answer"],
  bad: ["별로예요", "Bad answer"],
  again: ["다시 쓰기", "Regenerate"],
  previous: ["앞 답", "Previous answer"],
  following: ["뒤 답", "Next answer"],
  collects: [
    "이 서버는 대화를 모읍니다. 질문과 답이 저장됩니다. 전화번호처럼 꼴이 있는 개인정보는 가리지만 이름과 주소, "
      + "말로 적은 것은 그대로 남습니다.",
    "This server collects conversations: questions and answers are stored. Personal data that has a form, such as "
      + "telephone numbers, is masked; names, addresses and what is told in words stay as they are.",
  ],
  keepsJudged: [
    "👍 👎 ↻ 를 누른 문답은 저장됩니다. 전화번호처럼 꼴이 있는 개인정보는 가리지만 이름과 주소, 말로 적은 것은 그대로 남습니다.",
    "What you press 👍 👎 ↻ on is stored. Personal data that has a form, such as telephone numbers, is masked; names, "
      + "addresses and what is told in words stay as they are.",
  ],
  readByPeople: [
    "평가하는 사람들이 그것을 읽고 순위를 매깁니다.",
    "People who judge answers will read and rank it.",
  ],
  notRead: [
    "평가하는 사람들에게는 보이지 않습니다.",
    "It is not shown to the people who judge answers.",
  ],
  keyDeletes: ["이 키로 지울 수 있습니다.", "This key deletes it."],
  deletionKey: ["지우기 키", "Deletion key"],
  delete: ["지우기", "Delete"],
  deleted: ["지운 답", "Answers deleted"],
  // rank
  rankHow: [
    "답을 자리에 끌어다 놓거나, 답을 고르고 1–9를 누르세요. 같은 자리는 같은 순위입니다.",
    "Drag each answer to its place, or focus an answer and press 1–9. Answers in one place are tied.",
  ],
  rankKeys: [
    "1–9 자리 · 0 비우기 · ↑↓ 답 고르기 · E 고치기 · B 모두 나쁨 · S 건너뛰기 · U 되돌리기 · Ctrl+Enter 저장",
    "1–9 place · 0 take back · ↑↓ choose an answer · E edit · B all bad · S skip · U undo · Ctrl+Enter save",
  ],
  prompt: ["질문", "Prompt"],
  answer: ["답", "Answer"],
  place: ["자리", "Place"],
  places: ["순위", "Places"],
  best: ["가장 좋음", "best"],
  worst: ["가장 나쁨", "worst"],
  unplaced: ["아직 자리 없음", "not placed yet"],
  takeBack: ["자리 비우기", "Take back"],
  allBad: ["모두 나쁨", "All bad"],
  edit: ["고치기", "Edit"],
  doneEditing: ["고침 끝", "Done"],
  dropEdit: ["고친 것 버리기", "Drop the edit"],
  edited: ["고쳤음", "edited"],
  save: ["저장", "Save"],
  skip: ["건너뛰기", "Skip"],
  undo: ["되돌리기", "Undo"],
  mine: ["내가 한 것", "Done by you"],
  left: ["남은 것", "Left"],
  saving: ["저장하는 중…", "Saving…"],
  loading: ["가져오는 중…", "Loading…"],
  saved: ["저장했습니다.", "Saved."],
  undone: ["되돌렸습니다.", "Undone."],
  skipped: ["건너뛰었습니다.", "Skipped."],
  nothingLeft: ["남은 질문이 없습니다. 고맙습니다.", "No prompt is left. Thank you."],
  othersHave: [
    "남은 질문은 다른 사람이 보고 있습니다. 잠시 뒤에 다시 하세요.",
    "Others have the prompts open that are left. Try again in a while.",
  ],
  tryAgain: ["다시 하기", "Try again"],
  // write
  writeHow: [
    "질문에 직접 답을 쓰거나, 모델의 답을 가져와 고치세요.",
    "Write the answer to a prompt yourself, or fetch the model's answer and edit it.",
  ],
  yourPrompt: ["질문을 적으세요", "Write a prompt"],
  yourAnswer: ["여기에 답을 쓰세요", "Write your answer here"],
  fromStore: ["질문 가져오기", "Take a prompt"],
  ownPrompt: ["내 질문 쓰기", "My own prompt"],
  modelAnswer: ["모델의 답 가져오기", "Fetch the model's answer"],
} as const satisfies Record<string, readonly [string, string]>;

export type Word = keyof typeof WORDS;

const first: Language = navigator.language.startsWith("ko") ? "ko" : "en";
export const language = $state<{ now: Language }>({ now: recall("language", first) });

export function switchLanguage(): void {
  language.now = language.now === "ko" ? "en" : "ko";
  keep("language", language.now);
}

/** A word in the language of now. */
export const say = (word: Word) => WORDS[word][language.now === "ko" ? 0 : 1];
