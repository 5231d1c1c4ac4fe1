"""``musetalk-service``: arguments to settings to one command."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musetalk_service import __version__
from musetalk_service.config import default_settings, list_settings, load_settings, read_host_settings
from musetalk_service.errors import ConfigurationError
from musetalk_service.models.preparation import Crop
from musetalk_service.utils.logs import configure_logging


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except ConfigurationError as error:
        print(f"musetalk-service: wrong setting: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="musetalk-service", description="A server that makes a face speak, live.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="start the server")
    serve.add_argument("--host", help="address to listen on (HOST)")
    serve.add_argument("--port", type=int, help="TCP port (PORT)")
    serve.add_argument("--workers", type=int, help="engine host processes (WORKERS)")
    serve.set_defaults(run=_serve)

    doctor = commands.add_parser("doctor", help="check whether the service can run here, and say what to do")
    doctor.add_argument("--json", action="store_true", help="print a JSON object")
    doctor.set_defaults(run=_doctor)

    mouth = commands.add_parser("mouth", help="say how a mouth moves that speaks a recording, frame by frame")
    mouth.add_argument("file", type=Path, metavar="FILE", help="audio or video of any kind")
    mouth.add_argument("--out", type=Path, metavar="TRACK", help="write the track: NAME.json, NAME.csv or NAME.npz")
    mouth.add_argument("--plot", type=Path, metavar="PICTURE", help="draw it: NAME.png")
    mouth.add_argument("--arkit", action="store_true", help="put ARKit blend shapes into the track, too")
    mouth.set_defaults(run=_mouth)

    render = commands.add_parser("render", help="make a film of an avatar that says a recording, however long it takes")
    render.add_argument("file", type=Path, metavar="AUDIO", help="audio or video of any kind, whose sound is spoken")
    render.add_argument("--out", type=Path, required=True, metavar="FILE.mp4", help="H.264 at 25 fps, AAC")
    render.add_argument("--avatar", metavar="ID", help="of AVATARS_DIR; else the default one")
    render.add_argument("--engine", metavar="NAME", help="musetalk, builtin, static or auto; other than ENGINE")
    render.add_argument("--size", metavar="WxH", help="of the picture; else the first of VIDEO_SIZES")
    render.set_defaults(run=_render)

    bench = commands.add_parser("bench", help="measure the engines")
    subjects = bench.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    lips = subjects.add_parser("lips", help="compare the mouth with lips that were measured")
    lips.add_argument("folder", type=Path, metavar="DIR", help="NAME.wav with NAME.npz: arrays t, aperture, width")
    lips.add_argument("--json", action="store_true", help="print a JSON object")
    lips.set_defaults(run=_bench_lips)
    face = subjects.add_parser("face", help="draw a face in every mouth and measure what is found in the pictures")
    face.add_argument("sources", nargs="+", metavar="IMAGE", help='photo or video, or "default" for the default face')
    face.add_argument("--out", type=Path, metavar="DIR", help="write NAME.png, a contact sheet, and NAME.mp4")
    face.add_argument("--json", action="store_true", help="print a JSON list")
    face.set_defaults(run=_bench_face)
    musetalk = subjects.add_parser("musetalk", help="measure MuseTalk on DEVICE: frames a second, latency, sessions")
    musetalk.add_argument(
        "--random-weights", action="store_true", help="without checkpoints; writes 3.8 GB for a while"
    )
    musetalk.add_argument("--small", action="store_true", help="with --random-weights: a tenth as wide, for CPUs")
    musetalk.add_argument("--decoder", choices=("full", "lower", "taesd"), help="other than MUSETALK_DECODER")
    musetalk.add_argument("--seconds", type=float, default=3.0, help="for each row (3)")
    musetalk.add_argument("--plot", type=Path, metavar="FILE", help="write a PNG, too")
    musetalk.add_argument("--json", action="store_true", help="print a JSON object")
    musetalk.set_defaults(run=_bench_musetalk)

    _add_avatar_commands(commands.add_parser("avatar", help="make, list, show, delete, export and import avatars"))

    _add_model_commands(commands.add_parser("models", help="list, download, verify and find the engines' model files"))

    config = commands.add_parser("config", help="print every setting, its value and where it comes from")
    config.set_defaults(run=_config)

    openapi = commands.add_parser("openapi", help="print openapi.yaml")
    openapi.set_defaults(run=_openapi)

    prepare = commands.add_parser("prepare", help="make one avatar's files (started by the server)")
    prepare.set_defaults(run=_prepare)

    worker = commands.add_parser("worker", help="run one engine host (started by the server)")
    worker.add_argument("--bus-fd", type=int, required=True, help="inherited socket to the server")
    worker.add_argument("--painter", type=Path, metavar="SOCKET", help="where MuseTalk's networks are")
    worker.set_defaults(run=_worker)

    painter = commands.add_parser("painter", help="run MuseTalk's networks (started by the server)")
    painter.add_argument("--bus-fd", type=int, required=True, help="inherited socket to the server")
    painter.add_argument("--listen", type=Path, required=True, metavar="SOCKET", help="for the engine hosts")
    painter.set_defaults(run=_painter)
    return parser


def _add_avatar_commands(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    create = actions.add_parser("create", help="make a user's avatar of a photo or video")
    create.add_argument("file", type=Path, metavar="FILE")
    create.add_argument("--id", required=True, dest="avatar_id", metavar="USER_ID", help="whose avatar it is")
    for number in (1, 2):
        create.add_argument(
            f"--action-{number}", type=Path, metavar="VIDEO", help=f"what action {number} shows; else it is drawn"
        )
    create.add_argument(
        "--crop",
        type=Crop.parse,
        metavar="X,Y,SIZE",
        help="the square that becomes the portrait: left edge as part of the width, top of the height, side of the "
        "shorter side; else it is chosen around the face",
    )
    create.set_defaults(run=_avatar_create)

    listing = actions.add_parser("list", help="print all avatars")
    listing.add_argument("--json", action="store_true", help="print their manifests")
    listing.set_defaults(run=_avatar_list)

    show = actions.add_parser("show", help="print one avatar's manifest, files and clips")
    delete = actions.add_parser("delete", help="delete an avatar with all its versions")
    export = actions.add_parser("export", help="write an avatar into one file")
    for action, run in ((show, _avatar_show), (delete, _avatar_delete), (export, _avatar_export)):
        action.add_argument("avatar_id", metavar="USER_ID")
        action.set_defaults(run=run)
    export.add_argument("target", type=Path, metavar="FILE", help="for example alice.zip")

    bring_in = actions.add_parser(
        "import", help="publish an avatar that was exported, or that the published MuseTalk scripts have prepared"
    )
    bring_in.add_argument("source", type=Path, metavar="FILE|DIR", help="its archive (zip, tar) or its folder")
    bring_in.add_argument("--id", dest="avatar_id", metavar="USER_ID", help="another user id than its own")
    bring_in.set_defaults(run=_avatar_import)

    for action in (create, bring_in):
        action.add_argument("--consent-by", metavar="NAME", help="who agreed to the use of this face")
        action.add_argument("--consent-note", default="", metavar="TEXT", help="what was agreed")


def _add_model_commands(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="print every model, its size, licence and state")
    listing.add_argument("--json", action="store_true", help="print a JSON list")
    listing.set_defaults(run=_models_list)

    download = actions.add_parser("download", help="fetch models into MODEL_PATH, or go on where it broke off")
    download.add_argument("names", nargs="+", metavar="NAME", help="for example musetalk; `models list` has them all")
    download.add_argument(
        "--accept-licence", "--accept-license", action="store_true", help="accept the licences that are shown"
    )
    download.add_argument("--force", action="store_true", help="replace files that are there and are others")
    download.set_defaults(run=_models_download)

    verify = actions.add_parser("verify", help="read the files and compare their checksums")
    verify.add_argument("names", nargs="*", metavar="NAME", help="models; none: those there, and those ENGINE needs")
    verify.add_argument("--json", action="store_true", help="print a JSON object")
    verify.set_defaults(run=_models_verify)

    path = actions.add_parser("path", help="print where files are or belong")
    path.add_argument("names", nargs="*", metavar="NAME", help="models; none: MODEL_PATH itself")
    path.set_defaults(run=_models_path)


# Each command imports what it needs: a host loads no web framework, the server loads no engine early.


def _serve(arguments: argparse.Namespace) -> None:
    overrides: dict[str, Any] = {
        name: value for name in ("host", "port", "workers") if (value := getattr(arguments, name)) is not None
    }
    settings = load_settings(**overrides)
    configure_logging(settings.log_level, settings.log_format)
    from musetalk_service.server import serve

    serve(settings)


def _doctor(arguments: argparse.Namespace) -> int:
    from musetalk_service.doctor import main as examine

    return examine(as_json=arguments.json)


def _mouth(arguments: argparse.Namespace) -> int:
    from musetalk_service.mouth import main as track

    return track(arguments.file, out=arguments.out, plot=arguments.plot, arkit=arguments.arkit)


def _render(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from musetalk_service.render import main as film

    return film(
        settings,
        arguments.file,
        out=arguments.out,
        avatar_id=arguments.avatar,
        engine=arguments.engine,
        size=arguments.size,
    )


def _bench_lips(arguments: argparse.Namespace) -> int:
    from musetalk_service.lip_bench import main as compare

    return compare(arguments.folder, as_json=arguments.json)


def _bench_musetalk(arguments: argparse.Namespace) -> int:
    from musetalk_service.musetalk_bench import main as measure

    settings = load_settings(**({"musetalk_decoder": arguments.decoder} if arguments.decoder else {}))
    return measure(
        settings,
        random_weights=arguments.random_weights,
        small=arguments.small,
        seconds=arguments.seconds,
        as_json=arguments.json,
        plot=arguments.plot,
    )


def _bench_face(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    from musetalk_service.services.child_process import THREAD_COUNTS

    for name in THREAD_COUNTS:  # read when numpy is loaded: one thread, as in an engine host
        os.environ.setdefault(name, "1")
    from musetalk_service.face_bench import main as measure

    return measure(
        arguments.sources,
        out=arguments.out,
        as_json=arguments.json,
        models=settings.preparation_models(),
    )


def _avatar_create(arguments: argparse.Namespace) -> int:
    from musetalk_service.avatar_tool import create
    from musetalk_service.models.clips import ACTION_CLIPS

    return create(
        load_settings(),
        arguments.file,
        arguments.avatar_id,
        consent_by=arguments.consent_by,
        consent_note=arguments.consent_note,
        actions={name: getattr(arguments, name) for name in ACTION_CLIPS if getattr(arguments, name) is not None},
        crop=arguments.crop,
    )


def _avatar_list(arguments: argparse.Namespace) -> int:
    from musetalk_service.avatar_tool import list_all

    return list_all(load_settings(), as_json=arguments.json)


def _avatar_show(arguments: argparse.Namespace) -> int:
    from musetalk_service.avatar_tool import show

    return show(load_settings(), arguments.avatar_id)


def _avatar_delete(arguments: argparse.Namespace) -> int:
    from musetalk_service.avatar_tool import delete

    return delete(load_settings(), arguments.avatar_id)


def _avatar_export(arguments: argparse.Namespace) -> int:
    from musetalk_service.avatar_tool import export

    return export(load_settings(), arguments.avatar_id, arguments.target)


def _avatar_import(arguments: argparse.Namespace) -> int:
    from musetalk_service.avatar_tool import bring_in

    return bring_in(
        load_settings(),
        arguments.source,
        arguments.avatar_id,
        consent_by=arguments.consent_by,
        consent_note=arguments.consent_note,
    )


def _models_list(arguments: argparse.Namespace) -> int:
    from musetalk_service.model_files import list_all

    return list_all(load_settings(), as_json=arguments.json)


def _models_download(arguments: argparse.Namespace) -> int:
    from musetalk_service.model_files import download

    return download(load_settings(), arguments.names, accept_licence=arguments.accept_licence, replace=arguments.force)


def _models_verify(arguments: argparse.Namespace) -> int:
    from musetalk_service.model_files import verify

    return verify(load_settings(), arguments.names, as_json=arguments.json)


def _models_path(arguments: argparse.Namespace) -> int:
    from musetalk_service.model_files import show_paths

    return show_paths(load_settings(), arguments.names)


def _config(_: argparse.Namespace) -> None:
    origins = list_settings()
    width = max(len(f"{origin.name}={origin.value}") for origin in origins if origin.source == "default")
    for origin in origins:
        print(f"{origin.name + '=' + origin.value:{width}}  # {origin.source}")


def _openapi(_: argparse.Namespace) -> None:
    from musetalk_service.handlers.openapi import to_yaml
    from musetalk_service.server import create_app

    sys.stdout.write(to_yaml(create_app(default_settings()).openapi()))


def _prepare(_: argparse.Namespace) -> int:
    from musetalk_service.preparation.job import run

    return run(sys.stdin.read())


def _worker(arguments: argparse.Namespace) -> None:
    settings = read_host_settings(sys.stdin.read())
    configure_logging(settings.log_level, settings.log_format)
    from musetalk_service.host import run_host

    run_host(settings, arguments.bus_fd, arguments.painter)


def _painter(arguments: argparse.Namespace) -> None:
    settings = read_host_settings(sys.stdin.read())
    configure_logging(settings.log_level, settings.log_format)
    from musetalk_service.painter import run_painter

    run_painter(settings, arguments.bus_fd, arguments.listen)
