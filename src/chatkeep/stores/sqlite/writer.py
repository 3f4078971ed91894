"""The one writer of a process: group commit.

What waits is done in one transaction, and nobody is answered before the commit has returned: one sync pays for all. A
call that fails has, as a rule, changed nothing by then. Should it have, the transaction is undone, and each call gets
one of its own, so that an error undoes that call alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import apsw

from chatkeep.domain.errors import ChatkeepError, Unavailable
from chatkeep.stores.sqlite.connection import Database
from chatkeep.stores.sqlite.errors import translated
from chatkeep.stores.sqlite.lane import Answer, Job, Lane
from chatkeep.stores.sqlite.lock import WriteTurn
from chatkeep.stores.sqlite.place import Place
from chatkeep.stores.sqlite.transaction import Write

MOST_IN_A_BATCH = 256
CHECKPOINT_PAGES = 1_000
IDLE_SECONDS = 0.25

_log = logging.getLogger(__name__)


class _HalfDoneError(Exception):
    """A call of a transaction failed after it had changed something."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Writer:
    """Owns the connection that writes. `commits` counts transactions that were committed.

    `index` puts what waits into the search index, a bounded piece a call, and returns how much it was. It is called in
    pauses, and when more than `most_unindexed` entries wait.
    """

    def __init__(
        self,
        db: Database,
        turn: WriteTurn | None,
        place: Place | None,
        *,
        search: bool,
        index: Callable[[Write], int],
        most_unindexed: int = 8_192,
    ) -> None:
        self.commits = 0
        self._db = db
        self._turn = turn
        self._place = place
        self._write = Write(db, search=search)
        self._index = index
        self._most_unindexed = most_unindexed
        self._indexing = search
        self._wal_pages = 0
        self._checkpoint_at = CHECKPOINT_PAGES
        self._wipe_due = False
        if turn is not None:
            db.connection.set_wal_hook(self._count_pages)
        self._lane: Lane[Write] = Lane(
            "chatkeep-sqlite-writer",
            self._work,
            end=self._end,
            most=MOST_IN_A_BATCH,
            idle=self._rest,
            idle_seconds=lambda: IDLE_SECONDS if self._indexing or (self._wipe_due and turn is not None) else None,
        )
        self.call = self._lane.call
        self.close = self._lane.close

    def _count_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _work(self, jobs: list[Job[Write]]) -> None:
        try:
            if self._turn is not None:
                self._turn.acquire()
        except Unavailable as error:
            self._lane.settle([Answer(job.future, None, error) for job in jobs])
            return
        try:
            with self._db.busy:
                answers = self._kept(self._batch(jobs))
                self._wipe_if_due()
                self._lane.settle(answers)
                self._tidy()
        finally:
            if self._turn is not None:
                self._turn.release()

    def _batch(self, jobs: list[Job[Write]]) -> list[Answer]:
        """Do the jobs in one transaction and return their answers, after the commit."""
        try:
            self._db.sql("BEGIN IMMEDIATE")
            answers = [self._member(job) for job in jobs]
            self._finish()
            self._db.sql("COMMIT")
            self.commits += 1
        except _HalfDoneError as error:
            self._undo()
            if len(jobs) == 1:
                return [Answer(jobs[0].future, None, translated(error.reason))]
            return [answer for job in jobs for answer in self._batch([job])]
        except apsw.Error as error:
            self._undo()
            meaning = translated(error)
            return [Answer(job.future, None, meaning) for job in jobs]
        return answers

    def _kept(self, answers: list[Answer]) -> list[Answer]:
        """Return the answers to calls that are committed, or, if that is worth nothing, errors."""
        try:
            self.check_place()
        except Unavailable as error:
            return [Answer(answer.future, None, error) for answer in answers]
        return answers

    def check_place(self) -> None:
        """Raise Unavailable if the database is not where it was opened."""
        if self._place is not None:
            self._place.check()

    def _member(self, job: Job[Write]) -> Answer:
        """Do one job inside the transaction. Raises _HalfDoneError when that has to be undone."""
        write = self._write
        write.begin_call()
        try:
            return Answer(job.future, job.call(write), None)
        except Exception as error:
            if write.changed or not self._db.connection.in_transaction:
                raise _HalfDoneError(error) from error
            return Answer(job.future, None, translated(error))

    def _finish(self) -> None:
        try:
            self._write.finish()
        except Exception as error:
            raise _HalfDoneError(error) from error

    def _undo(self) -> None:
        if self._db.connection.in_transaction:
            self._db.sql("ROLLBACK")
        self._write.forget()

    def _wipe_if_due(self) -> None:
        """After a removal, before it is acknowledged: let the WAL keep no copy of what was removed."""
        self._wipe_due = self._write.take_wipe() or self._wipe_due
        if self._wipe_due and self._turn is not None:
            self._checkpoint(truncate=True)

    def _tidy(self) -> None:
        """After a commit, still with the turn: keep the search backlog and the WAL bounded."""
        if self._write.indexable:
            self._indexing = self._write.search
            while self._indexing and self._write.indexable > self._most_unindexed:
                self._index_some()
        if self._turn is not None and self._wal_pages >= self._checkpoint_at:
            self._checkpoint(truncate=False)

    def _checkpoint(self, *, truncate: bool) -> None:
        """Copy the WAL into the database, as far as readers let it. A truncation they prevent stays due."""
        connection = self._db.connection
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if truncate else apsw.SQLITE_CHECKPOINT_PASSIVE
        connection.set_busy_timeout(20)
        try:
            pages, copied = connection.wal_checkpoint(mode=mode)
            self._wal_pages = 0
            self._checkpoint_at = CHECKPOINT_PAGES + (pages if copied < pages else 0)
            self._wipe_due = self._wipe_due and not truncate
        except apsw.BusyError:
            pass
        except apsw.Error as error:
            _log.warning("a checkpoint failed and will be tried again: %s", translated(error))
        finally:
            connection.set_busy_timeout(30_000)

    def _rest(self) -> None:
        """With nothing else to do: index a piece, make up for a wipe."""
        try:
            if self._turn is not None:
                self._turn.acquire()
        except Unavailable as error:
            _log.warning("the search index has to wait: %s", error)
            return
        try:
            with self._db.busy:
                if self._indexing:
                    self._index_some()
                self._wipe_if_due()
                self._tidy()
        finally:
            if self._turn is not None:
                self._turn.release()

    def _index_some(self) -> None:
        """Put a piece of what waits into the search index. A failure leaves it waiting, for a later round."""
        try:
            self._db.sql("BEGIN IMMEDIATE")
            indexed = self._index(self._write)
            self._db.sql("COMMIT")
            self._indexing = indexed > 0
            self._write.indexable = max(0, self._write.indexable - indexed) if indexed else 0
        except (apsw.Error, ChatkeepError) as error:
            self._indexing = False
            self._undo()
            _log.warning("the search index has to wait: %s", translated(error))

    def _end(self) -> None:
        """Leave a database whose WAL is empty, if nobody else is in it."""
        if self._turn is not None:
            try:
                self._turn.acquire()
                with self._db.busy:
                    self._checkpoint(truncate=True)
            except Unavailable as error:
                _log.warning("the database is closed without a checkpoint: %s", error)
            else:
                self._turn.release()
            self._turn.close()
        with self._db.busy:
            self._db.connection.close()
