"""Fetching models: what is to come, whether it fits, whose licence is accepted, and then one file after the other."""

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from musetalk_service.errors import DownloadError
from musetalk_service.model_files.inventory import examine, present_file
from musetalk_service.model_files.lock import LockEntry, read_lock, record
from musetalk_service.model_files.progress import ProgressBar, human
from musetalk_service.models.checkpoint_catalogue import Licence, Model, ModelFile
from musetalk_service.utils.download import Downloader, Remote
from musetalk_service.utils.model_download import fetch_model_file
from musetalk_service.utils.partial_file import bytes_there

_SPARE_BYTES: Final = 64 << 20
"""Left free on the disk."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file that is to come."""

    model: Model
    file: ModelFile
    url: str


class AcquisitionError(DownloadError):
    """Why not all models came; the message is for people, and says what they can do."""


def plan(
    model_path: Path, models: Sequence[Model], hub: str, *, replace: bool, say: Callable[[str], None]
) -> list[Item]:
    """The files that are not there yet; ``say`` is told of those that are.

    Args:
        model_path: MODEL_PATH.
        models: which.
        hub: address of the model hub.
        replace: fetch also what is there and is another file.
        say: hears of each file that is not fetched.

    Raises:
        AcquisitionError: a model that cannot be fetched, or a file there that is another one.
    """
    lock, items = read_lock(model_path), []
    for model in models:
        if not model.is_downloadable:
            raise AcquisitionError(_supply_yourself(model_path, model))
        with ProgressBar("checking what is there", sys.stderr, lines=False) as bar:
            found = examine(model_path, model, lock, bar)
        has_another = any(item.path not in {file.path for file in model.files} for item in found)
        for file, item in zip(model.files, found, strict=True):
            if item.path != file.path:
                say(f"{file.path}: not needed, {item.path} is there")
            elif item.state in ("ok", "unknown"):
                say(f"{file.path}: there already" + ("" if item.state == "ok" else ", and no checksum of it is known"))
            elif item.state == "wrong" and not replace:
                raise AcquisitionError(
                    f"{model_path / file.path} is there and is another file ({item.detail}); --force replaces it"
                )
            elif file.is_needed or not has_another:
                address = file.address(hub)
                assert address is not None
                items.append(Item(model, file, address))
    return items


def acquire(
    model_path: Path,
    items: Sequence[Item],
    downloader: Callable[[ModelFile], Downloader],
    *,
    accept: Callable[[Sequence[tuple[Model, Licence]]], bool],
    say: Callable[[str], None],
    today: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> None:
    """Fetch files, and write down what came.

    Args:
        model_path: MODEL_PATH.
        items: as :func:`plan` gives them.
        downloader: which one fetches a file.
        accept: asks for agreement to licences; those that were accepted with an earlier file are not asked for again.
        say: hears how much is to come.
        today: the time of day.

    Raises:
        AcquisitionError: not accepted, not enough space, not reachable, refused, or not the right file.
    """
    remotes = _sizes(model_path, items, downloader)
    _check_space(model_path, items, remotes, say)
    accepted = {(entry.model, entry.licence) for entry in read_lock(model_path).files.values()}
    models = {item.model.name: item.model for item in items}.values()
    licences = [(model, model.licence) for model in models if (model.name, model.licence.name) not in accepted]
    if licences and not accept(licences):
        raise AcquisitionError("nothing was fetched: the licences are not accepted (--accept-licence accepts them)")
    for number, (item, remote) in enumerate(zip(items, remotes, strict=True)):
        target = model_path / item.file.path
        try:
            with ProgressBar(item.file.path, sys.stderr) as bar:
                fetched = fetch_model_file(
                    downloader(item.file), item.file, item.url, target, remote=remote, observer=bar
                )
        except DownloadError as error:
            raise AcquisitionError(_do_it_yourself(model_path, items[number:], error)) from error
        entry = LockEntry(
            model=item.model.name,
            size=fetched.size,
            sha256=fetched.sha256,
            checked=fetched.checked,
            url=item.url,
            fetched=today().isoformat(timespec="seconds"),
            licence=item.model.licence.name,
        )
        record(model_path, item.file.path, entry)


def _sizes(model_path: Path, items: Sequence[Item], downloader: Callable[[ModelFile], Downloader]) -> list[Remote]:
    remotes = []
    for number, item in enumerate(items):
        try:
            with ProgressBar(item.file.path, sys.stderr) as bar:
                remotes.append(downloader(item.file).inspect(item.url, bar))
        except DownloadError as error:
            raise AcquisitionError(_do_it_yourself(model_path, items[number:], error)) from error
    return remotes


def _check_space(
    model_path: Path, items: Sequence[Item], remotes: Sequence[Remote], say: Callable[[str], None]
) -> None:
    say(f"into {model_path}:")
    missing = 0
    for item, remote in zip(items, remotes, strict=True):
        size = remote.size if remote.size is not None else item.file.size
        there = min(size, bytes_there(model_path / item.file.path))
        missing += size - there
        goes_on = f", {human(there)} of it are there" if there else ""
        about = "about " if remote.size is None and item.file.sha256 is None else ""
        say(f"  {item.file.path:<44} {about}{human(size)}{goes_on}")
    folder = next(path for path in (model_path, *model_path.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    say(f"  {human(missing)} to fetch, {human(free)} are free")
    if missing + _SPARE_BYTES > free:
        raise AcquisitionError(
            f"not enough space in {folder}: {human(missing)} are needed, {human(free)} are free; "
            "make room, or set MODEL_PATH to another folder"
        )


def _do_it_yourself(model_path: Path, items: Iterable[Item], error: DownloadError) -> str:
    hint = {
        401: " Set HF_TOKEN to a token of the hub, if it wants to know who asks.",
        403: " Accept the model's terms on its page if it has any, and set HF_TOKEN to a token of that account.",
        407: " The proxy of HTTPS_PROXY wants a name and a password.",
    }.get(error.status or 0, "")
    lines = [
        f"  {model_path / item.file.path}  from  {item.url}"
        + (f"  (in it: {item.file.member})" if item.file.member else "")
        for item in items
    ]
    return f"{error}.{hint} The same command goes on from here; or put there yourself:\n" + "\n".join(lines)


def _supply_yourself(model_path: Path, model: Model) -> str:
    lines = [
        f"  {model_path / file.path}  ({human(file.size)}, sha256 {file.sha256})"
        for file in model.files
        if present_file(model_path, file) is None
    ]
    places = "\n" + "\n".join(lines) if lines else " everything is there"
    return f"{model.name} has no official link: see {model.page} ({model.licence.note}). Put there yourself:{places}"
