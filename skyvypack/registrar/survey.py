"""What stands of an order already, and what is in the way of the rest."""

from __future__ import annotations

import dataclasses

from skyvypack.registrar.contract import Obstacle, Order, Registrar, RegistrarError, Template
from skyvypack.registrar.journal import Journal


def survey(
    registrar: Registrar, order: Order, journal: Journal, channel: str = ""
) -> tuple[Template | None, list[Obstacle]]:
    """Whether this very template stands already, and what stands in the way of what remains to be done.

    Args:
        registrar: to look by.
        order: what is to be registered.
        journal: of the target, for runs that have not ended.
        channel: to move to it afterwards; empty for none.

    Raises:
        RegistrarError: the platform could not be read although preflight found nothing.
    """
    try:
        templates = registrar.describe(order.spec.name)
    except RegistrarError:
        obstacles = list(registrar.preflight(order))
        if not obstacles:
            raise
        return None, obstacles
    same = next((one for one in templates if one.version == order.spec.version), None)
    if same is None:
        return None, list(registrar.preflight(order))
    if same.digest != order.digest:
        message = f"{same.title} is registered already as {same.id}, with another disk ({same.digest})"
        obstacle = Obstacle("name", message, "raise the spec's version: what is registered never changes")
        # That its name is taken says the same once more.
        return None, [obstacle, *(one for one in registrar.preflight(order) if one.check != obstacle.check)]
    unfinished = journal.unfinished()
    if same.run in unfinished:
        lives = unfinished[same.run]
        what = "another run is at work on it" if lives else "a run that made it was killed"
        hint = "wait for that run" if lives else f"run: python -m skyvypack reap --target {order.target}"
        return None, [Obstacle("name", f"{same.title} stands as {same.id}, unfinished: {what}", hint)]
    rest = dataclasses.replace(order, standing=same, verify=order.verify and not same.verified)
    remains = rest.verify or (channel and channel not in same.channels)
    return same, list(registrar.preflight(rest)) if remains else []
