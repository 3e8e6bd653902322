"""The acceptability models as they are served, from Triton up to the facade."""

import numpy as np
import pytest
from trident_client import BadInputError, Request, TruncationWarning

pytestmark = pytest.mark.serving

#: Acceptable and not, each pair apart in one thing. Written for this test.
MINIMAL_PAIRS = [
    ("I am a boy.", "I are a boy."),
    ("The children are playing outside.", "The children is playing outside."),
    ("She has finished her homework.", "She have finished her homework."),
    ("He gave me a book.", "He gave I a book."),
    ("They went home early.", "They goed home early."),
    ("My sister lives in a small town.", "My sister lives in small a town."),
    ("What did you buy at the market?", "What you did buy at the market?"),
    ("The girl hurt herself.", "The girl hurt himself."),
    ("There are three apples on the table.", "There are three apple on the table."),
    ("We enjoyed reading the story.", "We enjoyed to read the story."),
    ("Nobody has ever seen it.", "Somebody has ever seen it."),
    ("The man who called is my uncle.", "The man who he called is my uncle."),
    ("This old house belongs to us.", "This old houses belongs to us."),
    ("He put the keys in his pocket.", "He put the keys."),
    ("I want you to stay.", "I want you stay to."),
    ("The soup was eaten by the guests.", "The soup was ate by the guests."),
    ("She is taller than her brother.", "She is more tall as her brother."),
    ("Did the train arrive on time?", "Did the train arrived on time?"),
    ("The teacher explained the rule to us.", "The teacher explained us the rule to."),
    ("Every student has a desk.", "Every students has a desk."),
]


def test_minimal_pairs_are_ordered(client):
    good = client.acceptability([pair[0] for pair in MINIMAL_PAIRS])
    bad = client.acceptability([pair[1] for pair in MINIMAL_PAIRS])
    wrong = [pair for pair, better, worse in zip(MINIMAL_PAIRS, good, bad, strict=True) if better <= worse]
    assert len(MINIMAL_PAIRS) - len(wrong) >= 15, wrong


def test_a_boy_is_told_from_a_boy(api):
    good, bad = (api.post("/generate", json={"passage": f"I {verb} a boy"}).json() for verb in ("am", "are"))
    assert set(good) == set(bad) == {"prob"}
    assert good["prob"] > bad["prob"] + 0.2


def test_a_list_is_answered_in_its_order_whatever_its_size(api, client):
    # Six more than fit into one batch.
    sentences = [f"{'The cat sat there and ' * (index % 9)}it was number {index}." for index in range(70)]
    probs = api.post("/acceptability", json={"sentences": sentences}).json()["probs"]
    assert probs == pytest.approx(client.acceptability(sentences), abs=0.02)
    assert client.acceptability(sentences[7:8])[0] == pytest.approx(probs[7], abs=0.02)


def test_ordinary_text_of_any_kind_has_a_probability(client):
    texts = ["고양이가 잠을 잔다.", "Fine 🙂", "e\u0301", "a\0b", "!", "word " * 60]
    probabilities = client.acceptability(texts)
    assert probabilities.dtype == np.float32
    assert ((probabilities > 0) & (probabilities < 1)).all()


def test_what_the_model_does_not_see_is_told(client, api):
    with pytest.warns(TruncationWarning):
        client.acceptability(["word " * 20_000])
    answer = api.post("/generate", json={"passage": "word " * 20_000})
    assert answer.headers["x-truncated"] == "true"
    assert "x-truncated" not in api.post("/generate", json={"passage": "Short."}).headers


def test_a_long_sentence_loses_the_end_that_is_said_or_is_refused(client, api):
    good, bad = "I am a boy. " * 60, "Boy a am I the. " * 60
    ends = {"right": good, "left": bad}
    told = {"on_truncation": lambda truncated: None}
    read = {each: client.acceptability([good + bad], truncate=each, **told)[0] for each in ends}
    alone = {each: client.acceptability([text], **told)[0] for each, text in ends.items()}
    assert read == pytest.approx(alone, abs=0.05)
    assert abs(read["right"] - read["left"]) > 0.1, "both ends are alike: the test says nothing"
    with pytest.raises(BadInputError, match="is longer than the model takes"):
        client.acceptability([good + bad], truncate="error")


def test_text_of_nothing_that_the_vocabulary_knows_is_refused_with_its_place(client):
    with pytest.raises(BadInputError, match=r"sentences\[1\].* has nothing that the vocabulary can read"):
        client.acceptability(["Fine.", "🙂"])


@pytest.mark.parametrize("text", ["", " \t\n", "\u200b"])
def test_text_without_a_visible_character_is_refused_and_the_next_is_answered(client, api, text):
    with pytest.raises(BadInputError, match=r"sentences\[1\] is empty"):
        client.acceptability(["Fine.", text])
    # So do the models, of those who ask them otherwise.
    request = Request("cola", {"TEXT": np.array([[b"Fine."], [text.encode()]], dtype=np.object_)}, ("PROBABILITY",))
    with pytest.raises(BadInputError, match="TEXT 1 is empty"):
        client.infer(request)
    assert api.post("/generate", json={"passage": text}).status_code == 422
    assert client.acceptability(["Fine."]).shape == (1,)
