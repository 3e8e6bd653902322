"""OpenAI's package for Python."""

import asyncio

import openai
from calling import TEXTS, URL, call, check, embeddings, main, raises

client = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)


def vectors(answer: openai.types.CreateEmbeddingResponse) -> list[list[float]]:
    return [each.embedding for each in answer.data]


@call("openai", '`client.embeddings.create(model="sts", input=[...])`')
def embeds() -> None:
    check(vectors(client.embeddings.create(model="sts", input=TEXTS)), embeddings())


@call("openai", '`..., encoding_format="float"`')
def embeds_as_numbers() -> None:
    check(vectors(client.embeddings.create(model="sts", input=TEXTS, encoding_format="float")), embeddings())


@call("openai", "`AsyncOpenAI`")
def embeds_asynchronously() -> None:
    async def ask() -> openai.types.CreateEmbeddingResponse:
        async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="none") as client:
            return await client.embeddings.create(model="sts", input=TEXTS)

    check(vectors(asyncio.run(ask())), embeddings())


@call("openai", "`client.models.list()`, `retrieve`")
def lists_models() -> None:
    names = [each.id for each in client.models.list()]
    if "sts" not in names or client.models.retrieve("sts").id != "sts":
        raise ValueError(names)


@call("openai", "errors: `NotFoundError` for a model, `BadRequestError` for input")
def maps_errors() -> None:
    raises(openai.NotFoundError, lambda: client.embeddings.create(model="none", input="a"), "sts")
    raises(openai.BadRequestError, lambda: client.embeddings.create(model="sts", input=""), "visible")


@call("openai", "token ids, as LangChain sends them by default: refused, naming its switch")
def names_langchains_switch() -> None:
    create = client.embeddings.create
    raises(openai.BadRequestError, lambda: create(model="sts", input=[[1, 2]]), "check_embedding_ctx_length=False")


main()
