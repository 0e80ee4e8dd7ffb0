"""What a VM says about itself: text for people and one line for us in its notes, and its tags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from skyvypack.registrar.contract import Order

TAG = "skyvypack"
VERIFIED = "skyvypack-verified"
_CHANNEL = "channel-"
_MARK = re.compile(r"<!-- skyvypack (\{.*?\}) -->")


def notes(order: Order, marks: Mapping[str, str]) -> str:
    """The notes of a VM, in Markdown: what it is, and `marks` where `read` finds them.

    Args:
        order: gives the words.
        marks: texts by name.
    """
    title = order.settings["description"] or order.spec.title
    facts = [f"{order.spec.name} {order.spec.version}", order.digest]
    if order.manifest:
        facts.append(f"[manifest]({order.manifest})")
    return f"**{title}**\n\n{' · '.join(facts)}\n\n{hidden(marks)}\n"


def hidden(marks: Mapping[str, str]) -> str:
    """Marks as a comment that Markdown does not show."""
    # A ">" in a value would end the comment.
    text = json.dumps(dict(marks), ensure_ascii=False).replace(">", "\\u003e")
    return f"<!-- skyvypack {text} -->"


def read(config: Mapping[str, object]) -> dict[str, str]:
    """The marks of a VM's configuration; empty for one that we did not make."""
    found = _MARK.search(str(config.get("description", "")))
    marks = json.loads(found[1]) if found else {}
    return marks if isinstance(marks, dict) else {}


def split(tags: object) -> list[str]:
    """Tags as Proxmox VE writes them, one by one."""
    return [tag for tag in re.split(r"[;, ]+", str(tags or "")) if tag]


def join(tags: Iterable[str]) -> str:
    """Tags as Proxmox VE reads them, sorted, each once."""
    return ";".join(sorted(set(tags)))


def channels(tags: Iterable[str]) -> tuple[str, ...]:
    """The channels among tags."""
    return tuple(sorted(tag.removeprefix(_CHANNEL) for tag in tags if tag.startswith(_CHANNEL)))


def channel_tag(channel: str) -> str:
    """The tag of a channel."""
    return f"{_CHANNEL}{channel}"
