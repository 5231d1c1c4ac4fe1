"""What the machine offers: Python and its packages, processor, memory, GPU, folders and the port."""

import contextlib
import ctypes
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from musetalk_service.config import Settings
from musetalk_service.doctor.finding import Finding
from musetalk_service.engine_choice import why_not_musetalk
from musetalk_service.errors import DownloadError
from musetalk_service.model_files import missing_models
from musetalk_service.models.checkpoint_catalogue import SEGMENTER

_MODULES = {"opencv-python-headless": "cv2", "pyjwt": "jwt", "pyyaml": "yaml"}
"""Where a package's module is called otherwise."""
_HOST_MB = 200
"""Memory of an engine host or the front, generously."""
_GB = 1 << 30


def check_python(_: Settings) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 10):  # noqa: UP036  # who installs in odd ways gets here with an older one
        return Finding("Python", "problem", version, "3.10 or newer is needed")
    return Finding("Python", "ok", f"{version} on {sys.platform}")


def check_packages(_: Settings) -> Finding:
    """Everything that the installed package requires, importable and new enough."""
    found, wrong = [], []
    for requirement in importlib.metadata.requires("musetalk-service") or []:
        if "extra ==" in requirement:
            continue
        match = re.match(r"([\w.-]+)(?:\[[^]]*])?\s*(?:>=\s*([\d.]+))?", requirement)
        assert match is not None
        name, least = match[1], match[2]
        try:
            importlib.import_module(_MODULES.get(name.lower(), name.replace("-", "_")))
            version = importlib.metadata.version(name)
        except ImportError as error:  # PackageNotFoundError is one
            wrong.append(f"{name} cannot be imported ({error})")
            continue
        found.append(f"{name} {version}")
        if least is not None and _numbers(version) < _numbers(least):
            wrong.append(f"{name} {version} is older than {least}")
    if wrong:
        return Finding("packages", "problem", "; ".join(wrong), "make setup, or: pip install -r requirements.txt")
    return Finding("packages", "ok", ", ".join(found))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def check_cores(settings: Settings) -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores()
    found = f"{cores} cores" + (f", of which this container may use {quota:g}" if quota is not None else "")
    usable = min(cores, quota) if quota is not None else cores
    found += f"; {settings.host_count} engine hosts"
    if usable < 2:
        return Finding("processor", "warning", found, "few sessions: engine and network share one core")
    if settings.host_count > usable:
        return Finding("processor", "warning", found, f"more hosts than cores: WORKERS={max(1, int(usable) - 1)}")
    return Finding("processor", "ok", found)


def check_memory(settings: Settings) -> Finding:
    total, available = _memory()
    needed = (settings.host_count + 1) * _HOST_MB * 1_000_000
    if not total:
        return Finding("memory", "ok", "unknown on this system")
    found = f"{available / _GB:.1f} of {total / _GB:.1f} GiB free; {needed / _GB:.1f} GiB wanted"
    if available < needed:
        return Finding("memory", "warning", found, "fewer WORKERS, or more memory")
    return Finding("memory", "ok", found)


def check_gpu(settings: Settings) -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding("GPU", "ok", "no NVIDIA driver; the built-in engine runs on the CPU")
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        advice = "the built-in engine needs no GPU; for others repair the NVIDIA driver"
        return Finding("GPU", "warning", f"nvidia-smi fails ({type(error).__name__})", advice)
    found = "; ".join(line.strip() for line in answer.splitlines() if line.strip()) or "nvidia-smi lists none"
    return Finding("GPU", "ok", found + ("" if settings.device == "cuda" else " (not used: DEVICE=cpu)"))


def check_models(settings: Settings) -> Finding:
    """The folder, and in it what ENGINE needs; by presence and size, which takes no time."""
    try:
        missing = missing_models(settings)
    except DownloadError as error:
        return Finding("MODEL_PATH", "warning", str(error))
    if missing:
        found = f"{settings.model_path} lacks {', '.join(missing)} for ENGINE={settings.engine}; another stands in"
        return Finding("MODEL_PATH", "warning", found, f"musetalk-service models download {' '.join(missing)}")
    obstacle = why_not_musetalk(settings) if settings.engine == "auto" else None
    engine = f"auto, the built-in engine ({obstacle})," if obstacle else settings.engine
    return _check_folder("MODEL_PATH", settings.model_path, f"not there; ENGINE={engine} needs no models")


def check_avatars(settings: Settings) -> Finding:
    if not settings.default_avatar_enabled and not settings.avatars_dir.is_dir():
        advice = "DEFAULT_AVATAR_ENABLED=true, or prepare avatars in that folder"
        found = f"{settings.avatars_dir} is not there and the default avatar is off: nobody can be answered"
        return Finding("AVATARS_DIR", "warning", found, advice)
    absent = "not there; every user is answered by the default avatar"
    return _check_folder("AVATARS_DIR", settings.avatars_dir, absent)


def check_landmarker(settings: Settings) -> Finding:
    """What it takes to make avatars, without loading it: it may crash."""
    if importlib.util.find_spec("mediapipe") is None:
        return Finding(
            "avatars", "warning", "MediaPipe is not installed: no avatars of photos and videos", "make avatars"
        )
    for library in ("libEGL.so.1", "libGLESv2.so.2"):
        try:
            ctypes.CDLL(library)
        except OSError as error:
            return Finding("avatars", "warning", f"MediaPipe cannot load {error}", "apt install libegl1 libgles2")
    path = settings.face_landmarker_path
    if path is not None and not path.is_file():
        return Finding(
            "avatars", "warning", f"FACE_LANDMARKER_PATH: there is no file {path}", "correct it, or unset it"
        )
    return Finding("avatars", "ok", f"MediaPipe {importlib.metadata.version('mediapipe')}")


def check_segmenter(settings: Settings) -> Finding:
    """What tells a face from its background when an avatar is made; avatars are made without it, too."""
    path, name = settings.person_segmenter_path, SEGMENTER.path
    if not settings.avatar_layers:
        return Finding("layers", "ok", "AVATAR_LAYERS is off: backgrounds bend a little where heads move")
    if path is not None and not path.is_file():
        return Finding(
            "layers", "warning", f"PERSON_SEGMENTER_PATH: there is no file {path}", "correct it, or unset it"
        )
    places = [path] if path is not None else [settings.model_path / name, settings.cache_dir / name]
    there = next((place for place in places if place.is_file()), None)
    return Finding("layers", "ok", str(there) if there is not None else f"{name} comes with the first avatar")


def _check_folder(name: str, path: Path, absent: str) -> Finding:
    if not path.exists():
        return Finding(name, "ok", f"{path} is {absent}")
    if not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        return Finding(name, "warning", f"{path} is no readable folder", f"correct {name} or the folder's permissions")
    return Finding(name, "ok", str(path))


def check_cache(settings: Settings) -> Finding:
    """Written to for real where it exists; else its nearest parent must allow making it."""
    path = settings.cache_dir
    advice = "correct CACHE_DIR or its permissions; until then the idle clip is encoded at each start"
    if path.is_dir():
        try:
            with tempfile.NamedTemporaryFile(dir=path):
                pass
        except OSError as error:
            return Finding("CACHE_DIR", "warning", f"{path} cannot be written: {error.strerror}", advice)
        return Finding("CACHE_DIR", "ok", f"{path} is writable")
    parent = next(folder for folder in path.parents if folder.exists())
    if path.exists() or not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        return Finding("CACHE_DIR", "warning", f"{path} cannot be made", advice)
    return Finding("CACHE_DIR", "ok", f"{path} will be made at the first start")


def check_port(settings: Settings) -> Finding:
    """Whether the server could listen, tried in the way it will."""
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            trial.listen(1)
    except OSError as error:
        running = _running_service(settings)
        if running is not None:
            return Finding("port", "warning", f"{where} is taken by a MuseTalk service {running} that runs already")
        advice = "end what listens there, or choose another PORT" if settings.port else "correct HOST"
        return Finding("port", "problem", f"{where} cannot be had: {error.strerror}", advice)
    return Finding("port", "ok", f"{where} is free")


def _running_service(settings: Settings) -> str | None:
    """The version of the service that answers on the port, if it is one."""
    scheme = "https" if settings.tls_certfile is not None else "http"
    host = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE  # nothing secret is sent, and nothing that comes is acted on
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    try:
        with opener.open(f"{scheme}://{host}:{settings.port}/health", timeout=2) as response:
            health = json.loads(response.read(65_536))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(health, dict) and "hosts_ready" in health
    return str(health.get("version")) if is_ours else None


def _memory() -> tuple[int, int]:
    """Total and available bytes, of the container where it has a limit; zeros where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0, 0
    figures = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    total, available = figures.get("MemTotal", 0), figures.get("MemAvailable", 0)
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2, or "max"
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        total, available = min(total, limit), min(available, limit - used)
    return total, available


def _cgroup_cores() -> float | None:
    """The container's share of the processor in cores, where it has a limit (cgroup v2)."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return int(quota) / int(period)
    return None
