"""Passages as long as one wants them, and who is asked about them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from trident_client import TridentClient
from trident_server.process import TritonProcess
from tritonclient.grpc import InferenceServerClient

FILLER = "Nothing much happened in the village that year, and the harvest was good. "
FOUNDED = "The observatory was founded by Clara Whitmore in 1874."


def ask_beside_long_passages(
    triton: TritonProcess, client: TridentClient, characters: int = 30_000, passages: int = 1, model: str = "qa"
) -> list[str]:
    """Ask about a short passage while the reader has long ones; fail where the short one waits for one of them.

    Returns:
        All answers, the short passage's first.
    """
    question = "Who founded the observatory?"
    context = FILLER * (characters // len(FILLER)) + FOUNDED
    with InferenceServerClient(triton.grpc_url) as statistics, ThreadPoolExecutor(passages) as pool:

        def tokenized() -> int:
            found = statistics.get_inference_statistics(f"{model}_tokenizer", as_json=True)["model_stats"][0]
            return int(found.get("inference_count", 0))

        before = tokenized()
        long = [pool.submit(client.answer, question, context, model=model) for _ in range(passages)]
        while tokenized() < before + passages and not any(each.done() for each in long):
            time.sleep(0.01)
        short = client.answer(question, FOUNDED, model=model)
        assert not any(each.done() for each in long), "the short question waited for a long passage"
        return [answers[0].answer for answers in (short, *(each.result() for each in long))]
