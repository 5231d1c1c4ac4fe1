"""Idle clips: waiting, each in its own way. All share one boundary, so nothing happens near their ends.

The first blink is 1.1 to 2.1 s into a clip and the last 0.9 to 2.6 s before its end, so that blinks stay
two to five seconds apart in any sequence. Breath has 4 s a cycle, and lengths are multiples of that.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from musetalk_service.engines.face.motion.manner import Manner

_CALM: Final = Manner(  # attentive: mostly looks at the viewer, small slow head motion
    seconds=20, breaths=5, pinned=True, seed=3, sway=0.9, tempo=0.38, head_follows=4.0,
    gaze=((0, 0.00, 0.00), (34, 0.05, -0.03), (61, -0.02, 0.01), (93, -0.21, 0.05), (117, -0.17, 0.08),
          (136, 0.01, 0.00), (188, -0.04, -0.02), (214, 0.02, 0.02), (259, 0.19, -0.07), (281, 0.24, -0.04),
          (304, 0.00, 0.01), (351, 0.05, 0.02), (377, -0.03, -0.01), (408, 0.07, 0.13), (427, -0.01, 0.00),
          (466, 0.03, -0.02), (486, 0.00, 0.00)),
    blinks=(28, 91, 186, 256, 303, 404, 464),
    strokes={
        "roll": ((120, 40, 90, 50, 0.9), (330, 36, 60, 44, -0.7)),
        "brow": ((124, 14, 6, 22, 0.14), (292, 12, 10, 24, 0.10), (418, 10, 8, 18, 0.12)),
        "smile": ((110, 40, 30, 50, 0.10), (306, 36, 20, 44, 0.07)),
    },
)  # fmt: skip

_LOOKS_AROUND: Final = Manner(  # something to the right, then to the left; the head goes along a little
    seconds=12, breaths=3, pinned=True, seed=11, sway=0.6, tempo=0.4, head_follows=8.0,
    gaze=((0, 0.00, 0.00), (38, 0.30, -0.03), (61, 0.25, 0.06), (74, 0.31, 0.02), (91, 0.00, 0.00),
          (127, 0.04, -0.02), (151, -0.27, -0.05), (176, -0.33, 0.02), (190, -0.24, 0.07), (206, 0.00, 0.01),
          (236, 0.13, 0.13), (254, 0.01, 0.00), (284, 0.00, 0.00)),
    blinks=(36, 89, 149, 204, 253),
    strokes={
        "roll": ((42, 22, 30, 30, 0.8), (154, 22, 34, 30, -0.9)),
        "shift_x": ((42, 26, 26, 32, 1.4), (155, 26, 30, 32, -1.6)),
        "brow": ((37, 7, 12, 16, 0.18), (150, 8, 16, 18, 0.14)),
    },
)  # fmt: skip

_THOUGHTFUL: Final = Manner(  # looks up and aside for an answer, down while weighing it, and back
    seconds=12, breaths=3, pinned=True, seed=23, sway=0.5, tempo=0.25, head_follows=5.5,
    gaze=((0, 0.00, 0.00), (45, -0.20, -0.23), (79, -0.25, -0.18), (108, -0.15, -0.26), (140, 0.00, 0.00),
          (168, 0.15, 0.16), (201, 0.10, 0.20), (238, 0.00, 0.00), (279, 0.00, 0.00)),
    blinks=(43, 138, 191), slow_blinks=(88, 234),
    strokes={
        "roll": ((46, 30, 54, 36, -2.0), (168, 28, 40, 34, 0.9)),
        "pitch": ((166, 26, 40, 32, 0.7),),
        "shift_x": ((50, 32, 46, 36, -1.2),),
        "scale": ((47, 34, 48, 40, -0.008),),
        "brow": ((46, 10, 46, 30, 0.22), (170, 14, 20, 20, 0.07)),
        "breath": ((156, 24, 8, 48, -1.1),),
    },
)  # fmt: skip

_SMILING: Final = Manner(  # a relaxed smile that comes and goes
    seconds=12, breaths=3, pinned=True, seed=31, sway=0.65, tempo=0.35, head_follows=4.0,
    gaze=((0, 0.00, 0.00), (43, 0.04, -0.02), (82, -0.03, 0.01), (113, 0.02, 0.00), (154, -0.13, 0.09),
          (172, 0.00, 0.00), (221, 0.04, 0.01), (264, 0.00, 0.00)),
    blinks=(52, 107, 152, 218, 263),
    strokes={
        "smile": ((24, 20, 62, 46, 0.62), (174, 18, 44, 44, 0.46)),
        "roll": ((27, 26, 60, 42, 1.7), (178, 24, 40, 40, -1.1)),
        "pitch": ((25, 20, 40, 40, -0.8), (175, 18, 30, 36, -0.5)),
        "scale": ((26, 30, 54, 46, 0.007),),
        "brow": ((23, 10, 22, 34, 0.22), (173, 9, 16, 30, 0.16)),
    },
)  # fmt: skip

_SHIFTS_WEIGHT: Final = Manner(  # from one foot to the other: slow roll and shift, eyes on the viewer
    seconds=12, breaths=3, pinned=True, seed=43, sway=0.55, tempo=0.25, head_follows=4.0,
    gaze=((0, 0.00, 0.00), (31, -0.08, 0.12), (47, 0.00, 0.00), (97, 0.03, 0.01), (143, -0.02, -0.01),
          (163, 0.12, 0.08), (181, 0.00, 0.00), (233, -0.03, 0.01), (271, 0.00, 0.00)),
    blinks=(29, 96, 161, 208, 256),
    strokes={
        "shift_x": ((26, 42, 66, 60, 5.0), (158, 44, 30, 48, -4.5)),
        "roll": ((24, 46, 60, 62, 2.1), (155, 46, 32, 50, -1.9)),
        "yaw": ((30, 40, 60, 56, -0.9), (160, 42, 30, 46, 0.8)),
        "shift_y": ((24, 20, 10, 26, 1.2), (158, 20, 12, 26, 1.0)),
        "breath": ((20, 22, 6, 40, -0.8),),
    },
)  # fmt: skip

_BRIGHT: Final = Manner(  # awake and glad: brows go up, more blinks, quick small moves
    seconds=8, breaths=2, pinned=True, seed=53, sway=0.7, tempo=0.75, head_follows=4.5,
    gaze=((0, 0.00, 0.00), (29, 0.05, -0.04), (52, -0.06, 0.00), (75, 0.11, -0.08), (93, 0.00, 0.00),
          (133, -0.09, -0.03), (148, 0.01, 0.00), (170, 0.00, 0.00)),
    blinks=(28, 73, 131, 176),
    strokes={
        "brow": ((18, 6, 9, 13, 0.70), (84, 5, 5, 10, 0.45), (102, 5, 3, 9, 0.30), (138, 6, 12, 14, 0.60)),
        "pitch": ((18, 9, 12, 18, -1.2), (84, 8, 8, 14, -0.7), (138, 9, 14, 18, -1.1)),
        "roll": ((50, 14, 18, 18, -1.4), (118, 13, 22, 18, 1.3)),
        "smile": ((16, 16, 60, 30, 0.20), (132, 14, 24, 26, 0.24)),
        "scale": ((17, 14, 34, 26, 0.008), (136, 14, 18, 26, 0.007)),
    },
)  # fmt: skip

_LISTENING: Final = Manner(  # while somebody else speaks: tilted, nods now and then, eyes on the speaker
    seconds=12, breaths=3, pinned=True, seed=61, sway=0.55, tempo=0.35, head_follows=4.0,
    gaze=((0, 0.00, 0.00), (51, 0.03, 0.01), (89, -0.03, -0.01), (132, 0.02, 0.01), (167, -0.04, 0.00),
          (213, 0.02, -0.02), (262, 0.00, 0.00)),
    blinks=(39, 92, 143, 198, 261),
    nods=((41, 2.6), (57, 1.9), (133, 2.1), (197, 3.0), (213, 2.2), (228, 1.4)),
    nod=(7, 10),
    strokes={
        "roll": ((14, 34, 118, 60, 2.4), (222, 26, 18, 30, -0.8)),
        "yaw": ((16, 34, 110, 56, -1.1),),
        "scale": ((16, 40, 150, 60, 0.009),),
        "brow": ((86, 7, 14, 20, 0.40), (166, 8, 8, 16, 0.25), (236, 8, 10, 18, 0.20)),
        "smile": ((120, 20, 16, 36, 0.12), (190, 18, 26, 40, 0.20)),
    },
)  # fmt: skip

IDLE: Final[Mapping[str, Manner]] = MappingProxyType(
    {
        "idle_0": _CALM,
        "idle_1": _LOOKS_AROUND,
        "idle_2": _THOUGHTFUL,
        "idle_3": _SMILING,
        "idle_4": _SHIFTS_WEIGHT,
        "idle_5": _BRIGHT,
        "idle_6": _LISTENING,
    }
)
"""By the names of clips."""
