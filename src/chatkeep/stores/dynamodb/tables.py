"""The tables, and the five requests that are ever made of them.

Every write names one item: no transaction, no batch, no statement language, so that ScyllaDB's Alternator, which has no
transactions and no atomic batches, will do. Reads are strongly consistent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from chatkeep.domain.errors import Unavailable
from chatkeep.stores.dynamodb.errors import translated
from chatkeep.stores.dynamodb.keys import Key

Item = dict[str, Any]
"""Attributes in the wire form, such as `{"pk": {"B": b"…"}, "ver": {"N": "3"}}`."""

SESSIONS, LOG, WORK = "sessions", "log", "work"
BY_LIST, BY_CHANGE = "by_list", "by_change"
AT_ONCE = 16
"""Requests of one call that are under way together."""

Result = TypeVar("Result")


class Condition(NamedTuple):
    """What must hold for a write to happen."""

    expression: str
    values: Item


ABSENT = Condition("attribute_not_exists(pk)", {})
PRESENT = Condition("attribute_exists(pk)", {})


def b(value: bytes) -> Item:
    """Return bytes in the wire form."""
    return {"B": value}


def n(value: int) -> Item:
    """Return an integer in the wire form."""
    return {"N": str(value)}


def s(value: str) -> Item:
    """Return a text in the wire form."""
    return {"S": value}


def bytes_of(item: Item, name: str) -> bytes:
    """Return a binary attribute."""
    return bytes(item[name]["B"])


def int_of(item: Item, name: str) -> int:
    """Return a number attribute."""
    return int(item[name]["N"])


def text_of(item: Item, name: str) -> str:
    """Return a text attribute."""
    return str(item[name]["S"])


def unchanged(version: int, incarnation: str) -> Condition:
    """Return the condition that an item is the one that was read."""
    return Condition("ver = :ver AND inc = :inc", {":ver": n(version), ":inc": s(incarnation)})


async def together(calls: Iterable[Callable[[], Awaitable[Result]]]) -> list[Result]:
    """Make the calls, a few at a time, and return their results in order. All have ended when one's error is raised."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(call: Callable[[], Awaitable[Result]]) -> Result:
        async with gate:
            return await call()

    outcomes = await asyncio.gather(*(one(call) for call in calls), return_exceptions=True)
    results: list[Result] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results


class Tables:
    """The three tables behind one client, which is not closed here."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client: Any = client
        self._prefix = prefix

    def name(self, table: str) -> str:
        """Return the full name of a table."""
        return self._prefix + table

    def close(self) -> None:
        """Refuse all further requests."""
        self._client = None

    @property
    def client(self) -> Any:
        """The driver's client. Raises Unavailable once the store is closed."""
        if self._client is None:
            raise Unavailable("the store is closed; open a new one")
        return self._client

    async def get(self, table: str, key: Key) -> Item | None:
        """Return an item as of now, None if there is none."""
        with translated():
            answer = await self.client.get_item(TableName=self.name(table), Key=_key(key), ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    async def put(self, table: str, key: Key, item: Item, condition: Condition | None = None) -> None:
        """Write a whole item. Raises Raced."""
        with translated():
            await self.client.put_item(
                TableName=self.name(table), Item={**_key(key), **item}, **_expression("ConditionExpression", condition)
            )

    async def update(self, table: str, key: Key, change: str, values: Item, condition: Condition) -> Item:
        """Change some attributes of an item and return it as it is then. Raises Raced."""
        with translated():
            answer = await self.client.update_item(
                TableName=self.name(table),
                Key=_key(key),
                UpdateExpression=change,
                ReturnValues="ALL_NEW",
                **_expression("ConditionExpression", condition._replace(values={**values, **condition.values})),
            )
        item: Item = answer["Attributes"]
        return item

    async def count(self, table: str, key: Key) -> None:
        """Add one to the count `n` of an item, which need not exist."""
        with translated():
            await self.client.update_item(
                TableName=self.name(table),
                Key=_key(key),
                UpdateExpression="ADD n :one",
                ExpressionAttributeValues={":one": n(1)},
            )

    async def delete(self, table: str, key: Key, condition: Condition | None = None) -> bool:
        """Remove an item and return whether it was there. Raises Raced."""
        with translated():
            answer = await self.client.delete_item(
                TableName=self.name(table),
                Key=_key(key),
                ReturnValues="ALL_OLD",
                **_expression("ConditionExpression", condition),
            )
        return bool(answer.get("Attributes"))

    async def delete_all(self, table: str, keys: Sequence[Key]) -> int:
        """Remove items one by one and return how many were there."""
        return sum(await together(partial(self.delete, table, key) for key in keys))

    async def query(
        self,
        table: str,
        pk: bytes,
        *,
        low: bytes | None = None,
        high: bytes | None = None,
        index: tuple[str, str] | None = None,
        only: str | None = None,
        where: Condition | None = None,
        descending: bool = False,
        page: int | None = None,
    ) -> AsyncIterator[Item]:
        """Yield the items of a partition in order, asking for a page when the one before is used up.

        `low` and `high` bound the sort key, both inclusive. `index` is the name of an index and its sort key.
        """
        at = index[1] if index else "sk"
        condition, values = "pk = :pk", {":pk": b(pk), **(where.values if where else {})}
        if low is not None and high is not None:
            condition += f" AND {at} BETWEEN :low AND :high"
            values |= {":low": b(low), ":high": b(high)}
        elif low is not None:
            condition += f" AND begins_with({at}, :low)"
            values[":low"] = b(low)
        request: dict[str, Any] = {
            "TableName": self.name(table),
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not descending,
            "ConsistentRead": True,
        }
        if index:
            request["IndexName"] = index[0]
        if only:
            request["ProjectionExpression"] = only
        if where:
            request["FilterExpression"] = where.expression
        if page:
            request["Limit"] = page
        while True:
            with translated():
                answer = await self.client.query(**request)
            for item in answer["Items"]:
                yield item
            if not answer.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def scan(
        self, table: str, only: str, *, page: int, where: Condition | None = None, after: Key | None = None
    ) -> tuple[list[Item], Key | None]:
        """Look at up to `page` items of a table behind `after`, in an order of the engine's own; return those that
        `where` admits, and where to go on, None at the end.
        """
        request: dict[str, Any] = {
            "TableName": self.name(table),
            "ProjectionExpression": only,
            "ConsistentRead": True,
            "Limit": page,
        }
        if where:
            request |= {"FilterExpression": where.expression, "ExpressionAttributeValues": where.values}
        if after:
            request["ExclusiveStartKey"] = _key(after)
        with translated():
            answer = await self.client.scan(**request)
        last = answer.get("LastEvaluatedKey")
        return answer["Items"], key_of(last) if last else None


def _key(key: Key) -> Item:
    return {"pk": b(key.pk), "sk": b(key.sk)}


def key_of(item: Item) -> Key:
    """Return the primary key of an item."""
    return Key(bytes_of(item, "pk"), bytes_of(item, "sk"))


def _expression(name: str, condition: Condition | None) -> dict[str, Any]:
    if condition is None:
        return {}
    found: dict[str, Any] = {name: condition.expression}
    if condition.values:
        found["ExpressionAttributeValues"] = condition.values
    return found
