from __future__ import annotations

import httpx
import pytest

from chatkeep.api.auth import LocalUser, check_binding, is_loopback
from chatkeep.domain.errors import Invalid


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST", "a.localhost"])
def test_a_server_without_authentication_may_listen_on_loopback(host: str) -> None:
    check_binding(host, LocalUser())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "", "127.0.0.1.example.org"])  # noqa: S104 -- refused
def test_a_server_without_authentication_refuses_to_listen_for_others(host: str) -> None:
    with pytest.raises(Invalid, match="set CHATKEEP_HOST"):
        check_binding(host, LocalUser())


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "localhost"])
async def test_names_of_this_machine_are_answered(api: httpx.AsyncClient, host: str) -> None:
    response = await api.get("/sessions", headers={"Host": host})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "192.168.1.2:8000", "", "[", "a@localhost:x"]
)
async def test_other_names_for_this_machine_are_refused(api: httpx.AsyncClient, host: str) -> None:
    response = await api.get("/sessions", headers={"Host": host})

    assert (response.status_code, response.json()["code"]) == (421, "host_refused")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://["},
    ],
)
async def test_pages_of_other_origins_change_nothing(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await api.post("/sessions", json={"id": "a"}, headers=headers)

    assert (response.status_code, response.json()["code"]) == (403, "cross_site")
    assert (await api.get("/sessions/a")).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:5173"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost"},
        {},
    ],
)
async def test_the_own_page_and_other_programs_are_let_in(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await api.post("/sessions", json={"id": "a"}, headers=headers)

    assert response.status_code == 201


def test_a_number_is_no_loopback_address() -> None:
    assert not is_loopback("2130706433")


@pytest.mark.parametrize("path", ["/v1/apps/default/sessions", "/health", "/docs", "/nowhere"])
async def test_every_answer_carries_the_security_headers(api: httpx.AsyncClient, path: str) -> None:
    response = await api.get(f"http://localhost{path}")

    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    policy = response.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy


async def test_answers_about_sessions_are_not_stored_by_caches(api: httpx.AsyncClient) -> None:
    response = await api.get("/sessions")

    assert response.headers["cache-control"] == "no-store"
