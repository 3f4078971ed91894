"""What a URL says."""

from __future__ import annotations

import pytest
from pymongo import AsyncMongoClient
from pymongo.read_preferences import ReadPreference

from chatkeep.domain.errors import Invalid
from chatkeep.stores.mongodb import Address, open_mongodb
from chatkeep.stores.mongodb.tables import durable


def test_a_url_names_hosts_a_database_and_options_of_the_driver() -> None:
    url = "mongodb://alice:secret@one:27017,two:27018/chats?replicaSet=rs0&w=majority"

    address = Address.of_url(url)

    assert (address.url, address.database, address.options) == (url, "chats", frozenset({"replicaset", "w"}))
    assert "secret" not in repr(address)
    assert Address.of_url("mongodb://localhost").database == "chatkeep"


@pytest.mark.parametrize("url", ["postgresql://host", "mongodb://host/a.b", "mongodb://host/a%20b"])
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Address.of_url(url)


@pytest.mark.parametrize("url", ["mongodb://", "mongodb://host:port/"])
async def test_what_the_driver_cannot_read_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        await open_mongodb(Address.of_url(url))


async def test_what_is_promised_does_not_depend_on_the_url() -> None:
    url = "mongodb://localhost/?readPreference=secondaryPreferred&w=1&journal=false&readConcernLevel=local"
    async with AsyncMongoClient[dict[str, object]](url, connect=False) as client:
        database = durable(client, "chats", confirm_seconds=1)

    assert database.read_preference == ReadPreference.PRIMARY
    assert database.write_concern.document == {"w": "majority", "j": True, "wtimeout": 1_000}
    assert database.read_concern.level == "majority"
