"""``musetalk-service doctor``: whether the service can run here, and what to do where it cannot.

Packages are imported inside the checks, so that one which is missing is a finding and not the end.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

from musetalk_service import __version__
from musetalk_service.config import Settings, default_settings, load_settings
from musetalk_service.doctor import machine, service
from musetalk_service.doctor.finding import Finding
from musetalk_service.errors import ConfigurationError

_CHECKS: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
    ("Python", machine.check_python),
    ("packages", machine.check_packages),
    ("H.264", service.check_h264),
    ("processor", machine.check_cores),
    ("memory", machine.check_memory),
    ("GPU", machine.check_gpu),
    ("MODEL_PATH", machine.check_models),
    ("AVATARS_DIR", machine.check_avatars),
    ("avatars", machine.check_landmarker),
    ("layers", machine.check_segmenter),
    ("CACHE_DIR", machine.check_cache),
    ("port", machine.check_port),
    ("TLS", service.check_tls),
    ("browsers", service.check_browsers),
    ("tokens", service.check_tokens),
    ("engine", service.check_engine),
)


def main(*, as_json: bool) -> int:
    """Check, print, and return the exit status: 0 when the service can run."""
    findings = list(diagnose())
    can_run = all(finding.level != "problem" for finding in findings)
    if as_json:
        report = {"version": __version__, "can_run": can_run, "findings": [asdict(f) for f in findings]}
        print(json.dumps(report, indent=2))
    else:
        for finding in findings:
            print(f"{finding.level:8} {finding.name:13} {finding.found}")
            if finding.advice:
                print(f"{'':22} -> {finding.advice}")
        print("The service can run here." if can_run else "The service cannot run here: see each problem above.")
    return 0 if can_run else 1


def diagnose() -> Iterator[Finding]:
    """All checks with the settings of the environment, one after the other."""
    try:
        settings = load_settings()
        yield Finding("settings", "ok", "all valid")
    except ConfigurationError as error:
        settings = default_settings()
        yield Finding("settings", "problem", str(error), "correct it; the other lines are about the defaults")
    for name, check in _CHECKS:
        try:
            yield check(settings)
        except Exception as error:  # whatever breaks a check would break the service
            yield Finding(name, "problem", f"{type(error).__name__}: {error}", "install again: pip install -e .")
