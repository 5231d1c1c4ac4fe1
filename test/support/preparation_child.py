"""Stands in for the preparation process: what it does is what the upload says. Run as a program."""

import json
import os
import sys
import time
from importlib import resources
from pathlib import Path

COMMAND = (sys.executable, __file__)


def main() -> None:
    order = json.loads(sys.stdin.read())
    staged = Path(order["staged"])
    source = Path(order["source"])
    does = (source / "does" if source.is_dir() else source).read_text(errors="replace")
    _say({"kind": "progress", "stage": "face", "percent": 50})
    (staged / "half").write_text("half")
    if does == "crash":
        os.abort()
    if does == "hang":
        time.sleep(600)
    if does == "garbage":
        print("Segmentation fault", flush=True)
    if does == "silence":
        return
    if does == "wrong":
        _say({"kind": "finished", "source": {"kind": "unheard"}})
    if does == "exit":
        sys.exit(3)
    if does == "refuse":
        _say({"kind": "refused", "reason": {"code": "no_face", "message": "no face", "advice": "show one"}})
        return
    if does == "name the actions":
        named = ", ".join(f"{name}={Path(file).read_text()}" for name, file in sorted(order["actions"].items()))
        _say({"kind": "refused", "reason": {"code": "named", "message": named, "advice": "none"}})
        return
    if does == "name the crop":
        named = " ".join(str(order["crop"][name]) for name in ("x", "y", "size"))
        _say({"kind": "refused", "reason": {"code": "named", "message": named, "advice": "none"}})
        return
    drawn = resources.files("musetalk_service") / "assets" / "default_avatar"
    for name in ("portrait.png", "landmarks.json"):
        (staged / name).write_bytes((drawn / name).read_bytes())
    extra = {}
    if order["official"] is not None:
        extra["official"] = {"files": order["official"], "mask_left": 0, "mask_top": 0}
        if does == "no landmarker" and order["needs_face"]:
            _say({"kind": "refused", "reason": {"code": "unavailable", "message": "none", "advice": "install it"}})
            return
        if does == "no landmarker":
            extra["official"] |= {"no_face_code": "unavailable", "no_face": "none", "no_face_advice": "install it"}
    if does == "damaged":
        (staged / "portrait.png").write_bytes(b"no picture")
    facts = {"kind": "photo", "width": 512, "height": 512, "sha256": "0" * 64}
    _say({"kind": "finished", "source": facts, "extra": extra})


def _say(line: object) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
