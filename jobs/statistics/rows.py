"""The rows of a corpus as tables that SQL can ask: those of a build, or the Parquet of a folder.

```
of_tables: Arrow tables, as they lie in memory   --+
of_corpus: NAME.parquet on this machine          --+--> DuckDB: views videos, clips, samples
           ... elsewhere: fetched once           --+            with the columns of schemas.tables
```
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from reelscript.pipeline.cores import usable_cores
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.reading.releases import read_newest, release_folder, release_of
from reelscript.schemas.tables import CLIPS, SAMPLES, VIDEOS
from reelscript.schemas.text import one_line

SCHEMAS = {"videos": VIDEOS, "clips": CLIPS, "samples": SAMPLES}
SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.float64(): "DOUBLE"} | {
    pa.bool_(): "BOOLEAN"
}
MEMORY_LIMIT = "2GB"  # of DuckDB; what needs more is put aside in the temporary folder
BATCH_ROWS = 100_000
PIECE_BYTES = 1 << 20
PROGRAMMING = (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException)
"""The query is at fault, not the rows."""
MILLISECONDS = """
    CREATE MACRO ms(seconds) AS CASE
        WHEN isfinite(seconds) AND abs(seconds) < 9e15 THEN CAST(round(seconds * 1000) AS BIGINT)
        ELSE 0 END
"""
"""By cases: where the statistics of a Parquet file say that a column has no null, DuckDB 2.0 takes
the cast of NaN for one that cannot fail, and leaves a `coalesce` around it away."""


class Rows:
    """The rows of a corpus, for SQL over the views `videos`, `clips` and `samples`.

    Each has the columns of its schema (VIDEOS, CLIPS, SAMPLES) and no others; those that an older
    corpus lacks are null. Rows come in any order: a query whose answer depends on it must say one.
    Sums of floats depend on it, so times are added up as `ms(seconds)`: whole milliseconds, 0 where
    nothing was measured. Nothing is fetched from a network: DuckDB loads no extension but those it
    is built with.

    ```
    with Rows.of_corpus(Store("corpus")) as rows:
        rows.sql("SELECT reason, count(*) AS clips FROM clips GROUP BY reason ORDER BY reason")
    ```

    Attributes:
        con: the connection, open until the `with` ends.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="reelscript-audit-")
        self.con = duckdb.connect(
            config={
                "threads": threads or usable_cores(),
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": f"{self._folder.name}/duckdb",
                "preserve_insertion_order": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
            }
        )
        self.con.execute(MILLISECONDS)

    @classmethod
    def of_tables(
        cls, videos: pa.Table, clips: pa.Table, samples: pa.Table, threads: int | None = None
    ) -> Rows:
        """Returns the rows of three tables in memory, which are not copied.

        Args:
            videos: one row for every source (schemas.tables.VIDEOS).
            clips: one row for every clip (CLIPS).
            samples: one row for every sample (SAMPLES).
            threads: that DuckDB computes with; None: as many as this process may use.
        """
        rows = cls(threads)
        for name, table in (("videos", videos), ("clips", clips), ("samples", samples)):
            rows.con.register(f"{name}_rows", table)
            rows._view(name, f"{name}_rows")
        return rows

    @classmethod
    def of_corpus(cls, corpus: Store, threads: int | None = None) -> Rows:
        """Returns the rows of a finished corpus, read from Parquet when they are asked for.

        A table is one file or a folder of part files. Tables that lie elsewhere than on this
        machine are fetched to a temporary folder first.

        Args:
            corpus: its folder.
            threads: that DuckDB computes with; None: as many as this process may use.

        Raises:
            DataError: there is no corpus, or a table of it is missing or damaged.
            StorageError: it cannot be fetched.
        """
        info = read_newest(corpus)
        rows = cls(threads)
        try:
            for name in SCHEMAS:
                files = _files(corpus, name, info, Path(rows._folder.name))
                listed = ", ".join(_quoted(_literal(str(file))) for file in files)
                rows._view(
                    name, f"read_parquet([{listed}], union_by_name=true, hive_partitioning=false)"
                )
        except duckdb.Error as error:
            rows.close()
            raise _unreadable(f"{one_line(corpus.url)}/{name}.parquet", error) from None
        except BaseException:
            rows.close()
            raise
        return rows

    def sql(self, query: str, params: Sequence[Any] = ()) -> pa.Table:
        """Returns what a query gives; each `?` in it stands for one of `params`.

        Raises:
            DataError: the rows that it reads are damaged, or there is no room to work on them.
        """
        try:
            return self.con.sql(query, params=list(params)).to_arrow_table()
        except PROGRAMMING:
            raise
        except duckdb.Error as error:
            raise _unreadable("the tables of the corpus", error) from None

    def dicts(self, query: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Returns what a query gives as a list of rows, as `sql` does."""
        found: list[dict[str, Any]] = self.sql(query, params).to_pylist()
        return found

    def batches(self, query: str, params: Sequence[Any] = ()) -> Iterator[pa.RecordBatch]:
        """Yields what a query gives in pieces of up to BATCH_ROWS rows, for what is large.

        Another query may not run before the last of them. Raises DataError as `sql` does.
        """
        try:
            yield from self.con.sql(query, params=list(params)).to_arrow_reader(BATCH_ROWS)
        except PROGRAMMING:
            raise
        except (duckdb.Error, pa.ArrowException) as error:
            raise _unreadable("the tables of the corpus", error) from None

    def close(self) -> None:
        """Ends the connection and removes what was put aside."""
        self.con.close()
        self._folder.cleanup()

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _view(self, name: str, source: str) -> None:
        """Makes a view with the columns of a schema over what a source has of them."""
        found = {column for column, *_ in self.con.execute(f"DESCRIBE FROM {source}").fetchall()}
        columns = ", ".join(
            f"CAST({field.name if field.name in found else 'NULL'} AS {SQL_TYPES[field.type]})"
            f" AS {field.name}"
            for field in SCHEMAS[name]
        )
        self.con.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM {source}")


def _files(corpus: Store, name: str, info: Mapping[str, Any], temporary: Path) -> list[Path]:
    """Returns the files of a table of the release that `info` tells of, on this machine.

    While another release is published, its tables may already lie in the place of these.
    """
    named = info.get("tables")
    expected = named.get(name) if isinstance(named, dict) else None
    other = False
    for folder in ("", f"{release_folder(release_of(info))}/"):
        place = f"{folder}{name}.parquet"
        parts = [part for part in corpus.names(place) if part.endswith(".parquet")]
        try:
            files = [_local(corpus, part, temporary) for part in parts]
            if files and expected in (None, _sha256(files)):
                return files
        except FileNotFoundError:  # removed meanwhile
            continue
        other = other or bool(files)
    where = f"{one_line(corpus.url)}/{name}.parquet"
    if other:
        raise DataError(
            f"{where} is not the one that dataset.json names: damaged, or being published"
        )
    raise DataError(f"{where} is missing")


def _local(corpus: Store, part: str, temporary: Path) -> Path:
    if corpus.local_root is not None:
        return corpus.local_root / part
    target = temporary / part
    target.parent.mkdir(parents=True, exist_ok=True)
    corpus.fetch(part, target)
    return target


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while piece := opened.read(PIECE_BYTES):
                digest.update(piece)
    return digest.hexdigest()


def _literal(path: str) -> str:
    """Returns a path as a pattern that no other path matches."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _unreadable(what: str, error: Exception) -> DataError:
    return DataError(f"{what} cannot be read: {one_line(str(error), 120)}")
