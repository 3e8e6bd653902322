"""mteb's wrapper of OpenAI's package, on pairs that are at hand: it asks no hub for its data."""

import mteb
import openai
import tiktoken
from calling import GUITAR, URL, ask, call, main
from datasets import Dataset, DatasetDict
from mteb.models.model_implementations.openai_models import OpenAIModel
from scipy.stats import spearmanr

PAIRS = [
    (GUITAR, "Someone plays an instrument.", 3.6),
    (GUITAR, "A man plays a guitar.", 5.0),
    (GUITAR, "The stock market fell sharply.", 0.0),
    ("A cat sleeps on the sofa.", "A dog runs over the grass.", 1.2),
    ("A cat sleeps on the sofa.", "The sofa has a sleeping cat on it.", 4.8),
]
# It cuts texts by an encoding of OpenAI's, which it would fetch; one of bytes cuts nothing that a model takes.
BYTES = tiktoken.Encoding(
    "bytes", pat_str=".", mergeable_ranks={bytes([each]): each for each in range(256)}, special_tokens={}
)
tiktoken.registry.ENCODINGS["bytes"] = BYTES


@call("mteb", '`OpenAIModel("sts", ..., embed_dim=384, client=OpenAI(base_url=...))` on pairs of one\'s own')
def scores() -> None:
    first, second, score = zip(*PAIRS)  # noqa: B905 - as old Pythons have it
    task = mteb.get_task("STSBenchmark")
    data = Dataset.from_dict({"sentence1": first, "sentence2": second, "score": score})
    task.dataset, task.data_loaded = DatasetDict({"test": data}), True
    client = openai.OpenAI(base_url=f"{URL}/v1", api_key="none")
    model = OpenAIModel("sts", max_tokens=1_000_000, tokenizer_name="bytes", embed_dim=384, client=client)
    found = mteb.evaluate(model, [task], cache=None, co2_tracker=False)
    pairs = [{"sentence_1": one, "sentence_2": two} for one, two, _ in PAIRS]
    cosines = ask("/similarity", {"pairs": pairs})["scores"]
    if abs(found[0].get_score() - spearmanr(cosines, score)[0]) > 1e-6:
        raise ValueError(found[0])


main()
