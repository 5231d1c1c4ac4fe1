"""Writes the state machine into musetalk_websocket_spec.md, as a table and as a diagram.

    python tools/spec_diagram.py

Both come from ``models.session.TRANSITIONS``, between two marker comments; a test fails when the page is behind.
"""

from collections import defaultdict
from pathlib import Path

from musetalk_service.models.session import TRANSITIONS, Return, State, Trigger

SPEC = Path(__file__).parents[1] / "musetalk_websocket_spec.md"
BEGIN = "<!-- state machine: written by tools/spec_diagram.py -->"
END = "<!-- end of state machine -->"

_BASE = "to_base"
_LIVING = [state for state in State if TRANSITIONS[state]]


def transition_table() -> str:
    """A Markdown table: one row per trigger, one column per state that anything can happen in."""
    rows = [["", *(state.value for state in _LIVING)], ["---"] * (len(_LIVING) + 1)]
    for trigger in Trigger:
        cells = [_cell(state, trigger) for state in _LIVING]
        rows.append([_label(trigger), *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def mermaid() -> str:
    """A Mermaid state diagram; triggers that lead the same way share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for state in _LIVING:
        for trigger, target in TRANSITIONS[state].items():
            name = _BASE if isinstance(target, Return) else target.value
            arrows[state.value, name].append(trigger.value)
    lines = ["stateDiagram-v2", f"    state {_BASE} <<choice>>", "    [*] --> opening"]
    lines += [f"    {source} --> {target} : {', '.join(labels)}" for (source, target), labels in arrows.items()]
    lines += [
        f"    {_BASE} --> speaking : audio queued or speaking base clip",
        f"    {_BASE} --> idle : else",
        "    closed --> [*]",
    ]
    return "\n".join(lines)


def updated(page: str) -> str:
    """The page with its generated part written anew. Raises ``ValueError`` when a marker is missing."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or END not in rest:
        raise ValueError(f"the page has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{transition_table()}\n\n```mermaid\n{mermaid()}\n```\n\n{END}{after}"


def _label(trigger: Trigger) -> str:
    return f"`{trigger.value}`" if trigger.value[:2].isupper() else trigger.value


def _cell(state: State, trigger: Trigger) -> str:
    target = TRANSITIONS[state].get(trigger)
    if target is None:
        # An ACTION with audio extends nothing where none plays: it starts one, as the row above says.
        return "refused" if trigger.value[:2].isupper() and trigger is not Trigger.EXTEND_ACTION else "-"
    return "back to base" if isinstance(target, Return) else target.value


if __name__ == "__main__":
    SPEC.write_text(updated(SPEC.read_text("utf-8")), "utf-8")
