"""LlamaIndex's classes for OpenAI's servers, and for text-embeddings-inference."""

from calling import GUITAR, TEXTS, URL, call, check, embeddings, main
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference


def check_client(client: object) -> None:
    check(client.get_text_embedding_batch(TEXTS), embeddings())
    check(client.get_query_embedding(GUITAR), embeddings()[0])


@call("llama-index-embeddings-openai", '`OpenAIEmbedding(model_name="sts", api_base=...)`')
def embeds() -> None:
    check_client(OpenAIEmbedding(model_name="sts", api_base=f"{URL}/v1", api_key="none"))


@call("llama-index-embeddings-openai-like", '`OpenAILikeEmbedding(model_name="sts", api_base=...)`')
def embeds_as_one_like_it() -> None:
    check_client(OpenAILikeEmbedding(model_name="sts", api_base=f"{URL}/v1", api_key="none"))


@call("llama-index-embeddings-text-embeddings-inference", "`TextEmbeddingsInference(base_url=...)`")
def embeds_as_tei() -> None:
    # Without instructions: the models were taught without.
    options = {"text_instruction": " ", "query_instruction": " "}
    check_client(TextEmbeddingsInference(model_name="sts", base_url=URL, **options))


main()
