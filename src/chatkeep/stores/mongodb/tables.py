"""The tables as three collections.

A document's `_id` is the key in hexadecimal, `PK/SK`: MongoDB orders binary values by their length first, text by its
bytes. The attributes of the indexes are written in the same way, behind the partition. So a partition is a range of
`_id`, or of an index, and needs no field of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from chatkeep.domain.errors import Unavailable
from chatkeep.stores.endings import Endings
from chatkeep.stores.items.tables import (
    ABSENT,
    BY_CHANGE,
    BY_LIST,
    PRESENT,
    SESSIONS,
    Condition,
    Index,
    Item,
    Key,
    UpTo,
)
from chatkeep.stores.mongodb.errors import CLOSED, translated
from chatkeep.stores.races import Raced

Document = dict[str, Any]
Result = TypeVar("Result")

_INDEXES = (BY_LIST, BY_CHANGE)
_INDEXED = frozenset(index.attribute for index in _INDEXES)
_PAGE = 1_000
_BEYOND = "~"
"""Sorts behind every hexadecimal digit."""
_KEYS_ONLY = frozenset({"pk", "sk"})


class MongoTables:
    """The three collections of a database. The client is not closed here.

    A write is acknowledged when a majority of the replica set has it in its journal, and only what a majority has is
    read: what a call returned is not taken back by an election.
    """

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database: AsyncDatabase[Document] | None = database
        self._endings = Endings()

    def close(self) -> None:
        self._database = None

    async def settled(self) -> None:
        """Wait until the requests that are under way have ended."""
        await self._endings.settled()

    async def _done(self, request: Coroutine[Any, Any, Result]) -> Result:
        """Return the answer to a request, which goes on to its end though the caller is cancelled: the driver leaves a
        connection open that it was about to make.
        """
        with translated():
            return await self._endings.of(request)

    def _collection(self, table: str) -> AsyncCollection[Document]:
        if self._database is None:
            raise Unavailable(CLOSED)
        return self._database[table]

    async def create_indexes(self) -> None:
        """Create the indexes that are missing."""
        with translated():
            for index in _INDEXES:
                await self._collection(SESSIONS).create_index([(index.attribute, DESCENDING)], name=index.name)

    async def get(self, table: str, key: Key) -> Item | None:
        document = await self._done(self._collection(table).find_one({"_id": _id(key)}))
        return None if document is None else _item(document)

    async def put(self, table: str, key: Key, item: Item, condition: Condition | None = None) -> None:
        document = _document(key, item)
        collection = self._collection(table)
        if condition is None:
            await self._made_sure(lambda: collection.replace_one({"_id": _id(key)}, document, upsert=True))
        elif condition == ABSENT:
            await self._done(collection.insert_one(document))
        else:
            found = {"_id": _id(key), **_equal(key, condition)}
            if not (await self._done(collection.replace_one(found, document))).matched_count:
                raise Raced

    async def _made_sure(self, upsert: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Write what may or may not be there. Where two begin it at the same time, one of them finds it there then."""
        try:
            await self._done(upsert())
        except Raced:
            await self._done(upsert())

    async def update(self, table: str, key: Key, changes: Item, condition: Condition) -> Item:
        values = {name: _stored(key, name, value) for name, value in changes.items() if value is not None}
        removed = {name: "" for name in changes if name not in values}
        change = {name: fields for name, fields in (("$set", values), ("$unset", removed)) if fields}
        document = await self._done(
            self._collection(table).find_one_and_update(
                {"_id": _id(key), **_equal(key, condition)}, change, return_document=ReturnDocument.AFTER
            )
        )
        if document is None:
            raise Raced
        return _item(document)

    async def count(self, table: str, key: Key) -> None:
        collection = self._collection(table)
        await self._made_sure(lambda: collection.update_one({"_id": _id(key)}, {"$inc": {"n": 1}}, upsert=True))

    async def delete(self, table: str, key: Key, condition: Condition | None = None) -> bool:
        result = await self._done(
            self._collection(table).delete_one({"_id": _id(key), **_equal(key, condition or PRESENT)})
        )
        if not result.deleted_count and condition is not None:
            raise Raced
        return bool(result.deleted_count)

    async def query(
        self,
        table: str,
        pk: bytes,
        *,
        low: bytes | None = None,
        high: bytes | None = None,
        index: Index | None = None,
        only: tuple[str, ...] | None = None,
        where: UpTo | None = None,
        descending: bool = False,
        page: int | None = None,
    ) -> AsyncIterator[Item]:
        at = index.attribute if index else "_id"
        begin = f"{pk.hex()}/"
        first = begin + (low or b"").hex()
        if high is not None:
            bounds = {"$gte": first, "$lte": begin + high.hex()}
        else:
            bounds = {"$gte": first, "$lt": first + _BEYOND}
        step = page or _PAGE
        while True:
            documents = await self._find(
                table, {at: bounds, **_filter(where)}, only, at, step, DESCENDING if descending else ASCENDING
            )
            last = documents[-1][at] if len(documents) == step else None
            for document in documents:
                yield _item(document)
            if last is None:
                return
            behind, passed = ("$lt", "$l") if descending else ("$gt", "$g")
            bounds = {name: bound for name, bound in bounds.items() if not name.startswith(passed)}
            bounds[behind] = last

    async def scan(
        self, table: str, only: tuple[str, ...], *, page: int, where: UpTo | None = None, after: Key | None = None
    ) -> tuple[list[Item], Key | None]:
        behind = {"_id": {"$gt": _id(after)}} if after else {}
        wanted = only if where is None else (*only, where.name)
        documents = await self._find(table, behind, wanted, "_id", page, ASCENDING)
        last = _key(documents[-1]["_id"]) if len(documents) == page else None
        items = [_item(document) for document in documents]
        return [item for item in items if where is None or _admits(where, item)], last

    async def _find(
        self, table: str, where: Mapping[str, Any], only: tuple[str, ...] | None, order: str, limit: int, direction: int
    ) -> list[Document]:
        fields = dict.fromkeys({*only, order} - _KEYS_ONLY, 1) if only else None
        cursor = self._collection(table).find(where, fields, batch_size=limit, limit=limit).sort(order, direction)
        return await self._done(cursor.to_list())


def durable(client: AsyncMongoClient[Document], name: str, *, confirm_seconds: float) -> AsyncDatabase[Document]:
    """Return a database whose writes survive an election and a crash, and whose reads see all of them and no others,
    whatever the URL says.
    """
    concern = WriteConcern(w="majority", j=True, wtimeout=int(confirm_seconds * 1_000))
    return client.get_database(
        name, write_concern=concern, read_concern=ReadConcern("majority"), read_preference=ReadPreference.PRIMARY
    )


def _id(key: Key) -> str:
    return f"{key.pk.hex()}/{key.sk.hex()}"


def _key(identifier: str) -> Key:
    pk, _, sk = identifier.partition("/")
    return Key(bytes.fromhex(pk), bytes.fromhex(sk))


def _stored(key: Key, name: str, value: Any) -> Any:
    return f"{key.pk.hex()}/{value.hex()}" if name in _INDEXED else value


def _document(key: Key, item: Item) -> Document:
    fields = {name: _stored(key, name, value) for name, value in item.items() if name not in _KEYS_ONLY}
    return {"_id": _id(key), **fields}


def _item(document: Document) -> Item:
    pk, sk = _key(document.pop("_id"))
    item = document | {"pk": pk, "sk": sk}
    for name in _INDEXED & item.keys():
        item[name] = _key(item[name]).sk
    return item


def _equal(key: Key, condition: Condition) -> Document:
    return {name: _stored(key, name, value) for name, value in condition.equal.items()}


def _filter(where: UpTo | None) -> Document:
    if where is None:
        return {}
    up_to = {where.name: {"$lte": where.most}}
    return {"$or": [up_to, {where.or_has: {"$exists": True}}]} if where.or_has else up_to


def _admits(where: UpTo, item: Item) -> bool:
    return where.name in item and item[where.name] <= where.most
