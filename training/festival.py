"""Festival, a third synthesiser: its voices are cut from or trained on recordings of speakers of seven languages."""

# ruff: noqa: RUF001  (phonetic letters look like Latin ones)

import re
import subprocess
import tempfile
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import phones
from voices import Spoken, divide

from musetalk_service.lip_bench.arpabet import arpabet_classes


class Voice(NamedTuple):
    """One voice of Festival."""

    name: str
    language: str
    """That of the texts, one of `texts.LANGUAGES` or "en"."""
    phones: str
    """Which of `_IPA` names its phones."""
    encoding: str


VOICES: tuple[Voice, ...] = (
    Voice("cmu_us_slt_arctic_hts", "en", "en", "ascii"),
    Voice("kal_diphone", "en", "en", "ascii"),
    Voice("upc_ca_ona_hts", "es", "romance", "latin-1"),
    Voice("lp_diphone", "it", "romance", "latin-1"),
    Voice("pc_diphone", "it", "romance", "latin-1"),
    Voice("czech_dita", "cs", "czech", "iso-8859-2"),
    Voice("czech_machac", "cs", "czech", "iso-8859-2"),
    Voice("czech_ph", "cs", "czech", "iso-8859-2"),
    Voice("czech_krb", "cs", "czech", "iso-8859-2"),
    Voice("hy_fi_mv_diphone", "fi", "finnish", "latin-1"),
    Voice("suo_fi_lj_diphone", "fi", "finnish", "latin-1"),
    Voice("msu_ru_nsh_clunits", "ru", "russian", "utf-8"),
)
HELD_OUT = Voice("ked_diphone", "en", "en", "ascii")

_IPA: dict[str, dict[str, str]] = {
    # Catalan and Italian; a digit marks stress and is taken off first.
    "romance": {
        "E": "ɛ", "O": "ɔ", "J": "ɲ", "L": "ʎ", "S": "ʃ", "Z": "ʒ", "ax": "ə", "rr": "r", "dZ": "dʒ", "tS": "tʃ",
        "nf": "f", "ng": "ŋ", "N": "ŋ", "uax": "ə", "y": "j",
    },
    "czech": {
        "e": "ɛ", "c": "ts", "ch": "x", "c~": "tʃ", "dz~": "dʒ", "d~": "ɟ", "t~": "c", "n*": "ŋ", "n~": "ɲ",
        "r~": "rʒ", "r~*": "rʃ", "s~": "ʃ", "z~": "ʒ", "?": "ʔ", "m*": "ɱ",
    },
    "finnish": {"7": "ø", "@": "æ", "a": "ɑ", "N": "ŋ", "S": "ʃ", "@:": "æ", "T": "θ", "Z": "ʒ"},
    "russian": {
        "ae": "ɪ", "ay": "ə", "ur": "ʊ", "c": "ts", "ch": "tɕ", "h": "x", "sch": "ɕ", "sh": "ʃ", "zh": "ʒ", "y": "ɨ",
        "e": "ɛ", "w": "v",
    },
}  # fmt: skip
_SILENT = frozenset(("pau", "#", "_", "sil", "H#"))


def classes(phone: str, names: str) -> list[str]:
    """Mouth classes of a phone of one of the phone sets; ValueError for an unknown one."""
    if phone in _SILENT:
        return ["sil"]
    if names == "en":
        return arpabet_classes(phone)
    plain = re.sub(r"[0-9:]+$", "", phone) if len(phone) > 1 else phone
    if names == "russian" and len(plain) == 2 and plain[0] == plain[1]:  # soft or stressed
        plain = plain[0]
    found = phones.ipa_classes(_IPA[names].get(plain, plain))
    if not found:
        raise ValueError(f"no mouth class for the phone {phone!r} of {names}")
    return found


def say(texts: list[str], voice: Voice, stretch: float) -> list[Spoken]:
    """Speak one sentence after another; durations are `stretch` times the voice's own, where it can do that."""
    with tempfile.TemporaryDirectory() as folder:
        script = [
            f"(voice_{voice.name})",
            f"(Parameter.set 'Duration_Stretch {stretch:.3f})",
            "(define (say text name) (let ((u (utt.synth (eval (list 'Utterance 'Text text)))))",
            '  (utt.save.wave u (string-append name ".wav") \'riff) (utt.save.segs u (string-append name ".lab"))))',
        ]
        encoded = "\n".join(script).encode()
        for index, text in enumerate(texts):
            quoted = re.sub(r'["\\]', "", text).encode(voice.encoding, errors="ignore")
            # A sentence that a voice cannot say must not end the others.
            encoded += b'\n(unwind-protect (say "' + quoted + b'" "' + f"{folder}/{index}".encode() + b'") nil)'
        path = Path(folder) / "say.scm"
        path.write_bytes(encoded + b"\n")
        subprocess.run(["festival", "-b", str(path)], capture_output=True, timeout=300)
        read = [_read(Path(folder) / f"{index}.wav", voice.phones) for index in range(len(texts))]
        return [spoken for spoken in read if spoken is not None]


def _read(path: Path, names: str) -> Spoken | None:
    """None where the voice did not get through the sentence, or used a phone of another language."""
    if not path.with_suffix(".lab").exists():
        return None
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768.0
    starts: list[tuple[float, list[str]]] = []
    begin = 0.0
    for line in path.with_suffix(".lab").read_text(errors="replace").splitlines():
        fields = line.split()
        if len(fields) == 3:
            try:
                starts.append((begin, classes(fields[2], names)))
            except ValueError:
                return None
            begin = float(fields[0])
    return Spoken(pcm, rate, divide(starts, begin))
