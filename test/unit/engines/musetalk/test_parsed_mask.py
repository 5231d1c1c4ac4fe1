"""The published mask: against the scripts' arithmetic, step by step with Pillow and OpenCV."""

import cv2
import numpy as np
import pytest

pytest.importorskip("PIL", reason="the extra musetalk is not installed")

from PIL import Image

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.parsed_mask import parsed_mask, picture_to_parse

RNG = np.random.default_rng(8)
FACES = [Box(130, 90, 371, 404), Box(3, 10, 203, 297), Box(300, 200, 512, 512), Box(0, 0, 900, 1100)]


def crop_of(face):
    """The scripts' square."""
    x, y, right, bottom = face
    s = int(max(right - x, bottom - y) // 2 * 1.5)
    middle = (x + right) // 2, (y + bottom) // 2
    return middle[0] - s, middle[1] - s, middle[0] + s, middle[1] + s


@pytest.fixture(scope="module")
def classes():
    """A face of ellipses with ragged edges: skin on hair, neck, nose, lips, and specks."""
    drawn = np.full((512, 512), 17, np.uint8)
    cv2.ellipse(drawn, (256, 420), (90, 120), 0, 0, 360, 14, -1)
    cv2.ellipse(drawn, (256, 250), (150, 200), 4, 0, 360, 1, -1)
    cv2.ellipse(drawn, (256, 255), (30, 45), 0, 0, 360, 10, -1)
    for label, y, height in ((12, 335, 14), (11, 347, 7), (13, 358, 16)):
        cv2.ellipse(drawn, (258, y), (60, height), 0, 0, 360, label, -1)
    specks = RNG.random(drawn.shape) < 0.01
    drawn[specks] = RNG.integers(0, 19, int(specks.sum()))
    return drawn


@pytest.mark.parametrize("face", FACES)
def test_the_network_is_shown_the_published_square(face):
    picture = RNG.integers(0, 256, (512, 512, 3), np.uint8)
    cropped = Image.fromarray(picture[:, :, ::-1]).crop(crop_of(face)).resize((512, 512), Image.BILINEAR)
    np.testing.assert_array_equal(picture_to_parse(picture, face)[:, :, ::-1], np.asarray(cropped))


def published_jaw(classes):
    """Dilated by a cone with a tail, eroded at the cheeks."""
    kernel = np.zeros((33, 33), np.uint8)
    for row in range(10, 33):
        half = min(row, 20) - 10
        kernel[row, 16 - half : 16 + half + 1] = 1
    cheeks = np.zeros((512, 512), np.uint8)
    cv2.rectangle(cheeks, (0, 0), (256 - 90, 512), 255, -1)
    cv2.rectangle(cheeks, (256 + 90, 0), (512, 512), 255, -1)
    skin = ((classes == 1) * 255).astype(np.uint8)
    wide = cv2.dilate(skin, kernel, iterations=1)
    eroded = cv2.erode(wide, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3)), iterations=2)
    region = cv2.bitwise_or(cv2.bitwise_and(eroded, cheeks), cv2.bitwise_and(wide, cv2.bitwise_not(cheeks)))
    return (region == 255) & (classes != 10)


@pytest.mark.parametrize("version", ["1.5", "1.0"])
@pytest.mark.parametrize("face", FACES)
def test_the_mask_is_the_published_one(classes, face, version):
    skin = published_jaw(classes) if version == "1.5" else classes == 1
    region = (skin | np.isin(classes, [11, 12, 13])).astype(np.uint8) * 255
    left, top, right, bottom = crop_of(face)
    parsed = Image.fromarray(region).resize((right - left, bottom - top))
    inside = face.left - left, face.top - top, face.right - left, face.bottom - top
    whole = Image.new("L", parsed.size, 0)
    whole.paste(parsed.crop(inside), inside)
    lower = Image.new("L", parsed.size, 0)
    middle = int(parsed.size[1] * 0.5)
    lower.paste(whole.crop((0, middle, *parsed.size)), (0, middle))
    kernel = int(0.1 * parsed.size[0] // 2 * 2) + 1
    expected = cv2.GaussianBlur(np.array(lower), (kernel, kernel), 0)
    mask = parsed_mask(classes, face, version)
    np.testing.assert_array_equal(mask, expected)
    assert mask.max() > 250 and not mask[: middle - kernel].any()
