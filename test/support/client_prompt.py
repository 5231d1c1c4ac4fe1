"""A small prompt to lead a session by hand, while its frames are received."""

import asyncio
import contextlib
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from musetalk_service.client import State
from support.client_session import Talk
from support.client_speech import read_recording

_STATUS_S = 0.5
STATES: dict[str, State] = {"idle": "idle", "speaking": "speaking"}
HELP = """\
say FILE      speak a WAV file (mono, 16 bit), after what is being said
action N      play action 1 or 2
state NAME [CLIP]
              change to idle or speaking, and to one of its clips
interrupt     drop all speech
status        a line about the stream; so does an empty line
quit          end the session
help          this"""


async def run_prompt(talk: Talk, lines: Iterable[str], ended: asyncio.Event, output: TextIO) -> None:
    """Obeys ``lines`` until one says quit, they end (then what is being said is said first), or the session has ended.

    A line that cannot be obeyed is answered with what is wrong, and the session goes on. On a terminal the top
    row shows the stream's status.
    """
    commands: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the program has ended
            for line in lines:
                loop.call_soon_threadsafe(commands.put_nowait, line)
            loop.call_soon_threadsafe(commands.put_nowait, None)

    # Reading a terminal cannot be cancelled: a daemon does not keep the program from its end.
    threading.Thread(target=read, daemon=True).start()
    over = asyncio.create_task(ended.wait())
    watching = asyncio.create_task(_show_status(talk, output))
    talk.say("Type help, or quit.")
    try:
        while not over.done():
            command = asyncio.create_task(commands.get())
            await asyncio.wait([command, over], return_when=asyncio.FIRST_COMPLETED)
            if not command.done():
                command.cancel()
                return
            line = command.result()
            if line is None:
                while talk.is_speaking and not over.done():
                    await asyncio.wait([over], timeout=0.1)
                return
            if not await _obey(talk, line):
                return
    finally:
        over.cancel()
        watching.cancel()
        await talk.hush()


async def _show_status(talk: Talk, output: TextIO) -> None:
    while output.isatty():
        # Save the cursor, go to the top row, clear it, write in reverse video, restore (ECMA-48, DECSC/DECRC).
        output.write(f"\x1b7\x1b[1;1H\x1b[K\x1b[7m {talk.status()} \x1b[0m\x1b8")
        output.flush()
        await asyncio.sleep(_STATUS_S)


async def _obey(talk: Talk, line: str) -> bool:
    """False for the last command."""
    word, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    match word:
        case "quit" | "exit":
            return False
        case "" | "status":
            talk.say(talk.status())
        case "help":
            talk.say(HELP)
        case "say":
            try:
                talk.speak_later(read_recording(Path(rest).expanduser()))
            except (OSError, ValueError) as problem:
                talk.say(str(problem))
        case "action" if rest in ("1", "2"):
            await talk.client.action(int(rest))
        case "state" if rest:
            name, _, clip = rest.partition(" ")
            if name in STATES:
                await talk.client.change_state(STATES[name], clip.strip() or None)
            else:
                talk.say(f"states are {', '.join(STATES)}")
        case "interrupt":
            await talk.hush()
            await talk.client.interrupt()
        case _:
            talk.say(f"{line.strip()!r} is no command; type help")
    return True
