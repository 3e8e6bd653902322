// The page's words in two languages, and the examples that stand in the fields at first.

const WORDS = {
  en: {
    skip: "Skip to the form", docs: "API documentation", keyNeeded: "This server asks for a key", keySave: "Use it",
    tasks: "Tasks", acceptability: "Acceptability", similarity: "Similarity", question: "Question", ranking: "Ranking",
    acceptabilityLabel: "Sentences, one a line, or a text file dropped here: is each of them grammatical?",
    similarityLabel: "Sentences, one a line, or a text file dropped here: each is compared with each",
    contextLabel: "A passage that holds the answer, or a text file dropped here", questionLabel: "A question",
    rankingLabel: "Texts, one a line, or a text file dropped here: which of them answers the query best?", queryLabel: "A query", ranked: "Texts, the best first",
    unjudged: "Acceptability: no model of English is served here.",
    judge: "Judge", compare: "Compare", ask: "Ask", rank: "Rank", model: "Model",
    live: "Live", rate: "Requests a second", median: "Median", p99: "99 % within", flight: "With Triton, waiting",
    chart: "Requests a second over the last two minutes",
    liveNote: "All requests of the last two minutes, from the server's own counters.",
    last: "Your last request", total: "Round trip", queue: "Waited for its turn", inference: "In Triton",
    ready: "ready", loading: "models not ready", away: "cannot be reached", working: "Working …",
    acceptable: "acceptable", unacceptable: "not acceptable",
    truncated: "A text was longer than the model takes; its end was not looked at.",
    runnersUp: "Answers, the likeliest first", noAnswer: "The passage holds no answer", passage: "The passage", similar: "Bold where they are similar: from",
    heatmap: "Cosine of each sentence with each", atLeastTwo: "Give at least two sentences.",
    tooMany: "At most 40 sentences are shown.", notKorean: "The text is Korean, which this model was not made for: take its answers with care.", failed: "The server cannot be reached.",
    blank: "There is nothing to read yet: write something first.", tooLong: "That is more text than the server takes at once.",
    busy: "The server is busy; try again in a moment.", notNow: "The models are not ready; try again in a moment.",
    tooSlow: "The server did not answer in time; try a shorter text.", broken: "The server failed; its operator finds why in its log.",
    oneFile: "Drop one file: the field takes the text of one.", notText: "The file is not text in UTF-8; save it as such, and drop it again.",
    longest: "# tokens of a text are read", windows: "texts are read in windows of # tokens",
    asCommand: "This request as a command", copy: "Copy", components: "components a vector", tokensPerSecond: "tokens a second", ms: "ms", s: "s",
  },
  ko: {
    skip: "입력란으로 건너뛰기", docs: "API 문서", keyNeeded: "이 서버에는 키가 필요합니다", keySave: "사용",
    tasks: "과제", acceptability: "문법성", similarity: "유사도", question: "질의응답", ranking: "순위",
    acceptabilityLabel: "한 줄에 한 문장씩, 또는 텍스트 파일을 끌어다 놓으세요: 각 문장이 문법에 맞는가?",
    similarityLabel: "한 줄에 한 문장씩, 또는 텍스트 파일을 끌어다 놓으세요: 모든 문장을 서로 비교합니다",
    contextLabel: "답이 들어 있는 지문, 또는 텍스트 파일을 끌어다 놓으세요", questionLabel: "질문",
    rankingLabel: "한 줄에 한 글씩, 또는 텍스트 파일을 끌어다 놓으세요: 어느 글이 질의에 가장 잘 맞는가?", queryLabel: "질의", ranked: "질의에 잘 맞는 순서의 글",
    unjudged: "문법성: 공개된 한국어 자료가 없어 한국어 모델이 없습니다. 영어 문장은 영어 페이지에서 판정합니다.",
    judge: "판정", compare: "비교", ask: "질문하기", rank: "순위 매기기", model: "모델",
    live: "실시간", rate: "초당 요청", median: "중앙값", p99: "99 % 이내", flight: "처리 중, 대기 중",
    chart: "지난 2분 동안의 초당 요청 수",
    liveNote: "서버가 직접 센 지난 2분 동안의 모든 요청입니다.",
    last: "방금 보낸 요청", total: "왕복 시간", queue: "차례를 기다린 시간", inference: "Triton에서 걸린 시간",
    ready: "준비됨", loading: "모델이 준비되지 않음", away: "연결할 수 없음", working: "처리하는 중 …",
    acceptable: "문법에 맞음", unacceptable: "문법에 맞지 않음",
    truncated: "모델이 받는 길이보다 긴 글이 있어 끝부분은 보지 않았습니다.",
    runnersUp: "가능성이 높은 순서의 답", noAnswer: "지문에 답이 없습니다", passage: "지문", similar: "굵은 글씨는 유사한 문장, 기준",
    heatmap: "문장 사이의 코사인 유사도", atLeastTwo: "문장을 두 개 이상 넣어 주세요.",
    tooMany: "문장은 40개까지 보여 줍니다.", notKorean: "한국어용으로 만든 모델이 아니므로 답이 정확하지 않을 수 있습니다.", failed: "서버에 연결할 수 없습니다.",
    blank: "아직 읽을 글이 없습니다. 먼저 입력해 주세요.", tooLong: "서버가 한 번에 받는 것보다 긴 글입니다.",
    busy: "서버가 바쁩니다. 잠시 뒤에 다시 시도해 주세요.", notNow: "모델이 아직 준비되지 않았습니다. 잠시 뒤에 다시 시도해 주세요.",
    tooSlow: "서버가 제때 답하지 않았습니다. 더 짧은 글로 시도해 주세요.", broken: "서버에 문제가 생겼습니다. 원인은 서버의 기록에 있습니다.",
    oneFile: "파일을 하나만 끌어다 놓으세요. 입력란에는 파일 하나의 글만 들어갑니다.", notText: "UTF-8로 된 텍스트 파일이 아닙니다. UTF-8로 저장한 뒤 다시 끌어다 놓으세요.",
    longest: "글마다 #토큰까지 읽음", windows: "글을 #토큰씩 나누어 읽음",
    asCommand: "이 요청을 명령으로 보기", copy: "복사", components: "차원의 벡터", tokensPerSecond: "토큰/초", ms: "ms", s: "초",
  },
};

const EXAMPLES = {
  en: {
    "acceptability-text": "I am a boy.\nI are a boy.\nThe book that she wrote was read by everyone.\nHim likes to swimming.",
    "similarity-text": "A man is playing a guitar.\nSomeone is playing a guitar.\nThe stock market fell sharply.\nThe stock market lost a lot of value today.",
    "question-context": "The Danube rises in the Black Forest in Germany and flows through ten countries before it reaches the Black Sea. It is 2,850 kilometres long, and Vienna, Budapest and Belgrade lie on its banks.",
    "question-text": "Where does the Danube rise?",
    "ranking-texts": "The Rhine is a river that rises in Switzerland.\nVienna is the capital of Austria and lies on the Danube.\nThe Danube rises in the Black Forest in Germany.\nA man is playing a guitar.",
    "ranking-query": "Where does the Danube rise?",
  },
  ko: {
    "acceptability-text": "나는 학생이다.\n나는 학생을 이다.\n그녀가 쓴 책은 모두가 읽었다.",
    "similarity-text": "한 남자가 기타를 치고 있다.\n누군가 기타를 연주하고 있다.\n주식 시장이 크게 떨어졌다.\n오늘 주가가 크게 하락했다.",
    "question-context": "한강은 강원도 태백시 금대봉 검룡소에서 시작하여 서울을 지나 황해로 흘러든다. 길이는 약 494킬로미터이다.",
    "question-text": "한강은 어디에서 시작하는가?",
    "ranking-texts": "낙동강은 영남 지방을 흐르는 강이다.\n서울은 대한민국의 수도이며 한강이 지나간다.\n한강은 강원도 태백시에서 시작한다.\n한 남자가 기타를 치고 있다.",
    "ranking-query": "한강은 어디에서 시작하는가?",
  },
};

let language = localStorage.getItem("language") || (navigator.language.startsWith("ko") ? "ko" : "en");

export const spoken = () => language;

export const word = (name) => WORDS[language][name];

/** Put the words of the language everywhere; replace examples that were not touched. */
export function speak(next = language) {
  const before = EXAMPLES[language];
  language = next;
  localStorage.setItem("language", language);
  document.documentElement.lang = language;
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = word(each.dataset.text);
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", word(each.dataset.label));
  for (const [id, text] of Object.entries(EXAMPLES[language])) {
    const field = document.getElementById(id);
    if (!field.value || field.value === before[id]) field.value = text;
  }
  const other = document.getElementById("language");
  other.lang = language === "ko" ? "en" : "ko";
  other.textContent = language === "ko" ? "English" : "한국어";
}

export const toggle = () => speak(language === "ko" ? "en" : "ko");
