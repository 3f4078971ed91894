"""The tables on a server that speaks the DynamoDB API, and the requests that are ever made of it.

Every write names one item: no transaction, no batch, no statement language, so that ScyllaDB's Alternator, which has no
transactions and no atomic batches, will do. Reads are strongly consistent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from chatkeep.domain.errors import Unavailable
from chatkeep.stores.dynamodb.errors import translated
from chatkeep.stores.items.tables import Condition, Index, Item, Key, UpTo, key_of

_Request = dict[str, Any]


def to_wire(value: Any) -> _Request:
    """Return a value in the wire form, such as `{"N": "3"}`."""
    if isinstance(value, bytes):
        return {"B": value}
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    if isinstance(value, list):
        return {"L": [to_wire(one) for one in value]}
    if isinstance(value, dict):
        return {"M": item_to_wire(value)}
    raise TypeError(f"an attribute cannot be {type(value).__name__}")


def item_to_wire(item: Item) -> _Request:
    """Return the attributes of an item in the wire form."""
    return {name: to_wire(value) for name, value in item.items()}


def from_wire(value: _Request) -> Any:
    """Return a value of the wire form. Of a kind that is never written here, such as a set, it is what stands there."""
    [(kind, content)] = value.items()
    if kind == "N":
        return int(content) if content.lstrip("-").isdecimal() else content
    if kind == "L":
        return [from_wire(one) for one in content]
    if kind == "M":
        return item_from_wire(content)
    return content


def item_from_wire(item: _Request) -> Item:
    """Return the attributes of an item of the wire form."""
    return {name: from_wire(value) for name, value in item.items()}


class DynamoTables:
    """The three tables behind one client, which is not closed here."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client: Any = client
        self._prefix = prefix

    def name(self, table: str) -> str:
        """Return the full name of a table."""
        return self._prefix + table

    def close(self) -> None:
        self._client = None

    @property
    def client(self) -> Any:
        """The driver's client. Raises Unavailable once the store is closed."""
        if self._client is None:
            raise Unavailable("the store is closed; open a new one")
        return self._client

    async def get(self, table: str, key: Key) -> Item | None:
        with translated():
            answer = await self.client.get_item(TableName=self.name(table), Key=_key(key), ConsistentRead=True)
        return item_from_wire(answer["Item"]) if "Item" in answer else None

    async def put(self, table: str, key: Key, item: Item, condition: Condition | None = None) -> None:
        with translated():
            await self.client.put_item(
                TableName=self.name(table), Item={**_key(key), **item_to_wire(item)}, **_if(condition)
            )

    async def update(self, table: str, key: Key, changes: Item, condition: Condition) -> Item:
        values = {name: value for name, value in changes.items() if value is not None}
        removed = sorted(changes.keys() - values.keys())
        expression = f"SET {', '.join(f'{name} = :new_{name}' for name in values)}" if values else ""
        if removed:
            expression += f" REMOVE {', '.join(removed)}"
        request = _if(condition)
        named = {f":new_{name}": to_wire(value) for name, value in values.items()}
        named |= request.pop("ExpressionAttributeValues", {})
        if named:
            request["ExpressionAttributeValues"] = named
        with translated():
            answer = await self.client.update_item(
                TableName=self.name(table),
                Key=_key(key),
                UpdateExpression=expression.strip(),
                ReturnValues="ALL_NEW",
                **request,
            )
        return item_from_wire(answer["Attributes"])

    async def count(self, table: str, key: Key) -> None:
        with translated():
            await self.client.update_item(
                TableName=self.name(table),
                Key=_key(key),
                UpdateExpression="ADD n :one",
                ExpressionAttributeValues={":one": to_wire(1)},
            )

    async def delete(self, table: str, key: Key, condition: Condition | None = None) -> bool:
        with translated():
            answer = await self.client.delete_item(
                TableName=self.name(table), Key=_key(key), ReturnValues="ALL_OLD", **_if(condition)
            )
        return bool(answer.get("Attributes"))

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
        at = index.attribute if index else "sk"
        condition, values = "pk = :pk", {":pk": to_wire(pk)}
        if low is not None and high is not None:
            condition += f" AND {at} BETWEEN :low AND :high"
            values |= {":low": to_wire(low), ":high": to_wire(high)}
        elif low is not None:
            condition += f" AND begins_with({at}, :low)"
            values[":low"] = to_wire(low)
        request: _Request = {
            "TableName": self.name(table),
            "KeyConditionExpression": condition,
            "ScanIndexForward": not descending,
            "ConsistentRead": True,
            **_filter(where, values),
        }
        if index:
            request["IndexName"] = index.name
        if only:
            request["ProjectionExpression"] = ", ".join(only)
        if page:
            request["Limit"] = page
        while True:
            with translated():
                answer = await self.client.query(**request)
            for item in answer["Items"]:
                yield item_from_wire(item)
            if not answer.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def scan(
        self, table: str, only: tuple[str, ...], *, page: int, where: UpTo | None = None, after: Key | None = None
    ) -> tuple[list[Item], Key | None]:
        request: _Request = {
            "TableName": self.name(table),
            "ProjectionExpression": ", ".join(only),
            "ConsistentRead": True,
            "Limit": page,
            **_filter(where, {}),
        }
        if after:
            request["ExclusiveStartKey"] = _key(after)
        with translated():
            answer = await self.client.scan(**request)
        last = answer.get("LastEvaluatedKey")
        return [item_from_wire(item) for item in answer["Items"]], key_of(item_from_wire(last)) if last else None


def _key(key: Key) -> _Request:
    return {"pk": to_wire(key.pk), "sk": to_wire(key.sk)}


def _if(condition: Condition | None) -> _Request:
    if condition is None:
        return {}
    if not condition.is_there:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    if not condition.equal:
        return {"ConditionExpression": "attribute_exists(pk)"}
    return {
        "ConditionExpression": " AND ".join(f"{name} = :{name}" for name in condition.equal),
        "ExpressionAttributeValues": {f":{name}": to_wire(value) for name, value in condition.equal.items()},
    }


def _filter(where: UpTo | None, values: _Request) -> _Request:
    """Return the parts of a request that leave out what `where` does not admit, with the values of all parts."""
    request: _Request = {}
    if where is not None:
        expression = f"{where.name} <= :most"
        values = {**values, ":most": to_wire(where.most)}
        request["FilterExpression"] = (
            f"attribute_exists({where.or_has}) OR {expression}" if where.or_has else expression
        )
    if values:
        request["ExpressionAttributeValues"] = values
    return request
