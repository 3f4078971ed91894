"""Which files are opened, and what is said about the others."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import apsw
import pytest

from chatkeep.domain.errors import NotSupported, Unavailable
from chatkeep.stores.sqlite import open_sqlite
from chatkeep.stores.sqlite.connection import check_file_system, check_version, mounted
from chatkeep.stores.sqlite.schema import APPLICATION_ID, wanted_version
from chatkeep.testing.calls import ALICE, NEW, say, texts

MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/shared /shared nfs4 rw 0 0
/dev/vdb /shared/local ext4 rw 0 0
sshfs#there /mnt/with\\040space fuse.sshfs rw 0 0
host /mnt/shared 9p rw 0 0
//host/share /mnt/windows cifs rw 0 0
"""


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.51.2"])
def test_an_sqlite_that_can_corrupt_files_is_refused_with_the_remedy(version: str) -> None:
    with pytest.raises(NotSupported, match="upgrade apsw"):
        check_version(version)


def test_the_sqlite_of_the_driver_is_accepted() -> None:
    check_version("3.51.3")
    check_version(apsw.sqlite_lib_version())


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/chats.db", "ext4"),
        ("/shared/alice/chats.db", "nfs4"),
        ("/shared/local/chats.db", "ext4"),
        ("/sharedx/chats.db", "ext4"),
        ("/mnt/with space/chats.db", "fuse.sshfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert mounted(Path(path), MOUNTS)[1] == kind


@pytest.mark.parametrize("folder", ["/shared/alice", "/mnt/with space", "/mnt/shared", "/mnt/windows"])
def test_a_network_file_system_is_refused_by_name(folder: str) -> None:
    with pytest.raises(NotSupported, match="network file system"):
        check_file_system(Path(folder, "chats.db"), MOUNTS)


def test_a_file_that_is_mounted_without_its_folder_is_refused() -> None:
    table = f"{MOUNTS}/dev/vdb /var/data/chats.db ext4 rw 0 0\n"

    check_file_system(Path("/var/data/other.db"), table)
    with pytest.raises(NotSupported, match="mount the folder"):
        check_file_system(Path("/var/data/chats.db"), table)


def test_a_local_file_system_is_accepted() -> None:
    check_file_system(Path("/shared/local/chats.db"), MOUNTS)


def _modes(path: Path) -> dict[str, int]:
    """Return the mode of each file of a database."""
    return {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.glob(f"{path.name}*")}


async def test_new_files_are_for_their_owner_alone_and_old_ones_keep_their_mode(tmp_path: Path) -> None:
    new, old = tmp_path / "new.db", tmp_path / "old.db"
    old.touch(0o640)
    for path in (new, old):
        store = await open_sqlite(path)
        await say(store, "private")
        modes = _modes(path)
        await store.close()

        assert len(modes) == 5
        wanted = 0o600 if path is new else old.stat().st_mode & 0o777
        assert {mode for name, mode in modes.items() if not name.endswith(("-lock", "-next"))} == {wanted}
        assert modes[f"{path.name}-lock"] == modes[f"{path.name}-next"] == 0o600


async def test_a_new_file_is_made_with_its_folder_and_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "chats.db"

    store = await open_sqlite(path)
    schema = await store.schema()
    await store.close()

    with apsw.Connection(str(path)) as db:
        assert db.pragma("application_id") == APPLICATION_ID
        assert db.pragma("journal_mode") == "wal"
    db.close()
    assert schema["version"] == schema["wanted"] == str(wanted_version())
    assert store.engine.startswith("SQLite 3.")


async def test_the_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE notes (text)")
    other.close()
    before = _content(path)

    with pytest.raises(NotSupported, match="another program"):
        await open_sqlite(path)

    assert _content(path) == before


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    _write(path, b"Dear diary, " * 1_000)

    with pytest.raises(NotSupported, match="not an SQLite database") as error:
        await open_sqlite(path)

    assert isinstance(error.value.__cause__, apsw.NotADBError)
    assert _content(path) == b"Dear diary, " * 1_000


async def test_the_next_schema_is_served_and_left_as_it_is(path: Path) -> None:
    await _set_version(path, wanted_version() + 1)

    store = await open_sqlite(path)
    await say(store, "hello")
    version = (await store.schema())["version"]
    await store.close()

    assert version == str(wanted_version() + 1)


async def test_a_newer_schema_is_refused_with_the_remedy(path: Path) -> None:
    await _set_version(path, wanted_version() + 2)

    with pytest.raises(NotSupported, match="upgrade Chatkeep"):
        await open_sqlite(path)


async def test_an_older_schema_is_refused_when_migrations_are_run_apart(path: Path) -> None:
    await _set_version(path, wanted_version() - 1)

    with pytest.raises(NotSupported, match="chatkeep migrate"):
        await open_sqlite(path, migrate=False)


async def test_a_store_whose_schema_changed_under_it_does_not_answer_a_ping(path: Path) -> None:
    store = await open_sqlite(path)
    other = apsw.Connection(str(path))
    other.pragma("user_version", wanted_version() + 2)
    other.close()

    with pytest.raises(NotSupported):
        await store.ping()

    await store.close()


async def test_a_path_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    _write(tmp_path / "file", b"")

    with pytest.raises(Unavailable, match="cannot be opened"):
        await open_sqlite(tmp_path / "file" / "chats.db")
    with pytest.raises(Unavailable, match="cannot be opened"):
        await open_sqlite(tmp_path)


async def test_many_may_open_a_new_file_at_once(path: Path) -> None:
    stores = await asyncio.gather(*(open_sqlite(path) for _ in range(8)))

    await asyncio.gather(*(say(store, f"from {at}") for at, store in enumerate(stores)))

    assert sorted(await texts(stores[0])) == [f"from {at}" for at in range(8)]
    await asyncio.gather(*(store.close() for store in stores))


async def test_closing_leaves_the_database_in_one_file(path: Path) -> None:
    store = await open_sqlite(path)
    await say(store, "one")
    await store.close()

    assert _filled_files(path.parent) == {"chats.db"}


async def test_a_store_in_memory_keeps_the_contract_for_its_own_handle() -> None:
    store = await open_sqlite(":memory:")

    await say(store, "one", key="k")
    repeated = await say(store, "one", key="k")
    page = await store.search(ALICE, ["one"], limit=10)
    await store.purge_session(ALICE, "s")
    created = await store.create_session(ALICE, "s", NEW)
    await store.close()

    assert repeated.repeated
    assert [hit.seq for hit in page.items] == [1]
    assert created.last_seq == 0


async def _set_version(path: Path, version: int) -> None:
    await (await open_sqlite(path)).close()
    db = apsw.Connection(str(path))
    db.pragma("user_version", version)
    db.close()


def _content(path: Path) -> bytes:
    return path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _filled_files(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.stat().st_size}
