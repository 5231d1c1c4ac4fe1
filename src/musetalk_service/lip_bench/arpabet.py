"""From ARPAbet phones, as pocketsphinx and flite name them, to mouth classes."""

from collections.abc import Sequence

_CLASSES: dict[str, tuple[str, ...]] = {
    "pau": ("sil",), "sil": ("sil",), "aa": ("aa",), "ae": ("ae",), "ah": ("ah",), "ao": ("ao",), "aw": ("aa", "uw"),
    "ax": ("ax",), "ay": ("aa", "ih"), "eh": ("eh",), "el": ("l",), "em": ("pbm",), "en": ("tdn",),
    "er": ("er",), "axr": ("er",), "ey": ("ey", "iy"), "ih": ("ih",), "iy": ("iy",), "ow": ("oh", "uw"),
    "oy": ("ao", "ih"), "uh": ("uh",), "uw": ("uw",), "b": ("pbm",), "p": ("pbm",), "m": ("pbm",),
    "f": ("fv",), "v": ("fv",), "w": ("w",), "r": ("r",), "ch": ("tdn", "sh"), "jh": ("tdn", "sh"),
    "sh": ("sh",), "zh": ("sh",), "s": ("s",), "z": ("s",), "th": ("th",), "dh": ("th",), "t": ("tdn",),
    "d": ("tdn",), "dx": ("tdn",), "n": ("tdn",), "nx": ("tdn",), "l": ("l",), "k": ("kg",), "g": ("kg",),
    "ng": ("kg",), "y": ("y",), "hh": ("h",), "hv": ("h",),
}  # fmt: skip

VOWELS = frozenset(("aa", "ae", "eh", "ey", "ih", "iy", "ax", "ah", "er", "ao", "oh", "uh", "uw", "oe"))
"""The mouth classes that are vowels."""


def arpabet_classes(phone: str) -> list[str]:
    """Mouth classes of a phone of US English, in lower case: two for a diphthong or an affricate, else one.

    Raises KeyError for what is no phone.
    """
    return list(_CLASSES[phone])


def shares(names: Sequence[str]) -> list[float]:
    """How a phone's time is divided among its classes: a diphthong dwells on its first vowel."""
    if len(names) == 1:
        return [1.0]
    if len(names) == 2:
        return [0.6, 0.4] if names[0] in VOWELS else [0.45, 0.55]
    return [1.0 / len(names)] * len(names)
