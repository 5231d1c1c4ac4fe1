"""Every model file that the service can use: where it comes from, how large it is, its checksum and its licence.

Files of a model hub are named by the commit at which they were looked up, so that they do not change. Sizes without a
checksum beside them are about right only; checksums that are missing here are taken from the hub and recorded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Licence:
    """What its user agrees to."""

    name: str
    url: str
    note: str = ""
    """What it means, in a few words."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file under MODEL_PATH."""

    path: str
    """Relative to MODEL_PATH, with slashes."""
    size: int
    """Bytes; exact where ``sha256`` is known."""
    sha256: str | None
    url: str | None = None
    """Where it is, if not on a hub; None with no ``repository`` either: its users have to get it themselves."""
    member: str = ""
    """Its path in the tar archive that is there; empty: the file itself is there. Goes with ``sha256``."""
    repository: str | None = None
    """On the hub: OWNER/NAME."""
    revision: str = "main"
    name: str = ""
    """Path in the repository."""
    instead: tuple[str, ...] = ()
    """Files that do as well, relative to MODEL_PATH."""
    is_needed: bool = True
    """False: only other programs read it."""

    def address(self, hub: str) -> str | None:
        """Where it is fetched from, given the hub's address."""
        if self.repository is None:
            return self.url
        return f"{hub.rstrip('/')}/{self.repository}/resolve/{self.revision}/{self.name}"


@dataclass(frozen=True, slots=True)
class Model:
    """Files that belong together."""

    name: str
    purpose: str
    licence: Licence
    files: tuple[ModelFile, ...]
    page: str
    """Where people read about it."""

    @property
    def size(self) -> int:
        """Bytes of all files, about."""
        return sum(file.size for file in self.files)

    @property
    def is_downloadable(self) -> bool:
        """Whether there is an official address to fetch it from."""
        return all(file.url or file.repository for file in self.files)


def _mit(url: str, note: str = "") -> Licence:
    return Licence("MIT", url, note)


_APACHE: Final = "Apache-2.0"
_MUSETALK: Final = ("TMElyralab/MuseTalk", "2bcb936e2fddb4d86db4c62fd45b387d0c061571")
_VAE: Final = ("stabilityai/sd-vae-ft-mse", "31f26fdeee1355a5c34592e401dd41e45d25a493")
_WHISPER: Final = ("openai/whisper-tiny", "169d4a4341b33bc18d8881c4b69c2e104e1cc0af")
_TAESD: Final = ("madebyollin/taesd", "614f76814bbe30edbe2e627ace1c2234c81a2c0e")
_UNET_CONFIG_SHA256: Final = "5b6923aee04d71692e0e9846c471e0a4ea07a4f686d39545e472bd4ba17e1b47"
_MUSETALK_LICENCE: Final = Licence(
    "MIT; model card also CreativeML OpenRAIL-M",
    "https://huggingface.co/TMElyralab/MuseTalk",
    "its authors allow any use, commercial too; some versions of the card name OpenRAIL-M, which limits the use",
)


def _hub(
    source: tuple[str, str],
    name: str,
    path: str,
    size: int,
    sha256: str | None,
    *,
    instead: tuple[str, ...] = (),
    is_needed: bool = True,
) -> ModelFile:
    return ModelFile(
        path, size, sha256, repository=source[0], revision=source[1], name=name, instead=instead, is_needed=is_needed
    )


LANDMARKER: Final = ModelFile(
    "face_landmarker.task",
    3_758_596,
    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
)

SEGMENTER: Final = ModelFile(
    "selfie_segmentation.tflite",
    249_024,
    "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27",
    url="https://registry.npmjs.org/@mediapipe/selfie_segmentation/-/selfie_segmentation-0.1.1675465747.tgz",
    member="package/selfie_segmentation.tflite",
)

MODELS: Final = (
    Model(
        "musetalk-1.5",
        "MuseTalk 1.5: draws the mouth to what is heard",
        _MUSETALK_LICENCE,
        (
            _hub(
                _MUSETALK,
                "musetalkV15/unet.pth",
                "musetalkV15/unet.pth",
                3_400_074_924,
                "7ebf6c98c181e20838e4c0054e96e944ac60d5d692cc01db42839fe11b787007",
                instead=("musetalkV15/unet.safetensors",),
            ),
            _hub(_MUSETALK, "musetalkV15/musetalk.json", "musetalkV15/musetalk.json", 748, _UNET_CONFIG_SHA256),
        ),
        "https://huggingface.co/TMElyralab/MuseTalk",
    ),
    Model(
        "musetalk-1.0",
        "MuseTalk 1.0: the same, as first published",
        _MUSETALK_LICENCE,
        (
            _hub(
                _MUSETALK,
                "musetalk/pytorch_model.bin",
                "musetalk/pytorch_model.bin",
                3_400_000_000,
                None,
                instead=("musetalk/pytorch_model.safetensors",),
            ),
            _hub(_MUSETALK, "musetalk/musetalk.json", "musetalk/musetalk.json", 748, None),
        ),
        "https://huggingface.co/TMElyralab/MuseTalk",
    ),
    Model(
        "sd-vae",
        "MuseTalk's image encoder and decoder",
        _mit("https://huggingface.co/stabilityai/sd-vae-ft-mse"),
        (
            _hub(
                _VAE,
                "diffusion_pytorch_model.bin",
                "sd-vae/diffusion_pytorch_model.bin",
                334_707_217,
                "1b4889b6b1d4ce7ae320a02dedaeff1780ad77d415ea0d744b476155c6377ddc",
                instead=("sd-vae/diffusion_pytorch_model.safetensors",),
            ),
            _hub(
                _VAE,
                "config.json",
                "sd-vae/config.json",
                547,
                "92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e",
            ),
        ),
        "https://huggingface.co/stabilityai/sd-vae-ft-mse",
    ),
    Model(
        "whisper",
        "hears for MuseTalk: Whisper tiny, as Hugging Face has it",
        Licence(_APACHE, "https://huggingface.co/openai/whisper-tiny"),
        (
            _hub(
                _WHISPER,
                "pytorch_model.bin",
                "whisper/pytorch_model.bin",
                151_095_027,
                "9607f98a2b22d9e229ae43c52ecea79dcede9e0c5cfae67e8da6eda86d8aac1d",
                instead=("whisper/tiny.pt", "whisper/model.safetensors"),
            ),
            _hub(
                _WHISPER,
                "config.json",
                "whisper/config.json",
                1983,
                "ffdccec4f3211f4c63310f2b7098f309fe70f3952cedc5e4d11e43f5b2379b98",
                is_needed=False,
            ),
            _hub(
                _WHISPER,
                "preprocessor_config.json",
                "whisper/preprocessor_config.json",
                184_990,
                "9b5cd03a36fbb8a627c64d98a5b5b126ead95a77720723944487311f0110b666",
                is_needed=False,
            ),
        ),
        "https://huggingface.co/openai/whisper-tiny",
    ),
    Model(
        "whisper-openai",
        "the same Whisper tiny as OpenAI publishes it, half as large; in place of whisper",
        _mit("https://github.com/openai/whisper/blob/main/LICENSE"),
        (
            ModelFile(
                "whisper/tiny.pt",
                75_572_083,
                "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
                url="https://openaipublic.azureedge.net/main/whisper/models/"
                "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9/tiny.pt",
            ),
        ),
        "https://github.com/openai/whisper",
    ),
    Model(
        "taesd",
        "a small decoder in place of MuseTalk's, faster and less exact (MUSETALK_DECODER=taesd)",
        _mit("https://huggingface.co/madebyollin/taesd"),
        (
            _hub(
                _TAESD,
                "diffusion_pytorch_model.safetensors",
                "taesd/diffusion_pytorch_model.safetensors",
                9_793_292,
                "db169d69145ec4ff064e49d99c95fa05d3eb04ee453de35824a6d0f325513549",
            ),
            _hub(_TAESD, "config.json", "taesd/config.json", 600, None),
        ),
        "https://huggingface.co/madebyollin/taesd",
    ),
    Model(
        "face-parsing",
        "BiSeNet, which tells skin from hair and neck, for MuseTalk's published masks (MUSETALK_MASK=parsing)",
        _mit(
            "https://github.com/zllrunning/face-parsing.PyTorch/blob/master/LICENSE",
            "trained on CelebAMask-HQ, a data set for research that is not commercial",
        ),
        (
            ModelFile(
                "face-parse-bisent/79999_iter.pth",
                53_289_463,
                "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
                url="https://drive.usercontent.google.com/download"
                "?id=154JgKpzCPW82qINcVieuPH3fZ2e0P812&export=download&confirm=t",
            ),
        ),
        "https://github.com/zllrunning/face-parsing.PyTorch",
    ),
    Model(
        "face-landmarker",
        "finds faces, to make avatars of photos and videos",
        Licence(_APACHE, "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker"),
        (LANDMARKER,),
        "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
    ),
    Model(
        "person-segmenter",
        "tells people from what is behind them, so that a photo's background stays still behind a moving head",
        Licence(_APACHE, "https://www.npmjs.com/package/@mediapipe/selfie_segmentation"),
        (SEGMENTER,),
        "https://chuoling.github.io/mediapipe/solutions/selfie_segmentation.html",
    ),
    Model(
        "wav2lip",
        "Wav2Lip's networks, for comparisons; no engine of this version uses them",
        Licence(
            "research and personal use only",
            "https://github.com/Rudrabha/Wav2Lip",
            "trained on LRS2; its authors prohibit commercial use, and publish no direct link",
        ),
        (
            ModelFile(
                "wav2lip/wav2lip.pth",
                435_807_851,
                "b78b681b68ad9fe6c6fb1debc6ff43ad05834a8af8a62ffc4167b7b34ef63c37",
            ),
            ModelFile(
                "wav2lip/wav2lip_gan.pth",
                435_801_865,
                "ca9ab7b7b812c0e80a6e70a5977c545a1e8a365a6c49d5e533023c034d7ac3d8",
                is_needed=False,
            ),
        ),
        "https://github.com/Rudrabha/Wav2Lip",
    ),
)

SETS: Final[Mapping[str, tuple[str, ...]]] = {"musetalk": ("musetalk-1.5", "sd-vae", "whisper")}
"""Names for several models at once."""
_NEEDED: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("musetalk", "1.5"): SETS["musetalk"],
    ("musetalk", "1.0"): ("musetalk-1.0", "sd-vae", "whisper"),
}
"""By engine and version; engines that are not here need none."""


class UnknownModelError(ValueError):
    """No model has this name; the message lists those there are."""


def models_for(engine: str, version: str, decoder: str = "full", mask: str = "landmarks") -> tuple[Model, ...]:
    """What an engine needs, in the version, with the decoder and the mask of MuseTalk that are set."""
    names = list(_NEEDED.get((engine, version), ()))
    if names:
        names += ["taesd"] if decoder == "taesd" else []
        names += ["face-parsing"] if mask == "parsing" else []
    return find_models(names)


def find_models(names: Iterable[str]) -> tuple[Model, ...]:
    """Models by their names or those of sets, each once, in the order they are named.

    Raises :class:`UnknownModelError`.
    """
    by_name = {model.name: model for model in MODELS}
    chosen: dict[str, Model] = {}
    for name in names:
        for single in SETS.get(name, (name,)):
            if single not in by_name:
                raise UnknownModelError(f"no model {name!r}; there are {', '.join([*SETS, *by_name])}")
            chosen[single] = by_name[single]
    return tuple(chosen.values())
