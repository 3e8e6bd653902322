"""LiteLLM, which asks servers of many kinds."""

import litellm
from calling import QUESTION, TEXTS, URL, call, check, embeddings, main

DOCUMENTS = ["Cats sleep most of the day.", "The Danube rises in the Black Forest."]


@call("litellm", '`litellm.embedding("openai/sts", api_base=..., input=[...])`')
def embeds() -> None:
    found = litellm.embedding("openai/sts", api_base=f"{URL}/v1", api_key="none", input=TEXTS, encoding_format="float")
    check([each["embedding"] for each in found.data], embeddings())


@call("litellm", '`litellm.rerank("cohere/sts", api_base=..., query=..., documents=[...])`')
def ranks() -> None:
    found = litellm.rerank("cohere/sts", api_base=URL, api_key="none", query=QUESTION, documents=DOCUMENTS, top_n=1)
    if [each["index"] for each in found.results] != [1]:
        raise ValueError(found.results)


main()
