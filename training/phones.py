"""From the phones of espeak-ng to mouth classes."""

# ruff: noqa: RUF001  (phonetic letters look like Latin ones)

import unicodedata

_IPA: dict[str, str] = {
    "aa": "aɑɐ", "ae": "æ", "eh": "ɛ", "ey": "e", "ih": "ɪɨᵻɯ", "iy": "i", "ax": "əɘ", "ah": "ʌɤ",
    "er": "ɜɝɚ", "ao": "ɔ", "oh": "oɒ", "uh": "ʊ", "uw": "uʉy", "oe": "øœɵɞ", "pbm": "pbmɓɱ", "fv": "fvɸβʋ",
    "w": "wɥʍ", "r": "ɹɻ", "sh": "ʃʒʂʐɕʑ", "s": "sz", "th": "θð", "tdn": "tdnɾrɳʈɖɗⱱɽ", "l": "lɫɭɬɮ",
    "kg": "kɡgŋxɣqɢχʁʀɴɠ", "y": "jçʝɟcɲʎ", "h": "hɦħʕʔ",
}  # fmt: skip
_CLASS_OF = {character: name for name, characters in _IPA.items() for character in characters}

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
