"""A transparent drawing layer on top of skia: soft fills, gradients and tapering strokes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import skia  # type: ignore[import-not-found]
from paths import Array, Field, Grid, spline

Colour = str | tuple[str, float]  # '#rrggbb', or that with an opacity in 0..1


def argb(colour: Colour, opacity: float = 1.0) -> int:
    """Return the skia colour of '#rrggbb' with an opacity in 0..1."""
    text, own = colour if isinstance(colour, tuple) else (colour, 1.0)
    red, green, blue = (int(text[k : k + 2], 16) for k in (1, 3, 5))
    return int(skia.Color(red, green, blue, round(255 * own * opacity)))


def linear(
    start: tuple[float, float],
    end: tuple[float, float],
    colours: Sequence[Colour],
    places: Sequence[float] | None = None,
) -> skia.Shader:
    """Return a linear gradient; the colours are evenly spaced unless ``places`` (0..1, rising) says otherwise."""
    ends = [skia.Point(*start), skia.Point(*end)]
    return skia.GradientShader.MakeLinear(ends, [argb(c) for c in colours], places)


def radial(centre: tuple[float, float], radius: float, stops: Sequence[tuple[float, Colour]]) -> skia.Shader:
    """Return a radial gradient with (place 0..1, colour) stops."""
    return skia.GradientShader.MakeRadial(
        skia.Point(*centre), radius, [argb(c) for _, c in stops], [place for place, _ in stops]
    )


def path_of(points: npt.ArrayLike, closed: bool = True) -> skia.Path:
    """Return a path through points (n, 2) joined by straight lines (sample splines finely)."""
    builder = skia.Path()
    builder.addPoly([skia.Point(float(x), float(y)) for x, y in np.asarray(points)], closed)
    return builder


def ribbon(points: npt.ArrayLike, widths: npt.ArrayLike, count: int = 24) -> Array:
    """Return the outline of a stroke along a spline whose width runs through ``widths``."""
    curve = spline(points, count)
    profile = np.asarray(widths, np.float64)
    half = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(profile)), profile)[:, None] / 2
    tangent = np.gradient(curve, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return np.vstack([curve + normal * half, (curve - normal * half)[::-1]])


class Ink:
    """One layer; coordinates are picture pixels with whole numbers at pixel centres."""

    def __init__(self, grid: Grid) -> None:
        self._surface = skia.Surface(grid.shape[1], grid.shape[0])
        self._canvas = self._surface.getCanvas()
        self._canvas.scale(grid.scale, grid.scale)
        self._canvas.translate(0.5 - grid.left, 0.5 - grid.top)

    @contextmanager
    def inside(self, points: npt.ArrayLike) -> Iterator[None]:
        """Clip what is drawn in the block to a closed contour."""
        self._canvas.save()
        self._canvas.clipPath(path_of(points), True)
        yield
        self._canvas.restore()

    def _paint(self, colour: Colour, opacity: float, blur: float, shader: skia.Shader | None) -> skia.Paint:
        paint = skia.Paint(AntiAlias=True, Color=argb(colour, opacity), Dither=True)
        if shader is not None:
            paint.setShader(shader)
        if blur > 0:
            paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
        return paint

    def fill(
        self,
        points: npt.ArrayLike,
        colour: Colour = "#000000",
        opacity: float = 1.0,
        blur: float = 0.0,
        shader: skia.Shader | None = None,
    ) -> None:
        """Fill a closed contour (n, 2)."""
        self._canvas.drawPath(path_of(points), self._paint(colour, opacity, blur, shader))

    def disc(
        self,
        centre: tuple[float, float],
        rx: float,
        ry: float | None = None,
        colour: Colour = "#000000",
        opacity: float = 1.0,
        blur: float = 0.0,
        shader: skia.Shader | None = None,
    ) -> None:
        """Fill an ellipse."""
        x, y = centre
        ry = rx if ry is None else ry
        self._canvas.drawOval(skia.Rect(x - rx, y - ry, x + rx, y + ry), self._paint(colour, opacity, blur, shader))

    def stroke(
        self,
        points: npt.ArrayLike,
        widths: npt.ArrayLike,
        colour: Colour,
        opacity: float = 1.0,
        blur: float = 0.0,
        count: int = 24,
    ) -> None:
        """Draw a tapering stroke; ``widths`` are spread evenly along it."""
        self.fill(ribbon(points, widths, count), colour, opacity, blur)

    def pixels(self) -> Field:
        """Return the layer as RGBA (n, n, 4) in 0..1, colours not multiplied by the opacity."""
        raw = self._surface.makeImageSnapshot().toarray(colorType=skia.kRGBA_8888_ColorType)
        return np.asarray(raw / np.float32(255), np.float32)

    def over(self, below: Field) -> Field:
        """Composite the layer over sRGB pixels (n, n, 3) in 0..1."""
        layer = self.pixels()
        alpha = layer[..., 3:]
        return np.asarray(below * (1 - alpha) + layer[..., :3] * alpha, np.float32)
