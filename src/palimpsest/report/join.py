"""Join the measurements of all families of an experiment into one table."""

import pandas as pd

from palimpsest.metrics.measurements import ordered
from palimpsest.report.records import record_of, refuse_mixed_locks
from palimpsest.run import Input, Output, sha256, step


def join(collections: list[Input], table: Output, csv: Output, *, experiment: str, allow_mixed: bool = False) -> dict:
    """Write what the families collected as one sorted Parquet table and its CSV twin (six significant digits).

    What several families read of the judges they share stands in the table once. All must have been measured under one
    lock of the environment; `allow_mixed` lifts that.
    """
    if not allow_mixed:
        refuse_mixed_locks({path: record_of(path)["result"]["locks"] for path in collections})
    joined = ordered(pd.concat([pd.read_parquet(path) for path in collections]).drop_duplicates())
    joined.insert(0, "experiment", experiment)
    joined.to_parquet(table, index=False)
    joined.to_csv(csv, index=False, float_format="%.6g", lineterminator="\n")
    return {"rows": len(joined), "csv_sha256": sha256(csv)}


if __name__ == "__main__":
    step(join)
