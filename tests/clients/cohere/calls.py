"""Cohere's clients, which rerank."""

import cohere
from calling import QUESTION, URL, ask, call, check, main

DOCUMENTS = ["Cats sleep most of the day.", "The Danube rises in the Black Forest.", "A man plays a guitar."]


def check_order(results: object) -> None:
    order = [each.index for each in results.results]
    if order[0] != 1 or len(order) != 2:
        raise ValueError(order)


@call("cohere", '`ClientV2(base_url=...).rerank(model="sts", query=..., documents=[...], top_n=2)`')
def ranks() -> None:
    with cohere.ClientV2("none", base_url=URL) as client:
        check_order(client.rerank(model="sts", query=QUESTION, documents=DOCUMENTS, top_n=2))


@call("cohere", '`ClientV2(base_url=...).rerank(model="rerank", ...)`, by the cross-encoder')
def ranks_by_the_cross_encoder() -> None:
    with cohere.ClientV2("none", base_url=URL) as client:
        found = client.rerank(model="rerank", query=QUESTION, documents=DOCUMENTS)
    scores = {each["index"]: each["score"] for each in ask("/rerank", {"query": QUESTION, "texts": DOCUMENTS})}
    if found.results[0].index != 1:
        raise ValueError(found)
    check([each.relevance_score for each in found.results], [scores[each.index] for each in found.results])


@call("cohere", "`Client(base_url=...).rerank(...)`, its first interface")
def ranks_as_before() -> None:
    with cohere.Client("none", base_url=URL) as client:
        check_order(client.rerank(model="sts", query=QUESTION, documents=DOCUMENTS, top_n=2))


main()
