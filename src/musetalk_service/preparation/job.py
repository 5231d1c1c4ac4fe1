"""The preparation process: one order on standard input, lines of JSON on standard output, then it ends.

It reads what strangers have uploaded, so it runs under limits that the kernel holds it to, and it may
crash: nobody but this one upload depends on it.
"""

import os
import resource
import sys
from contextlib import ExitStack
from typing import Any

import cv2

from musetalk_service.models.avatar_manifest import Source
from musetalk_service.models.preparation import Finished, Order, PreparationLimits, Progress, Refusal, Refused
from musetalk_service.preparation.avatar import Report, prepare_avatar
from musetalk_service.preparation.errors import LandmarkerError, PreparationError, SegmenterError
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.matte_files import write_matte
from musetalk_service.preparation.model_file import FACE_LANDMARKER, find_model
from musetalk_service.preparation.official_video import take_official
from musetalk_service.preparation.segmenter import load_segmenter

_NICENESS = 10
_MAX_FILE_BYTES = 4 << 30


def run(text: str) -> int:
    """Do one order; returns the exit status."""
    order = Order.model_validate_json(text)
    _confine(order.limits)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong with an upload is in the answer
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # native libraries write where they like
    sys.stdout = sys.stderr

    def say(message: Progress | Finished | Refused) -> None:
        lines.write(message.model_dump_json() + "\n")
        lines.flush()

    try:
        say(Progress(stage="models", percent=2))
        with ExitStack() as stack:
            landmarker = _find_landmarker(order, stack)
            say(Progress(stage="upload", percent=10))
            source, extra = _prepare(
                order, landmarker, lambda stage, percent: say(Progress(stage=stage, percent=percent))
            )
        say(Progress(stage="layers", percent=95))
        extra |= _part_layers(order)
        say(Finished(source=source, extra=extra))
    except PreparationError as error:
        say(Refused(reason=Refusal(code=error.code, message=error.message, advice=error.advice)))
    except MemoryError:
        reason = "reading it takes more memory than is allowed"
        say(Refused(reason=Refusal(code="too_large", message=reason, advice="Make it smaller or shorter.")))
    return 0


def _find_landmarker(order: Order, stack: ExitStack) -> FaceLandmarker | LandmarkerError:
    try:
        models = order.models
        model = find_model(FACE_LANDMARKER, models.landmarker, models.folder, models.cache_dir)
        return stack.enter_context(FaceLandmarker(model))
    except LandmarkerError as error:
        return error


def _prepare(
    order: Order, landmarker: FaceLandmarker | LandmarkerError, report: Report
) -> tuple[Source, dict[str, Any]]:
    """Official avatars can do without a landmarker."""
    if isinstance(landmarker, LandmarkerError) and (order.official is None or order.needs_face):
        raise landmarker
    if order.official is not None:
        return take_official(order.source, order.staged, order.official, order.limits, landmarker, report)
    assert not isinstance(landmarker, LandmarkerError)
    return prepare_avatar(order.source, order.staged, order.limits, landmarker, report, order.actions, order.crop)


def _part_layers(order: Order) -> dict[str, str]:
    """Manifest fields of the matte; none without the segmenter, which is no reason to refuse an avatar."""
    if not order.models.layers:
        return {}
    try:
        return write_matte(order.staged, load_segmenter(order.models))
    except SegmenterError as error:
        print(f"avatar {order.avatar_id} is made without layers: {error.message}", file=sys.stderr)
        return {}


def _confine(limits: PreparationLimits) -> None:
    os.nice(_NICENESS)
    memory = limits.max_memory_mb << 20
    wanted = {
        resource.RLIMIT_DATA: memory,  # what it allocates; RLIMIT_AS would count mapped libraries, too
        resource.RLIMIT_CPU: limits.max_cpu_s,
        resource.RLIMIT_FSIZE: _MAX_FILE_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in wanted.items():
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))
