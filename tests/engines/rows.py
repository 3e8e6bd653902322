"""Every task in the engines' environment on rows that a model takes and rows that it does not: folder to folder.

``in/<task>.parquet`` becomes a folder ``out/<task>``, whose rows have their ``id``, the answer's column, and ``error``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: A task's name in ``trident_client.ray`` and ``.spark``, the columns it reads, and the one that it writes.
TASKS = {
    "embed": ("Embed", ["text"], "embedding"),
    "similarity": ("Similarity", ["sentence_1", "sentence_2"], "similarity"),
    "acceptability": ("Acceptability", ["sentence"], "probability"),
    "answer": ("Answer", ["question", "context"], "answers"),
}
#: Rows that are answered together; some of those that are no text stand alone in theirs.
BATCH = 4
WORKERS = 2


def ray(source: Path, output: Path, url: str) -> None:
    """Ask by ``map_batches`` of Ray Data."""
    import ray
    from trident_client import ray as tasks

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="warning")
    ray.data.DataContext.get_current().enable_progress_bars = False
    for name, (task, _, answer) in TASKS.items():
        rows = ray.data.read_parquet(str(source / f"{name}.parquet"))
        answered = rows.map_batches(getattr(tasks, task)(url), batch_format="pyarrow", batch_size=BATCH)
        answered.select_columns(["id", answer, "error"]).write_parquet(str(output / name))
    ray.shutdown()


def spark(source: Path, output: Path, url: str) -> None:
    """Ask by Spark's functions; a task of Spark that fails once ends the job."""
    from pyspark.sql import SparkSession
    from trident_client import spark as functions

    # Workers are of whatever python3 is first in the path otherwise.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(f"local[{WORKERS},1]").config("spark.ui.enabled", "false")
    session = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", str(BATCH)).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    for name, (_, columns, answer) in TASKS.items():
        function = getattr(functions, f"{name}_udf")(url)
        rows = session.read.parquet(str(source / f"{name}.parquet"))
        answered = rows.select("id", function(*columns).alias("found")).select("id", f"found.{answer}", "found.error")
        answered.write.parquet(str(output / name))
    session.stop()


if __name__ == "__main__":
    engine, source, output, url = sys.argv[1:]
    globals()[engine](Path(source), Path(output), url)
