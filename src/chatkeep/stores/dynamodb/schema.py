"""The tables as they are created. Indexes are local ones, which cannot be added later."""

from __future__ import annotations

import asyncio
from typing import Any

from botocore.exceptions import ClientError  # type: ignore[import-untyped]  # the package ships no types

from chatkeep.domain.errors import Timeout
from chatkeep.stores.dynamodb.errors import translated
from chatkeep.stores.dynamodb.tables import DynamoTables
from chatkeep.stores.items.tables import BY_CHANGE, BY_LIST, LOG, SESSIONS, WORK, Index

_POLLS = 120
_POLL_SECONDS = 0.5


def _index(index: Index, projection: dict[str, Any]) -> dict[str, Any]:
    return {
        "IndexName": index.name,
        "KeySchema": [
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": index.attribute, "KeyType": "RANGE"},
        ],
        "Projection": projection,
    }


def definition(table: str, full_name: str) -> dict[str, Any]:
    """Return the request that creates a table.

    `write_isolation` is read by ScyllaDB: every write goes through the same lightweight transactions, since mixing
    conditional and plain writes of one item is unsafe there.
    """
    attributes = ["pk", "sk"]
    request: dict[str, Any] = {
        "TableName": full_name,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "BillingMode": "PAY_PER_REQUEST",
        "Tags": [{"Key": "system:write_isolation", "Value": "always"}],
    }
    if table == SESSIONS:
        attributes += [BY_LIST.attribute, BY_CHANGE.attribute]
        request["LocalSecondaryIndexes"] = [
            _index(BY_LIST, {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["rec"]}),
            _index(BY_CHANGE, {"ProjectionType": "KEYS_ONLY"}),
        ]
    request["AttributeDefinitions"] = [{"AttributeName": name, "AttributeType": "B"} for name in attributes]
    return request


async def _create(tables: DynamoTables, table: str, name: str) -> None:
    try:
        await tables.client.create_table(**definition(table, name))
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":  # another process has begun it
            raise


async def create_tables(tables: DynamoTables) -> None:
    """Create the tables that are missing, and wait until all can be used.

    Raises Timeout when that takes longer than a minute.
    """
    names = {table: tables.name(table) for table in (SESSIONS, LOG, WORK)}
    with translated():
        for table, name in names.items():
            try:
                await tables.client.describe_table(TableName=name)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ResourceNotFoundException":
                    raise
                await _create(tables, table, name)
        for name in names.values():
            for _ in range(_POLLS):
                answer = await tables.client.describe_table(TableName=name)
                if answer["Table"]["TableStatus"] == "ACTIVE":
                    break
                await asyncio.sleep(_POLL_SECONDS)
            else:
                raise Timeout(f"table {name!r} is still not active; run it again")
