"""Gather what MuseTalk's tests and bench need, as wheels, for a machine that has torch and no network.

    python bench/gather_wheels.py wheels                     # for this machine's Python, torch left out
    python bench/gather_wheels.py wheels --python 3.12       # for another one's
    python bench/gather_wheels.py wheels --list              # only say what would be gathered

On the other machine, in a copy of the repository:

    python -m venv --system-site-packages .gpu               # with its own torch
    .gpu/bin/pip install --no-index --find-links wheels --no-deps wheels/*.whl
    PYTHONPATH=src .gpu/bin/python -m pytest -m gpu test/unit/engines/musetalk
    PYTHONPATH=src .gpu/bin/python -m musetalk_service bench musetalk --random-weights

Torch itself (2.11 or newer) stays the machine's own: its CUDA build is gigabytes large. What torch brings with it,
numpy among it, is gathered all the same where something else here asks for it. Needs Python 3.11 or newer itself.
"""

import argparse
import subprocess
import sys
import sysconfig
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]
TESTS = ("pytest", "pytest-asyncio", "hypothesis")
"""Of the extra `test`, what tests of the engine use."""
APART = ("openai-whisper==20250625",)
"""Compared with in tests; what it names includes torch's own compiler, so it comes without."""
BESIDE = ("tiktoken", "more-itertools", "tqdm", "setuptools")
"""What is used of those."""
LEFT_OUT = ("torch",)


def wanted() -> list[str]:
    """Requirements of the service, of the engine and of its tests, without torch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    tests = [line for line in extras["test"] if _name(line) in TESTS]
    lines = [*project["dependencies"], *extras["musetalk"], *tests]
    return [line for line in lines if _name(line) not in LEFT_OUT]


def _name(requirement: str) -> str:
    for index, character in enumerate(requirement):
        if not (character.isalnum() or character in "-_."):
            return requirement[:index]
    return requirement


def commands(target: Path, python: str) -> list[list[str]]:
    """Two calls of pip: what comes with its dependencies, and what comes alone."""
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    machine = platform.removeprefix("linux_")
    tags = [f"manylinux_2_{minor}_{machine}" for minor in (17, 28, 34)] + [f"manylinux2014_{machine}"]
    common = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(target), "--python-version", python]
    common += ["--only-binary", ":all:", *(part for tag in tags for part in ("--platform", tag))]
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target)]
    return [[*common, *wanted(), *BESIDE], [*build, *APART]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("target", type=Path, help="the folder for the wheels")
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}", help="its version")
    parser.add_argument("--list", action="store_true", help="only print the requirements")
    options = parser.parse_args()
    if options.list:
        print("\n".join([*wanted(), *BESIDE, *APART]))
        return 0
    options.target.mkdir(parents=True, exist_ok=True)
    for command in commands(options.target, options.python):
        status = subprocess.run(command, check=False).returncode
        if status:
            return status
    # A requirement may drag torch and its CUDA libraries along: they are the other machine's own.
    for wheel in options.target.glob("*.whl"):
        if wheel.name.split("-")[0].lower() in (*LEFT_OUT, "triton") or wheel.name.startswith("nvidia_"):
            wheel.unlink()
    print(f"{len(list(options.target.glob('*.whl')))} wheels in {options.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
