"""A thread that reads, on a connection of its own, so that nothing waits for a commit.

What waits is read in one transaction, that is, from one state of the database: one that holds everything that was
acknowledged before the calls were made.
"""

from __future__ import annotations

import apsw

from chatkeep.stores.sqlite.connection import Database
from chatkeep.stores.sqlite.errors import translated
from chatkeep.stores.sqlite.lane import Answer, Job, Lane

MOST_IN_A_BATCH = 32


class Reader:
    """Owns a connection that reads."""

    def __init__(self, db: Database, name: str) -> None:
        self._db = db
        self._lane: Lane[Database] = Lane(f"chatkeep-sqlite-{name}", self._work, end=self._end, most=MOST_IN_A_BATCH)
        self.call = self._lane.call
        self.close = self._lane.close

    def _work(self, jobs: list[Job[Database]]) -> None:
        with self._db.busy:
            try:
                self._db.sql("BEGIN")
                answers = [self._answer(job) for job in jobs]
                self._db.sql("COMMIT")
            except apsw.Error as error:
                meaning = translated(error)
                answers = [Answer(job.future, None, meaning) for job in jobs]
                if self._db.connection.in_transaction:
                    self._db.sql("ROLLBACK")
        self._lane.settle(answers)

    def _end(self) -> None:
        with self._db.busy:
            self._db.connection.close()

    def _answer(self, job: Job[Database]) -> Answer:
        try:
            return Answer(job.future, job.call(self._db), None)
        except Exception as error:  # noqa: BLE001 -- handed to the caller, whatever it is
            return Answer(job.future, None, translated(error))
