"""What the long forms ask: every endpoint of the shipped models, and every kind of bad request."""

from __future__ import annotations

from chaos.traffic import Question

SENTENCES = [
    "A man is playing a guitar.",
    "The boys eats an apple.",
    "기타를 치는 남자",
    "It rained all day, so we stayed in.",
]
PASSAGE = "The river rises in the hills of Kent and flows east. It was named by the Romans. " * 12
QUESTION = {"question": "Where does the river rise?", "context": PASSAGE}
LIST = {"model": "sts", "input": [f"{SENTENCES[index % 4]} {index}" for index in range(200)]}

MIXED = [
    *(Question("/generate", {"passage": each}) for each in SENTENCES),
    Question("/generate", {"sentence_1": SENTENCES[0], "sentence_2": SENTENCES[1]}),
    Question("/acceptability", {"sentences": SENTENCES * 5}),
    Question("/similarity", {"pairs": [{"sentence_1": a, "sentence_2": b} for a in SENTENCES for b in SENTENCES]}),
    Question("/embed", {"sentences": SENTENCES}),
    Question("/v1/embeddings", LIST),
    Question("/pred/sentences", {"sentence_1": SENTENCES[0], "sentence_2": SENTENCES[3]}),
    Question("/qa", QUESTION),
    Question("/qa", {"questions": [QUESTION] * 3, "top_k": 2}),
    Question("/generate", {"passage": ""}, status=422),
    Question("/generate", {"passage": "a", "sentence_1": "b"}, status=422),
    Question("/embed", {"sentences": ["a"], "model": "nobody"}, status=422),
    Question("/acceptability", {"sentences": ["a", " "]}, status=422),
    Question("/nowhere", {}, status=404),
]
