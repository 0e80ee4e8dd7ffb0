"""A process that registers, and is struck by a signal at one request; started by test_registrars_killed.py.

It stays as the mother of one child for each case, so that imports are paid for once. Cases come as JSON lines on
standard input; how each child ended goes to standard output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import adapters

from skyvypack import registrar
from skyvypack.cli.outcome import guard
from skyvypack.registrar import flow


def struck(case: dict[str, Any]) -> adapters.Hook:
    """A hook that sends this process a signal at one request."""
    seen = 0

    def hook(call: str) -> None:
        nonlocal seen
        seen += 1
        if seen == case["number"] + 1:
            os.kill(os.getpid(), signal.Signals[case["signal"]].value)

    return hook


def register(module: Any, case: dict[str, Any]) -> None:
    """Register what a case says."""
    spec = adapters.spec_of(case["target"], case["settings"], case["version"])
    wishes = registrar.Wishes(channel="stable")
    artifact = Path(case["artifact"])
    registrar.register(spec, case["target"], artifact, wishes=wishes, prover=adapters.FakeProver())


def live(module: Any, case: dict[str, Any]) -> int:
    """One child's life; returns its exit code."""
    hook = struck(case)
    hooks = {"before": adapters.ignore, "after": hook} if case["lost"] else {"before": hook}
    with module.Adapter.quick(), module.Adapter.hooked(**hooks):
        return guard(lambda: register(module, case), as_json=False, debug=False)


def main() -> None:
    """Serve cases until standard input ends."""
    module = import_module(sys.argv[1])
    if hasattr(module, "connect"):  # the reference registrar is its own module
        flow.find = lambda target: module  # type: ignore[assignment]
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(live(module, json.loads(line)))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
