"""Fixtures for tests in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support.browser import ALLOW_SOUND, opened_page

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def page() -> Iterator[Page]:
    """An empty page in a headless Chromium that lets sound out without a click."""
    with opened_page(ALLOW_SOUND) as page:
        yield page
