"""``musetalk-service models``: list, download, verify and find the files of the engines' models."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from musetalk_service.config import Settings
from musetalk_service.errors import DownloadError
from musetalk_service.model_files.acquire import acquire, plan
from musetalk_service.model_files.hub import HubSource
from musetalk_service.model_files.inventory import Found, examine, glance, summarise
from musetalk_service.model_files.lock import read_lock
from musetalk_service.model_files.progress import ProgressBar, human
from musetalk_service.models.checkpoint_catalogue import (
    MODELS,
    SETS,
    Licence,
    Model,
    ModelFile,
    UnknownModelError,
    find_models,
    models_for,
)
from musetalk_service.utils.download import Downloader, Source
from musetalk_service.utils.http_source import HttpSource

_INTERRUPTED = 130
"""Exit status of programs that were ended with Ctrl-C."""


def list_all(settings: Settings, *, as_json: bool) -> int:
    """Print every model: its name, size, licence, state and purpose. Returns the exit status."""

    def work() -> int:
        lock, rows = read_lock(settings.model_path), []
        for model in MODELS:
            summary = summarise(glance(settings.model_path, model, lock))
            is_yours = summary == "missing" and not model.is_downloadable
            rows.append((model, "supply it" if is_yours else summary))
        if as_json:
            print(json.dumps([_facts(model, state, settings) for model, state in rows], indent=2))
            return 0
        for model, state in rows:
            print(f"{model.name:<16} {human(model.size):>8}  {state:<10}  {model.purpose}")
            print(f"{'':<28}{model.licence.name}: {model.licence.url}")
        for name, members in SETS.items():
            print(f"{name:<16} {'':>8}  {'':<10}  all of {', '.join(members)}")
        print(f"MODEL_PATH is {settings.model_path}")
        return 0

    return _tell(work)


def download(settings: Settings, names: Sequence[str], *, accept_licence: bool, replace: bool) -> int:
    """Fetch models; what is there is left alone, what broke off goes on. Returns the exit status."""

    def work() -> int:
        models = find_models(names)
        items = plan(settings.model_path, models, settings.hf_endpoint, replace=replace, say=print)
        if items:
            accept = partial(_ask, is_accepted=accept_licence)
            acquire(settings.model_path, items, _downloaders(settings), accept=accept, say=print)
        print(f"{', '.join(names)}: ready in {settings.model_path}")
        return 0

    return _tell(work)


def verify(settings: Settings, names: Sequence[str], *, as_json: bool) -> int:
    """Read every file of models and compare; without names, of those that are there or that ENGINE needs.

    Returns the exit status: 0 when all files that are needed are there, and none is another than it should be.
    """

    def work() -> int:
        lock = read_lock(settings.model_path)
        models = find_models(names) if names else _those_of_interest(settings)
        found: list[Found] = []
        with ProgressBar("reading", sys.stderr, lines=False) as bar:
            for model in models:
                found += examine(settings.model_path, model, lock, bar)
        is_right = all(item.state != "wrong" and (item.state != "missing" or not item.is_needed) for item in found)
        if as_json:
            report = {"model_path": str(settings.model_path), "ok": is_right, "files": [asdict(item) for item in found]}
            print(json.dumps(report, indent=2))
        else:
            for item in found:
                print(f"{item.state:<8} {item.path:<44} {_remark(item)}")
            if not found:
                print(f"no models in {settings.model_path}, and ENGINE={settings.engine} needs none")
        return 0 if is_right else 1

    return _tell(work)


def show_paths(settings: Settings, names: Sequence[str]) -> int:
    """Print where models' files are or belong, one a line; without names, MODEL_PATH. Returns the exit status."""

    def work() -> int:
        if not names:
            print(settings.model_path)
        lock = read_lock(settings.model_path)
        for model in find_models(names):
            for item in glance(settings.model_path, model, lock):
                print(settings.model_path / item.path)
        return 0

    return _tell(work)


def missing_models(settings: Settings) -> list[str]:
    """Names of the models that ENGINE needs and that are not ready. Raises :class:`DownloadError`."""
    lock = read_lock(settings.model_path)
    needed = _needed(settings)
    return [model.name for model in needed if summarise(glance(settings.model_path, model, lock)) != "ready"]


def _needed(settings: Settings) -> tuple[Model, ...]:
    return models_for(settings.engine, settings.musetalk_version, settings.musetalk_decoder, settings.musetalk_mask)


def _downloaders(settings: Settings) -> Callable[[ModelFile], Downloader]:
    """By where a file lies: the hub's own client library for the hub, the standard library for other places."""

    def patient(source: Source) -> Downloader:
        return Downloader(source, retries=settings.download_retries, longest_wait_s=settings.download_max_wait_s)

    token = settings.hf_token.get_secret_value() if settings.hf_token is not None else None
    hub = patient(HubSource(settings.download_timeout_s, token=token))
    elsewhere = patient(HttpSource(settings.download_timeout_s))
    return lambda file: elsewhere if file.repository is None else hub


def _those_of_interest(settings: Settings) -> tuple[Model, ...]:
    lock = read_lock(settings.model_path)
    there = [
        model.name
        for model in MODELS
        if any(item.state != "missing" for item in glance(settings.model_path, model, lock))
    ]
    needed = _needed(settings)
    return find_models([model.name for model in needed] + there)


def _ask(licences: Sequence[tuple[Model, Licence]], is_accepted: bool) -> bool:
    print("licences:")
    for model, licence in licences:
        print(f"  {model.name:<16} {licence.name}: {licence.url}")
        if licence.note:
            print(f"  {'':<16} {licence.note}")
    if is_accepted or not sys.stdin.isatty():
        return is_accepted
    try:
        return input("Do you accept these licences? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _facts(model: Model, state: str, settings: Settings) -> dict[str, object]:
    files = [
        {
            "path": file.path,
            "size": file.size,
            "sha256": file.sha256,
            "url": file.address(settings.hf_endpoint),
            "member": file.member or None,
        }
        for file in model.files
    ]
    return {
        "name": model.name,
        "purpose": model.purpose,
        "size": model.size,
        "state": state,
        "licence": asdict(model.licence),
        "page": model.page,
        "files": files,
    }


def _remark(item: Found) -> str:
    if item.state == "missing":
        return "" if item.is_needed else "not needed here"
    if item.state == "unknown":
        return f"nothing to compare it with; sha256 {item.sha256}"
    return item.detail or f"sha256 {item.sha256}"


def _tell(work: Callable[[], int]) -> int:
    try:
        return work()
    except (DownloadError, UnknownModelError) as error:
        print(f"musetalk-service models: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmusetalk-service models: stopped; the same command goes on from here", file=sys.stderr)
        return _INTERRUPTED
