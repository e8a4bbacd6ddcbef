"""Every page is there for those who may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.console.conftest import Office


@pytest.mark.parametrize(
    "path", ["/", "/calls", "/bookings", "/companies", "/figures", "/account", "/users", "/users/new"]
)
async def test_pages_are_there(office: Office, path: str) -> None:
    browser = await office.browser("admin")
    page = await browser.page(path)
    assert "<h1>" in page
    assert f'<a href="{path}" aria-current="page"' in page or path in ("/account", "/users/new")
