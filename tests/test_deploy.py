"""What is deployed is what the code makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hcl2
import pytest

from chatkeep.stores.dynamodb.schema import definition
from chatkeep.stores.items.tables import LOG, SESSIONS, WORK

TERRAFORM = Path(__file__).parents[1] / "deploy/terraform/dynamodb/main.tf"


def plain(value: Any) -> Any:
    """Return what the parser gives without its marks and quotes."""
    if isinstance(value, dict):
        return {plain(name): plain(one) for name, one in value.items() if not name.startswith("__")}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return re.sub(r'^"(.*)"$', r"\1", value) if isinstance(value, str) else value


def as_request(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table of Terraform as the request that creates it."""

    def key(range_key: str) -> list[dict[str, str]]:
        return [
            {"AttributeName": table["hash_key"], "KeyType": "HASH"},
            {"AttributeName": range_key, "KeyType": "RANGE"},
        ]

    request: dict[str, Any] = {
        "TableName": table["name"],
        "KeySchema": key(table["range_key"]),
        "BillingMode": table["billing_mode"],
        "AttributeDefinitions": [
            {"AttributeName": one["name"], "AttributeType": one["type"]} for one in table["attribute"]
        ],
    }
    indexes = [
        {
            "IndexName": one["name"],
            "KeySchema": key(one["range_key"]),
            "Projection": {"ProjectionType": one["projection_type"]}
            | ({"NonKeyAttributes": one["non_key_attributes"]} if "non_key_attributes" in one else {}),
        }
        for one in table.get("local_secondary_index", ())
    ]
    return request | ({"LocalSecondaryIndexes": indexes} if indexes else {})


@pytest.mark.parametrize("table", [SESSIONS, LOG, WORK])
def test_terraform_makes_the_tables_that_the_store_makes(table: str) -> None:
    with TERRAFORM.open(encoding="utf-8") as file:
        resources = [plain(one) for one in hcl2.load(file)["resource"]]
    described = next(one["aws_dynamodb_table"][table] for one in resources if table in one["aws_dynamodb_table"])

    wanted = definition(table, "${var.prefix}" + table)
    del wanted["Tags"]  # of ScyllaDB

    assert as_request(described) == wanted
