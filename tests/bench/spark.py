"""The same model on a Spark cluster of two workers on loopback: `python -m tests.bench.spark`.

Needs Java 17 and pyspark (the extra `spark`). Starts a standalone master and two workers, weighs
the same records there and on DuckDB, and holds the pairs and the groups against each other.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from middleware.resolution.batch import executor, grouping, spark
from middleware.resolution.batch.model import shipped
from middleware.resolution.batch.workspace import Workspace
from tests.bench import batch, places
from tests.bench.records import Crowd

LEAST_SHARED = 0.999
"""Of the pairs so many are the same: the two Jaro-Winklers round differently at thresholds."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A master and two workers, each a process of its own; the master's address."""
    import pyspark

    home = Path(pyspark.__file__).parent
    ports = {"master": free_port()}
    address = f"spark://127.0.0.1:{ports['master']}"
    master = "org.apache.spark.deploy.master.Master"
    worker = "org.apache.spark.deploy.worker.Worker"
    commands = [
        [master, "--host", "127.0.0.1", "--port", str(ports["master"])],
        *(
            [worker, "--host", "127.0.0.1", "--cores", "1", "--memory", "2g", address]
            for _ in range(2)
        ),
    ]
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str(folder / "work"),
        "PYSPARK_PYTHON": sys.executable,
    }
    running: list[subprocess.Popen[bytes]] = []
    log = folder / "cluster.log"
    try:
        with log.open("wb") as told:
            for name, *arguments in commands:
                running.append(
                    subprocess.Popen(
                        [
                            str(home / "bin" / "spark-class"),
                            name,
                            "--webui-port",
                            str(free_port()),
                            *arguments,
                        ],
                        env=environment,
                        stdout=told,
                        stderr=told,
                    )
                )
            until = time.monotonic() + 240
            while len(re.findall(r"Registering worker", log.read_text(errors="replace"))) < 2:
                if time.monotonic() > until or any(p.poll() is not None for p in running):
                    raise RuntimeError(f"the cluster did not come up:\n{log.read_text()[-2000:]}")
                time.sleep(1)
            yield address
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(timeout=60)


def run(size: int) -> dict[str, Any]:
    rules = grouping.Rules(least=round(shipped().weight_of(batch.THRESHOLD), 6))
    space = Workspace(None, shipped(), threads=2)
    space.put([batch._entry(record) for record, _ in Crowd(size).records()])
    space.frame()

    def found() -> tuple[set[tuple[int, int]], set[tuple[str, ...]]]:
        grouping.regroup(space, rules)
        pairs = {(left, right) for left, right in space.all("SELECT l, r FROM edge")}
        return pairs, {tuple(group) for group in batch._groups(space)}

    executor.weigh(space, least=0.0)
    pairs, groups = found()
    with tempfile.TemporaryDirectory(prefix="amends-cluster-") as name:
        folder = Path(name)
        with cluster(folder) as address:
            settings = {
                "spark.master": address,
                "spark.driver.host": "127.0.0.1",
                "spark.driver.bindAddress": "127.0.0.1",
                "spark.executor.memory": "1g",
                "spark.executor.cores": "1",
                "spark.local.dir": str(folder / "local"),
                spark.SHARED: name,
            }
            began = time.perf_counter()
            with spark.session(settings) as session:
                spark.weigh(space, session, least=0.0)
                workers = session.spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
            took = time.perf_counter() - began
    there, theirs = found()
    space.close()
    return {
        "records": size,
        "workers": workers,
        "spark_s": round(took, 1),
        "pairs": len(pairs),
        "pairs_in_one_only": len(pairs ^ there),
        "groups": len(groups),
        "groups_in_one_only": len(groups ^ theirs),
        "same_groups": round(len(groups & theirs) / max(1, len(groups | theirs)), 5),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.spark", description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    figures = run(parser.parse_args().records)
    places.say(f"spark: {figures}")
    print(json.dumps(figures), flush=True)
    return 0 if figures["same_groups"] >= LEAST_SHARED and figures["workers"] == 2 else 1


if __name__ == "__main__":
    sys.exit(main())
