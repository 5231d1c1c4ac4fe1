"""What docs/javascript-player.md says about the player is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from support.browser import assert_shows_a_face

if TYPE_CHECKING:
    from playwright.sync_api import Page

_ROOT = Path(__file__).parents[2]
_GUIDE = (_ROOT / "docs" / "javascript-player.md").read_text()
_PLAYER = (_ROOT / "src" / "musetalk_service" / "web" / "musetalk-player.js").read_text()


def _section(title: str) -> str:
    return _GUIDE.split(f"\n## {title}")[1].split("\n## ")[0]


def _first_cells(section: str) -> set[str]:
    cells = re.findall(r"^\| (`.+?`.*?) \|", section, re.MULTILINE)
    return set(re.findall(r"`(\w+)", " ".join(cells)))


def test_example_shows_the_face(page: Page, live_server: str, tmp_path: Path) -> None:
    example = _GUIDE.split("```html\n")[1].split("```")[0]
    assert example.count("\n") <= 11
    page.goto(f"{live_server}/health")
    page.set_content(example.replace("http://localhost:8000", live_server))
    page.wait_for_function("document.querySelector('canvas').width === 512")
    page.wait_for_timeout(1000)
    page.locator("#face").screenshot(path=tmp_path / "face.png")
    assert_shows_a_face(tmp_path / "face.png")


def test_guide_names_every_method_property_and_no_other(page: Page, live_server: str) -> None:
    page.goto(f"{live_server}/health")
    names = page.evaluate(
        """async () => {
          const { MuseTalkPlayer } = await import("/static/musetalk-player.js");
          const player = new MuseTalkPlayer(document.createElement("canvas"));
          const own = Object.getOwnPropertyDescriptors(MuseTalkPlayer.prototype);
          const isMethod = (name) => typeof own[name].value === "function";
          const shared = Object.keys(own).filter((name) => name !== "constructor");
          return [shared.filter(isMethod), [...shared.filter((name) => !isMethod(name)), ...Object.keys(player)]];
        }"""
    )
    methods, properties = map(set, names)
    assert _first_cells(_section("Methods")) == methods
    assert _first_cells(_section("Properties")) == properties


def test_guide_names_every_option_event_and_error() -> None:
    assert _first_cells(_section("`new MuseTalkPlayer")) == set(re.findall(r"\[options\.(\w+)\]", _PLAYER))
    events, errors = _section("Events").split("`error` carries")
    assert _first_cells(events) == set(re.findall(r'#emit\("(\w+)"', _PLAYER))
    web = _ROOT / "src" / "musetalk_service" / "web"
    sources = [web / name for name in ("musetalk-player.js", "player-errors.js", "choose-decoder.js", "utterance.js")]
    codes = set(re.findall(r'code: "([a-z-]+)"', "".join(path.read_text() for path in sources)))
    assert set(re.findall(r"`([a-z-]+)`", errors.split("| --- |")[1])) == codes
