"""Apache Beam's adapter for Hugging Face's inference API, whose address may be another's."""

import tempfile

import apache_beam as beam
from apache_beam.ml.transforms.base import MLTransform
from apache_beam.ml.transforms.embeddings.huggingface import InferenceAPIEmbeddings
from apache_beam.testing.util import assert_that
from calling import TEXTS, URL, call, check, embeddings, main


@call("apache-beam", '`MLTransform(...).with_transform(InferenceAPIEmbeddings(api_url=".../embed", ...))`')
def embeds() -> None:
    expected = sorted(embeddings())
    embed = InferenceAPIEmbeddings(hf_token="none", columns=["text"], api_url=f"{URL}/embed")
    with tempfile.TemporaryDirectory() as folder, beam.Pipeline() as pipeline:
        transform = MLTransform(write_artifact_location=folder).with_transform(embed)
        rows = pipeline | beam.Create([{"text": each} for each in TEXTS]) | transform
        assert_that(rows, lambda found: check(sorted(each["text"] for each in found), expected))


main()
