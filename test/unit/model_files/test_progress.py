"""What a person sees of a download, at a terminal and in a log."""

import io

import pytest

from musetalk_service.model_files.progress import ProgressBar, human


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1_500, "1.5 kB"), (3_400_074_924, "3.40 GB")]
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert human(size) == text


def test_anything_can_be_counted() -> None:
    screen, now = Terminal(), Watch()
    with ProgressBar("a.mp4", screen, amount=lambda n: f"{n:g} frames", now=now) as bar:
        bar.progress(0, 80)
        now.time = 100.0
        bar.progress(20, 80)
    shown = screen.getvalue().split("\r")[-1].strip()
    assert shown == "[######..................]  25 %  20 frames of 80 frames  0.2 frames/s  5:00 left  a.mp4"


def test_a_terminal_shows_one_line() -> None:
    screen, now = Terminal(), Watch()
    with ProgressBar("unet.pth", screen, now=now) as bar:
        for step in range(11):
            now.time = step / 20
            bar.progress(step * 100_000, 1_000_000)
    shown = screen.getvalue().split("\r")[1:]
    assert len(shown) == 6  # every tenth of a second
    assert shown[2].strip() == "[#########...............]  40 %  400.0 kB of 1.0 MB  2.0 MB/s  0:00 left  unet.pth"
    assert shown[-1].rstrip().endswith("] 100 %  1.0 MB of 1.0 MB  2.0 MB/s  unet.pth") and shown[-1].endswith("\n")


def test_what_was_there_before_is_no_speed() -> None:
    screen, now = Terminal(), Watch()
    with ProgressBar("unet.pth", screen, now=now) as bar:
        bar.progress(500_000, 1_000_000)
        now.time = 1.0
        bar.progress(600_000, 1_000_000)
    assert "100.0 kB/s  0:04 left" in screen.getvalue()


def test_a_log_gets_a_line_now_and_then() -> None:
    log, now = io.StringIO(), Watch()
    with ProgressBar("unet.pth", log, now=now) as bar:
        for second in range(71):
            now.time = float(second)
            bar.progress(second * 1_000_000, 70_000_000)
    assert log.getvalue().splitlines() == [
        " 42 %  30.0 MB of 70.0 MB  1.0 MB/s  0:40 left  unet.pth",
        " 85 %  60.0 MB of 70.0 MB  1.0 MB/s  0:10 left  unet.pth",
        "100 %  70.0 MB of 70.0 MB  1.0 MB/s  unet.pth",
    ]


def test_checks_say_nothing_in_a_log() -> None:
    log = io.StringIO()
    with ProgressBar("reading", log, lines=False) as bar:
        bar.progress(10, 10)
    assert log.getvalue() == ""


def test_trouble_has_its_own_line() -> None:
    screen = Terminal()
    with ProgressBar("unet.pth", screen, now=Watch()) as bar:
        bar.progress(0, None)
        bar.pause("the connection was lost", 2.0)
    assert screen.getvalue().endswith("\nunet.pth: the connection was lost; again in 2 s\n")
