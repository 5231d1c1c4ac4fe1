"""From the phones of the two synthesisers to mouth classes."""

# ruff: noqa: RUF001  (phonetic letters look like Latin ones)

import unicodedata
from collections.abc import Sequence

_IPA: dict[str, str] = {
    "aa": "aɑɐ", "ae": "æ", "eh": "ɛ", "ey": "e", "ih": "ɪɨᵻɯ", "iy": "i", "ax": "əɘ", "ah": "ʌɤ",
    "er": "ɜɝɚ", "ao": "ɔ", "oh": "oɒ", "uh": "ʊ", "uw": "uʉy", "oe": "øœɵɞ", "pbm": "pbmɓɱ", "fv": "fvɸβʋ",
    "w": "wɥʍ", "r": "ɹɻ", "sh": "ʃʒʂʐɕʑ", "s": "sz", "th": "θð", "tdn": "tdnɾrɳʈɖɗⱱɽ", "l": "lɫɭɬɮ",
    "kg": "kɡgŋxɣqɢχʁʀɴɠ", "y": "jçʝɟcɲʎ", "h": "hɦħʕʔ",
}  # fmt: skip
_CLASS_OF = {character: name for name, characters in _IPA.items() for character in characters}
_VOWELS = set(["aa", "ae", "eh", "ey", "ih", "iy", "ax", "ah", "er", "ao", "oh", "uh", "uw", "oe"])

_FLITE: dict[str, tuple[str, ...]] = {
    "pau": ("sil",), "aa": ("aa",), "ae": ("ae",), "ah": ("ah",), "ao": ("ao",), "aw": ("aa", "uw"),
    "ax": ("ax",), "ay": ("aa", "ih"), "eh": ("eh",), "el": ("l",), "em": ("pbm",), "en": ("tdn",),
    "er": ("er",), "axr": ("er",), "ey": ("ey", "iy"), "ih": ("ih",), "iy": ("iy",), "ow": ("oh", "uw"),
    "oy": ("ao", "ih"), "uh": ("uh",), "uw": ("uw",), "b": ("pbm",), "p": ("pbm",), "m": ("pbm",),
    "f": ("fv",), "v": ("fv",), "w": ("w",), "r": ("r",), "ch": ("tdn", "sh"), "jh": ("tdn", "sh"),
    "sh": ("sh",), "zh": ("sh",), "s": ("s",), "z": ("s",), "th": ("th",), "dh": ("th",), "t": ("tdn",),
    "d": ("tdn",), "dx": ("tdn",), "n": ("tdn",), "nx": ("tdn",), "l": ("l",), "k": ("kg",), "g": ("kg",),
    "ng": ("kg",), "y": ("y",), "hh": ("h",), "hv": ("h",),
}  # fmt: skip

VOICELESS_STOPS = frozenset("ptkqcʈ")
VOICED_STOPS = frozenset("bdgɡɖɟɢ")


def ipa_classes(text: str) -> list[str]:
    """Mouth classes of one espeak-ng phone, in order: two for a diphthong or an affricate, else one."""
    names: list[str] = []
    for character in unicodedata.normalize("NFD", text):
        name = _CLASS_OF.get(character)
        if name is not None and (not names or names[-1] != name):
            names.append(name)
    return names


def flite_classes(phone: str) -> list[str]:
    """Mouth classes of one flite phone (the US English set)."""
    return list(_FLITE[phone])


def shares(names: Sequence[str]) -> list[float]:
    """How a phone's time is divided among its classes: a diphthong dwells on its first vowel."""
    if len(names) == 1:
        return [1.0]
    if len(names) == 2:
        return [0.6, 0.4] if names[0] in _VOWELS else [0.45, 0.55]
    return [1.0 / len(names)] * len(names)
