"""Picture sizes, and the forms that a stream comes in."""

import pytest

from musetalk_service.models.media import (
    DEFAULT_SIZES,
    FrameSize,
    Rendition,
    choose_rendition,
    level_for,
    make_renditions,
    parse_size,
    sizes_of,
)

TABLE_A1 = {
    21: (792, 19_800, 4_000),
    22: (1_620, 20_250, 4_000),
    31: (3_600, 108_000, 14_000),
    32: (5_120, 216_000, 20_000),
    40: (8_192, 245_760, 20_000),
    41: (8_192, 245_760, 50_000),
    50: (22_080, 589_824, 135_000),
}
"""Macroblocks of a picture, of a second, and kbit/s by level, as printed in H.264."""
MANY = [*DEFAULT_SIZES, *map(parse_size, ("720x720", "1024x1024", "576x1024", "720x1280", "1920x1080", "128x1000"))]


@pytest.mark.parametrize("rendition", make_renditions(23, 1500, MANY), ids=lambda rendition: rendition.name)
def test_level_carries_size_and_rate(rendition: Rendition) -> None:
    frame, second, rate = TABLE_A1[rendition.level]
    wide, high = (-(-side // 16) for side in rendition.size)
    assert wide * high <= frame and 25 * wide * high <= second and rendition.max_kbps <= rate
    assert wide <= (8 * frame) ** 0.5 and high <= (8 * frame) ** 0.5


@pytest.mark.parametrize(
    ("size", "kbps", "level"),
    [
        ((512, 512), 1500, 31),
        ((256, 256), 525, 21),
        ((256, 256), 4_001, 31),  # for the rate
        ((720, 1280), 14_000, 31),
        ((1024, 1024), 4547, 32),
        ((1920, 1080), 10_000, 40),
        ((1920, 1080), 10**9, 50),
    ],
)
def test_lowest_level_is_chosen(size: tuple[int, int], kbps: int, level: int) -> None:
    assert level_for(FrameSize(*size), kbps) == level


def test_larger_pictures_get_a_larger_share_of_the_rate() -> None:
    full = {r.size: r.max_kbps for r in make_renditions(23, 1500, MANY) if not r.name.endswith("-low")}
    assert full[FrameSize(512, 512)] == 1500
    assert [full[size] for size in sorted(full, key=lambda size: size.pixels)] == sorted(full.values())
    per_pixel = [full[size] / size.pixels for size in sorted(full, key=lambda size: size.pixels)]
    assert per_pixel == sorted(per_pixel, reverse=True)


def test_ladder_keeps_the_order_of_its_sizes() -> None:
    sizes = [FrameSize(720, 1280), FrameSize(256, 256)]
    ladder = make_renditions(23, 1500, sizes)
    assert sizes_of(ladder) == sizes
    assert [r.name for r in ladder] == ["720x1280", "720x1280-low", "256", "256-low"]


@pytest.mark.parametrize(
    ("size", "max_kbps", "chosen"),
    [
        (512, None, "512"),
        (512, 1500, "512"),
        (512, 1499, "512-low"),
        (512, 1, "512-low"),
        (384, None, "384"),
        (256, 300, "256-low"),
    ],
)
def test_best_rendition_that_keeps_to_the_rate_is_chosen(size: int, max_kbps: int | None, chosen: str) -> None:
    assert choose_rendition(make_renditions(23, 1500), FrameSize(size, size), max_kbps).name == chosen


def test_sizes_are_read_and_written_alike() -> None:
    assert parse_size("720x1280") == (720, 1280)
    assert str(parse_size("720x1280")) == "720x1280"


@pytest.mark.parametrize(
    "text",
    ["", "512", "512x", "512X512", "511x512", "126x512", "3000x3000", "0512x512", "5e2x512", "\u0665\u0661\u0662x512"],
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="WIDTHxHEIGHT"):
        parse_size(text)
