"""LangChain's own tests of what embeds; run by ``calls.py`` in their environment, not by the project's suite."""

from calling import URL
from langchain_openai import OpenAIEmbeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests


class TestTrident(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self):
        return {
            "model": "sts",
            "base_url": f"{URL}/v1",
            "api_key": "none",
            "check_embedding_ctx_length": False,
        }
