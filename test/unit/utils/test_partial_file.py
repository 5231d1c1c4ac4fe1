"""A file in the making: one at a time, and nothing of it is seen before it is whole."""

import hashlib
import json
import os
from pathlib import Path
from threading import Event, Thread

from musetalk_service.utils.partial_file import PartialFile


def test_nothing_is_left_where_nothing_came(tmp_path: Path) -> None:
    with PartialFile(tmp_path / "file") as partial:
        partial.begin("tag")
    assert os.listdir(tmp_path) == []


def test_what_came_is_found_again(tmp_path: Path) -> None:
    with PartialFile(tmp_path / "file") as partial:
        partial.begin("tag")
        partial.write(b"one ")
    assert not (tmp_path / "file").exists()
    with PartialFile(tmp_path / "file") as partial:
        assert (partial.size, partial.tag) == (4, "tag")
        partial.write(b"two")
        assert partial.sha256 == hashlib.sha256(b"one two").hexdigest()
        partial.finish()
    assert (tmp_path / "file").read_bytes() == b"one two"
    assert os.listdir(tmp_path) == ["file"]


def test_a_note_that_is_damaged_says_nothing(tmp_path: Path) -> None:
    for note in ("{", "[]", "null", json.dumps({"other": 1})):
        (tmp_path / ".file.part").write_bytes(b"old")
        (tmp_path / ".file.part.json").write_text(note)
        with PartialFile(tmp_path / "file") as partial:
            assert (partial.size, partial.tag) == (3, "")


def test_a_second_one_waits_for_the_first_and_begins_anew(tmp_path: Path) -> None:
    started, second = Event(), []

    def wait() -> None:
        started.set()
        with PartialFile(tmp_path / "file") as partial:
            second.append((partial.size, (tmp_path / "file").read_bytes()))

    thread = Thread(target=wait)
    with PartialFile(tmp_path / "file") as partial:
        thread.start()
        assert started.wait(20)
        partial.begin("tag")
        partial.write(b"whole")
        partial.finish()
    thread.join(20)
    assert second == [(0, b"whole")]
    assert os.listdir(tmp_path) == ["file"]
