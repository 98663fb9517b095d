"""The same model over the same records on Spark, for what does not fit a machine.

Records go to Spark and likely pairs come back as Parquet files in a folder that the driver and all
workers share. Groups are made here, in the workspace: pairs are few beside what was compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from middleware.resolution.batch.executor import predict
from middleware.resolution.batch.workspace import Workspace

SHARED = "amends.shared"
"""The setting that names the shared folder; it is ours, Spark does not see it."""
PARTITIONS = 8


class Session:
    """A Spark session and the folder that its workers share with us."""

    def __init__(self, spark: Any, folder: Path, partitions: int) -> None:
        self.spark = spark
        self.folder = folder
        self.partitions = partitions


@contextmanager
def session(settings: Mapping[str, str]) -> Iterator[Session]:
    """A session with Splink's functions, for as long as the block lasts.

    `settings` are Spark's own (`spark.master`, memory, …), and `amends.shared`, a folder that every
    worker sees under the same path.
    """
    from pyspark.sql import SparkSession
    from splink.backends.spark import similarity_jar_location

    builder: Any = SparkSession.builder
    chosen = {
        "spark.app.name": "amends-resolve",
        "spark.jars": similarity_jar_location(),
        "spark.sql.shuffle.partitions": str(PARTITIONS),
        "spark.default.parallelism": str(PARTITIONS),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        **{name: value for name, value in settings.items() if name != SHARED},
    }
    for name, value in chosen.items():
        builder = builder.config(name, value)
    with tempfile.TemporaryDirectory(prefix="amends-spark-", dir=settings.get(SHARED)) as name:
        # The workers may run as somebody else.
        folder = Path(name)
        made = builder.config("spark.sql.warehouse.dir", f"{name}/warehouse").getOrCreate()
        try:
            made.sparkContext.setLogLevel("ERROR")
            made.sparkContext.setCheckpointDir(f"{name}/checkpoints")
            yield Session(made, folder, int(chosen["spark.sql.shuffle.partitions"]))
        finally:
            made.stop()


def weigh(space: Workspace, at: Session, *, least: float) -> None:
    """Have Spark weigh all blocked pairs of a workspace, and take in what it finds."""
    from splink import SparkAPI

    for table in ("compared", *space.frequencies.values()):
        space.do(f"COPY {table} TO '{at.folder / table}.parquet' (FORMAT parquet)")
    api = SparkAPI(  # type: ignore[no-untyped-call]
        spark_session=at.spark,
        break_lineage_method="parquet",
        num_partitions_on_repartition=at.partitions,
    )

    def read(table: str) -> Any:
        return at.spark.read.parquet(str(at.folder / f"{table}.parquet"))

    found = predict(
        api,
        read("compared"),
        space.model,
        records=space.framed,
        frequencies={column: read(table) for column, table in space.frequencies.items()},
        least=least,
    )
    pairs = at.folder / "pairs.parquet"
    wanted = "unique_id_l", "unique_id_r", "match_weight"
    at.spark.table(found.physical_name).select(*wanted).write.parquet(str(pairs))
    space.do(f"CREATE OR REPLACE TEMP TABLE spark_pairs AS FROM read_parquet('{pairs}/*.parquet')")
    space.take_edges("spark_pairs")
