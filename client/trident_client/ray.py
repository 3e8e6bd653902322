"""Tasks for Ray Data's ``map_batches``, from batches of Arrow to batches of Arrow; the extra ``ray`` brings Ray.

>>> import ray
>>> from trident_client.ray import Embed
>>> rows = ray.data.read_parquet("texts/")                                  # doctest: +SKIP
>>> rows.map_batches(Embed("10.0.0.1:8010"), batch_format="pyarrow")        # doctest: +SKIP

A batch that fails because its worker died is Ray's to do again: its rows come once. A server that dies is the client's:
a batch asks the others, or waits until it is back.
"""

from trident_client._extras import needing

with needing(__name__, "ray"):
    from trident_client._columns import Acceptability, Answer, Embed, Similarity

__all__ = ["Acceptability", "Answer", "Embed", "Similarity"]
