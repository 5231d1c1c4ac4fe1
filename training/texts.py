"""What the synthesisers say: public English prose that Python carries, word lists of Faker, made-up words."""

import pydoc_data.topics
import random
import re

from faker import Faker

LANGUAGES: dict[str, str] = {
    "de": "de_DE", "fr": "fr_FR", "es": "es_ES", "it": "it_IT", "nl": "nl_NL", "pl": "pl_PL", "ru": "ru_RU",
    "cs": "cs_CZ", "da": "da_DK", "el": "el_GR", "lv": "lv_LV", "ar": "ar_AA", "fa": "fa_IR", "bn": "bn_BD",
    "az": "az_AZ", "la": "la", "ko": "ko_KR", "vi": "vi_VN", "hu": "hu_HU", "tr": "tr_TR", "pt": "pt_BR",
    "sv": "sv_SE", "fi": "fi_FI", "ro": "ro_RO",
}  # fmt: skip
"""espeak-ng language -> Faker locale. Where Faker has no prose it gives Latin, read with that accent."""

_OPENERS = (
    "Well,", "Okay,", "So,", "Yes,", "No,", "Hello,", "Please,", "Maybe", "I think", "You know,", "Of course,",
    "Thank you,", "What about", "Could you", "Let me show you", "My favourite one is", "We both believe", "Oh wow,",
)  # fmt: skip
_ONSETS = [
    "b",
    "p",
    "m",
    "f",
    "v",
    "w",
    "r",
    "l",
    "k",
    "g",
    "t",
    "d",
    "n",
    "s",
    "z",
    "sh",
    "ch",
    "j",
    "th",
    "y",
    "h",
    "br",
    "pl",
    "fl",
    "sw",
    "tr",
    "sp",
    "str",
    "bl",
    "gr",
    "kw",
]
_NUCLEI = ["a", "e", "i", "o", "u", "ee", "oo", "ai", "ow", "ar", "er", "or", "oa", "oi", "ay", "ou"]
_CODAS = [
    "",
    "",
    "",
    "b",
    "p",
    "m",
    "f",
    "v",
    "k",
    "t",
    "n",
    "l",
    "s",
    "sh",
    "th",
    "mp",
    "lm",
    "ng",
    "rk",
    "st",
]


def _prose() -> list[str]:
    sentences = []
    for topic in pydoc_data.topics.topics.values():
        plain = re.sub(r"[*\"'`_]", "", topic.replace("\n", " "))
        for sentence in re.split(r"(?<=[.:;])\s+", plain):
            words = sentence.split()
            letters = sum(character.isalpha() or character in " ,-" for character in sentence)
            if 4 <= len(words) <= 18 and letters >= 0.96 * len(sentence):
                sentences.append(re.sub(r"\s+", " ", sentence))
    return sorted(set(sentences))


class Texts:
    """Sentences, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._prose = _prose()
        self._fakers: dict[str, Faker] = {}
        self._seed = seed

    def _faker(self, locale: str) -> Faker:
        if locale not in self._fakers:
            self._fakers[locale] = Faker(locale)
            self._fakers[locale].seed_instance(self._seed)
        return self._fakers[locale]

    def _made_up(self) -> str:
        def syllable() -> str:
            return "".join(self._random.choice(part) for part in (_ONSETS, _NUCLEI, _CODAS))

        return "".join(syllable() for _ in range(self._random.choice((1, 1, 2, 2, 3))))

    def english(self) -> str:
        """One English sentence, or something read aloud: letters, numbers, names, made-up words."""
        kind = self._random.random()
        faker = self._faker("en_US")
        if kind < 0.40:
            return self._random.choice(self._prose)
        if kind < 0.62:
            sentence = str(faker.sentence(nb_words=self._random.randint(5, 14)))
            return f"{self._random.choice(_OPENERS)} {sentence.lower()}" if self._random.random() < 0.5 else sentence
        if kind < 0.72:
            return f"{faker.name()}, {faker.job().lower()}, {faker.city()}, {faker.company()}."
        if kind < 0.88:
            return " ".join(self._made_up() for _ in range(self._random.randint(4, 9))) + "."
        items = [
            self._random.choice((chr(self._random.randint(97, 122)), str(self._random.randint(0, 99)), faker.word()))
            for _ in range(self._random.randint(4, 10))
        ]
        return ", ".join(items) if self._random.random() < 0.4 else " ".join(items)

    def foreign(self, language: str) -> str:
        """One sentence of an espeak-ng language."""
        faker = self._faker(LANGUAGES[language])
        if self._random.random() < 0.2:
            return f"{faker.name()}, {faker.city()}."
        return str(faker.sentence(nb_words=self._random.randint(5, 12)))
