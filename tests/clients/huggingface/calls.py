"""Hugging Face's own client, whose model may be an address."""

from calling import CONTEXT, GUITAR, QUESTION, TEXTS, URL, ask, call, check, embeddings, main
from huggingface_hub import InferenceClient

SIMILAR = {"pairs": [{"sentence_1": GUITAR, "sentence_2": each} for each in TEXTS[1:]]}


def client(path: str) -> InferenceClient:
    return InferenceClient(URL + path, token="none")


@call("huggingface_hub", '`InferenceClient(".../embed").feature_extraction(text)`')
def embeds() -> None:
    check(client("/embed").feature_extraction(TEXTS), embeddings())
    check(client("").feature_extraction(GUITAR)[0], embeddings()[0])


@call("huggingface_hub", "`.../similarity`: `sentence_similarity(text, other_sentences=[...])`")
def compares() -> None:
    found = client("/similarity").sentence_similarity(GUITAR, other_sentences=TEXTS[1:])
    check(found, ask("/similarity", SIMILAR)["scores"], 0.02)


@call("huggingface_hub", "`.../predict`: `text_classification(text)`")
def classifies() -> None:
    found = {each.label: each.score for each in client("/predict").text_classification("I are a boy")}
    check(found["acceptable"], ask("/generate", {"passage": "I are a boy"})["prob"], 0.02)


@call("huggingface_hub", "`.../qa`: `question_answering(question=..., context=...)`")
def answers() -> None:
    found = client("/qa").question_answering(question=QUESTION, context=CONTEXT)
    if CONTEXT[found.start : found.end] != found.answer or "Black Forest" not in found.answer:
        raise ValueError(found)


main()
