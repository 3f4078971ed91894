"""What a URL says."""

from __future__ import annotations

import pytest

from chatkeep.domain.errors import Invalid
from chatkeep.stores.redis import Address


def test_a_url_names_one_server() -> None:
    address = Address.of_url("rediss://alice:s%40cret@example.org:6380/3?prefix=chats&pool=5&replicas=2&sync=none")

    assert address == Address(
        kind="one",
        hosts=(("example.org", 6380),),
        tls=True,
        username="alice",
        password="s@cret",  # noqa: S106 -- of an example
        database=3,
        prefix="chats",
        pool=5,
        sync="none",
        replicas=2,
    )
    assert "s@cret" not in repr(address)
    assert Address.of_url("redis://").hosts == (("localhost", 6379),)
    assert Address.of_url("redis://[::1]:7000").hosts == (("::1", 7000),)


def test_a_url_names_sentinels_and_the_master_they_watch() -> None:
    address = Address.of_url("redis+sentinel://one:26379,two/chats/1")

    assert (address.kind, address.hosts) == ("sentinel", (("one", 26379), ("two", 26379)))
    assert (address.service, address.database) == ("chats", 1)


def test_a_url_names_nodes_of_a_cluster() -> None:
    address = Address.of_url("redis+cluster://one:7000,two:7001?prefix=a")

    assert (address.kind, address.hosts, address.prefix) == ("cluster", (("one", 7000), ("two", 7001)), "a")


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://host",
        "redis://one,two",
        "redis://host:port",
        "redis://host:0",
        "redis://host/a",
        "redis://host/1/2",
        "redis+sentinel://host",
        "redis+cluster://host/1",
        "redis://host?prefix=a{b}",
        "redis://host?sync=maybe",
        "redis://host?replicas=-1",
        "redis://host?pool=0",
        "redis://host?colour=blue",
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Address.of_url(url)
