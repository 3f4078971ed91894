"""What is PostgreSQL's own: addresses, texts, the schema, appends in one statement, plans."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st
from tests.stores.postgres.conftest import PostgresHarness

from chatkeep.domain.errors import Invalid, NotFound, NotSupported, Unavailable
from chatkeep.domain.messages import Message
from chatkeep.domain.sessions import SessionPatch
from chatkeep.engines import open_store
from chatkeep.ports.clock import system_clock
from chatkeep.stores.postgres import Address, PostgresStore, open_postgres
from chatkeep.stores.postgres.engine import Connection
from chatkeep.stores.postgres.texts import stored, told
from chatkeep.testing.calls import ALICE, NEW, say


def test_an_address_is_read_from_a_url() -> None:
    address = Address.of_url("postgres://me:p%40ss@db:6432/chats?schema=talk&pool=3&sslmode=require")

    assert address == Address("postgresql://me:p%40ss@db:6432/chats?sslmode=require", "talk", 3)
    assert Address.of_url("postgresql://db/chats") == Address("postgresql://db/chats", "chatkeep", 10)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://db/chats", "postgresql://"),
        ("postgresql://db/chats?schema=No", "schema 'No'"),
        ("postgresql://db/chats?schema=a%22b", "schema"),
        ("postgresql://db/chats?pool=0", "pool"),
        ("postgresql://db/chats?pool=many", "pool"),
    ],
)
def test_a_url_that_cannot_be_says_why(url: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        Address.of_url(url)


@given(st.text(st.sampled_from("\0\x01\x02ab\U0001f642")), st.text(st.sampled_from("\0\x01\x02ab\U0001f642")))
def test_texts_keep_their_difference_and_their_order(one: str, other: str) -> None:
    assert told(stored(one)) == one
    assert "\0" not in stored(one)
    assert (one.encode() < other.encode()) == (stored(one).encode() < stored(other).encode())


async def test_a_session_that_is_known_gets_messages_without_a_transaction(
    harness: PostgresHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await harness.open(system_clock)
    await say(store, "first")

    async def refused(_self: PostgresStore, _call: object) -> Any:
        raise AssertionError("a transaction")

    monkeypatch.setattr(PostgresStore, "_write", refused)
    appended = await say(store, "second", key="2")

    assert (appended.first_seq, appended.repeated) == (2, False)


async def test_who_knows_an_old_record_stores_nothing_twice_and_leaves_no_gap(harness: PostgresHarness) -> None:
    first, second = await harness.open(system_clock), await harness.open(system_clock)
    await say(first, "1", key="1")
    await say(second, "2", key="2")

    seqs = [(await say(store, key, key=key)).first_seq for store, key in ((first, "3"), (second, "4"), (first, "4"))]
    await first.update_session(ALICE, "s", SessionPatch(title="other"))
    last = await say(second, "5", key="5")

    assert seqs == [3, 4, 4]
    assert (last.first_seq, last.session.title) == (5, "other")
    assert [one.text for one in await first.read(ALICE, "s", limit=9) if isinstance(one, Message)] == list("12345")


async def test_a_change_that_took_its_number_first_and_is_seen_last_changes_the_version(
    harness: PostgresHarness,
) -> None:
    store = await harness.open(system_clock)
    await store.create_session(ALICE, "a", NEW)
    await store.create_session(ALICE, "b", NEW)
    raw = await harness.connect()
    slow = raw.transaction()
    await slow.start()
    await raw.execute("UPDATE sessions SET changed = nextval('changes'), title = 'slow' WHERE id = 'a'")
    await say(store, "fast", session="b")
    before = await store.scope_version(ALICE)
    newest = await raw.fetchval("SELECT max(changed) FROM sessions")

    await slow.commit()

    assert await raw.fetchval("SELECT max(changed) FROM sessions") == newest
    assert await store.scope_version(ALICE) != before
    await raw.close()


async def test_any_number_may_make_the_tables_at_once(harness: PostgresHarness) -> None:
    stores = await asyncio.gather(*(open_postgres(harness.address) for _ in range(8)))

    assert {tuple((await store.schema()).items())[:2] for store in stores} == {(("version", "1"), ("wanted", "1"))}
    await asyncio.gather(*(store.close() for store in stores))


async def test_another_schema_is_refused(harness: PostgresHarness) -> None:
    with pytest.raises(NotSupported, match="run `chatkeep migrate`"):
        await open_store(harness.url, migrate=False)
    store = await harness.open(system_clock)
    raw = await harness.connect()
    await raw.execute("UPDATE meta SET value = '2' WHERE name = 'version'")
    following = (await open_store(harness.url)).store
    await say(following, "served")
    await following.close()
    assert await raw.fetchval("SELECT value FROM meta WHERE name = 'version'") == "2"
    await raw.execute("UPDATE meta SET value = '3' WHERE name = 'version'")
    await raw.close()

    with pytest.raises(NotSupported, match="upgrade Chatkeep"):
        await store.ping()
    for migrate in (True, False):
        with pytest.raises(NotSupported, match="upgrade Chatkeep"):
            await open_store(harness.url, migrate=migrate)


async def test_a_wrong_user_is_told_without_the_password(harness: PostgresHarness) -> None:
    dsn = harness.address.dsn.replace("chatkeep@", "stranger:secret-word@")

    with pytest.raises(Unavailable) as error:
        await open_postgres(Address(dsn))

    assert "the user or the password" in str(error.value)
    assert "secret-word" not in str(error.value)


def _nodes(plan: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


async def test_lists_and_pages_are_read_by_an_index(harness: PostgresHarness) -> None:
    store = await harness.open(system_clock)
    await store.create_session(ALICE, "s", NEW)
    raw = await harness.connect(plan_cache_mode="force_generic_plan")
    fields = "incarnation, title, title_source, state, created_at_ms, first_seq, last_seq, head_seq, jumps_json"
    fields += ", queued_runs_json, revision, metadata_json, hidden"
    await raw.execute(
        f"INSERT INTO sessions (scope, id, modified_at_ms, {fields})"  # noqa: S608 -- names
        f" SELECT scope, n::text, n, {fields} FROM sessions, generate_series(1, 20000) n"
    )
    key = await raw.fetchval("SELECT key FROM sessions WHERE id = 's'")
    await raw.execute(
        "INSERT INTO messages (session, seq, created_at_us, uid, role, status, body)"
        " SELECT $1, n, n, '', 'user', 'complete', '' FROM generate_series(1, 20000) n",
        key,
    )
    scope = await raw.fetchval("SELECT scope FROM sessions LIMIT 1")
    asked = {
        "list_page": (0, "t", "a", "alice", ["pinned", "active"], [2**62] * 2, [""] * 2, 51),
        "read_newest": ("s", "t", "a", "alice", True, 1, 2**53, 20, 0),
        "read_ranges": (key, 0, [1, 500], [3, 520]),
        "read_oldest": ("s", "t", "a", "alice", True, 1, 2**53, 20, 0),
        "latest_changes": ("t", "a", "alice"),
        "search_due": (scope, 64),
        "read_newest_all": (["s"], ["t"], ["a"], ["alice"], [True], [1], [2**53], [20], [0]),
        "append_all": ([1], *[None] * 24),
    }
    for first in ("SELECT 1", "ANALYZE"):
        await raw.execute(first)
        for name, values in asked.items():
            statement = store._queries[name]
            (plan,) = json.loads(await raw.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values))
            nodes = list(_nodes(plan["Plan"]))
            scans = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
            assert not {"sessions", "messages"} & scans, (name, plan)
            sorts = [node for node in nodes if node["Node Type"] == "Sort"]
            assert not [node for node in sorts if node["Plan Rows"] > 1_000], (name, plan)
            if name in {"read_newest", "read_oldest"}:
                assert not sorts, plan
            if name == "read_newest_all":
                found = [node["Index Cond"] for node in nodes if node.get("Index Name") == "sessions_by_id"]
                assert len(found) == 1, plan
                assert "id =" in found[0], plan
    await raw.close()


async def test_appends_that_go_together_do_not_wait_for_a_session_that_is_held(harness: PostgresHarness) -> None:
    store = await harness.open(system_clock)
    for number in range(5):
        await say(store, "0", session=f"s{number}", key="0")
    raw = await harness.connect()
    await raw.execute("BEGIN; SELECT 1 FROM sessions WHERE id = 's3' FOR UPDATE")

    calls = [asyncio.create_task(say(store, "1", session=f"s{number}", key="1")) for number in range(5)]
    others = [call for number, call in enumerate(calls) if number != 3]
    await asyncio.wait_for(asyncio.gather(*others), 5)
    assert not calls[3].done()
    await raw.execute("ROLLBACK")
    await calls[3]
    await raw.close()

    for number in range(5):
        read = await store.read(ALICE, f"s{number}", limit=9)
        assert [one.text for one in read if isinstance(one, Message)] == ["0", "1"]


async def test_sessions_that_are_read_together_are_each_read_for_themselves(harness: PostgresHarness) -> None:
    store = await harness.open(system_clock)
    for number in range(6):
        await say(store, *(f"{number} {at}" for at in range(number + 1)), session=f"s{number}")
    await store.select_head(ALICE, "s5", 2)
    await say(store, "aside", session="s5", key="aside", parent_seq=2)
    await store.create_session(ALICE, "empty", NEW)
    await say(store, "gone", session="expired", idle_ttl=timedelta(milliseconds=1))
    await say(store, "gone", session="trashed")
    await store.trash_session(ALICE, "trashed", until=system_clock() + timedelta(days=1))
    await asyncio.sleep(0.01)

    async def texts(session: str, limit: int, before: int | None) -> list[str] | type[Exception]:
        try:
            read = await store.read(ALICE, session, limit=limit, before_seq=before, newest_first=True)
        except NotFound as error:
            return type(error)
        return [one.text for one in read if isinstance(one, Message)]

    asked = [("s1", 9, None), ("s2", 2, None), ("s3", 9, 3), ("nobody's", 9, None), ("s5", 9, None), ("s2", 1, 2)]
    asked += [("empty", 9, None), ("expired", 9, None), ("trashed", 9, None), ("s4", 9, 1)]

    assert await asyncio.gather(*(texts(*one) for one in asked)) == [
        ["1 1", "1 0"], ["2 2", "2 1"], ["3 1", "3 0"], NotFound, ["aside", "5 1", "5 0"], ["2 0"],
        [], NotFound, NotFound, [],
    ]  # fmt: skip


async def _cancelled_again_and_again(store: PostgresStore, raw: Any, key: str) -> None:
    """Let an append wait for a lock, and cancel it while it waits and while it is being undone."""
    await raw.execute("BEGIN; LOCK TABLE messages")
    waiting = asyncio.create_task(say(store, "given up", session=f"of {key}", key=key))
    await asyncio.sleep(0.05)
    while not waiting.done():
        waiting.cancel()
        await asyncio.sleep(0)
    await raw.execute("ROLLBACK")


async def test_a_call_that_is_cancelled_twice_leaves_no_transaction_behind(harness: PostgresHarness) -> None:
    store, other = await harness.open(system_clock), await harness.open(system_clock)
    await say(store, "0", key="0")
    raw = await harness.connect()
    for number in range(1, 6):
        await _cancelled_again_and_again(store, raw, str(number))
        await say(store, str(number), key=str(number))
    await raw.close()

    assert [one.text for one in await other.read(ALICE, "s", limit=9) if isinstance(one, Message)] == list("012345")


async def test_branches_are_read_with_one_statement_until_another_process_changes_the_session(
    harness: PostgresHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await harness.open(system_clock), await harness.open(system_clock)
    await say(one, "1", "2", "3")
    await say(one, "2 again", parent_seq=1)
    asked: list[str] = []
    rows, row = Connection.rows, Connection.row

    async def counted_rows(db: Connection, name: str, *values: object) -> list[Any]:
        asked.append(name)
        return await rows(db, name, *values)

    async def counted_row(db: Connection, name: str, *values: object) -> Any:
        asked.append(name)
        return await row(db, name, *values)

    async def texts(store: PostgresStore, **options: Any) -> list[str]:
        return [entry.text for entry in await store.read(ALICE, "s", **options) if isinstance(entry, Message)]

    monkeypatch.setattr(Connection, "rows", counted_rows)
    monkeypatch.setattr(Connection, "row", counted_row)
    assert await texts(one, limit=9) == ["1", "2 again"]
    assert await texts(one, limit=1, newest_first=True) == ["2 again"]
    assert await texts(one, limit=9, after_seq=4) == []
    assert asked == ["read_ranges"] * 3

    asked.clear()
    assert await texts(other, limit=9) == ["1", "2 again"]  # its first look at the session
    assert await texts(other, limit=9) == ["1", "2 again"]
    assert asked == ["read_oldest", "find_session", "read_ranges", "read_ranges"]

    asked.clear()
    assert await texts(other, limit=9, path="all", after_seq=4) == []
    assert asked == ["read_oldest", "find_session"]

    await say(other, "3 again", create=None)
    asked.clear()
    assert await texts(one, limit=9) == ["1", "2 again", "3 again"]
    assert asked == ["read_ranges", "read_oldest", "find_session", "read_ranges"]

    await other.trash_session(ALICE, "s", until=system_clock() + timedelta(days=1))
    with pytest.raises(NotFound):
        await one.read(ALICE, "s", limit=9)
    await other.purge_session(ALICE, "s")
    await say(other, "new")
    assert await texts(one, limit=9) == ["new"]
