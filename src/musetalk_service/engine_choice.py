"""Which engine ENGINE=auto is, on this machine and with these files."""

import importlib.util
import logging
import shutil

from musetalk_service.config import Settings
from musetalk_service.errors import DownloadError
from musetalk_service.model_files import missing_models

log = logging.getLogger(__name__)

_LIBRARIES = ("torch", "diffusers", "safetensors")


def choose_engine(settings: Settings) -> Settings:
    """The settings with an engine by name: MuseTalk where it can keep up, else the built-in one; the log says why."""
    if settings.engine != "auto":
        return settings
    obstacle = why_not_musetalk(settings)
    engine = "builtin" if obstacle else "musetalk"
    log.info("ENGINE=auto is %s%s", engine, f": {obstacle}" if obstacle else "")
    return settings.model_copy(update={"engine": engine})


def why_not_musetalk(settings: Settings) -> str | None:
    """Why MuseTalk is not for this machine; None: nothing. The cheapest questions first, and no library is loaded."""
    if settings.device == "cpu":
        return "DEVICE=cpu, on which MuseTalk is far from real time"
    if settings.device == "cuda" and shutil.which("nvidia-smi") is None:
        return "MuseTalk needs a GPU, and there is no NVIDIA driver"
    lacking = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if lacking:
        return f"MuseTalk needs {', '.join(lacking)}; pip install 'musetalk-service[musetalk]'"
    try:
        missing = missing_models(settings.model_copy(update={"engine": "musetalk"}))
    except DownloadError as error:
        return str(error)
    if missing:
        return f"MODEL_PATH lacks {', '.join(missing)}; musetalk-service models download musetalk"
    return None
