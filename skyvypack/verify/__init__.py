"""Boots clones of a finished disk and lets every role's contract judge them.

What is tested is what ships: each clone is a copy-on-write overlay of the disk itself, comes up by its own boot
loader with first-boot user-data such as a user would give, and one is rebooted; the disk must be unchanged in the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from skyvypack import accelerator as accelerators
from skyvypack import runs
from skyvypack.accelerator import Accelerator
from skyvypack.errors import InputError
from skyvypack.machine import Firmware, check_disk, find_ovmf
from skyvypack.progress import Progress
from skyvypack.spec.model import Spec
from skyvypack.verify.clones import Life, compare, side_by_side
from skyvypack.verify.report import Check, Report, Requirement

__all__ = ["Check", "Report", "Requirement", "verify"]


def verify(
    spec: Spec,
    disk: Path,
    *,
    report_folder: Path,
    firmware: Sequence[Firmware] = ("bios", "uefi"),
    accelerator: Accelerator | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Boot one clone for each firmware, all at the same time, and run the contracts of the spec's roles on each.

    The last of them is rebooted and judged again, the first is powered off by its button; each goes down in order once.

    Call it from the main thread (see `command.start`).

    Args:
        spec: what the disk was baked from.
        disk: a finished qcow2 file; it is never written.
        report_folder: where ``contract.xml`` (JUnit) and the clones' consoles are written; made if it is missing.
        firmware: of each clone, none twice.
        accelerator: how clones run; chosen by a probe when None.
        cache: the cache folder; `runs.cache_folder()` by default.
        progress: told of every stage; keeps their times.

    Returns:
        What was found; `Report.require` insists that it is good.

    Raises:
        InputError: the disk is missing or is no qcow2 file, or `firmware` makes no sense.
        ToolMissing: QEMU, OVMF, xorriso or ssh is not installed.
    """
    _check_wishes(disk, firmware)
    cache = cache or runs.cache_folder()
    accelerator = accelerator or accelerators.choose(None, cache=cache)
    report_folder.mkdir(parents=True, exist_ok=True)
    before = _digest(disk)
    with runs.run_folder(cache) as run:
        claims = run / "claims"
        claims.mkdir()
        cpus = accelerator.cpus(spec.machine.cpus, len(firmware))
        common = (accelerator, progress or Progress(), claims if len(firmware) > 1 else None, cpus)
        lives = [
            Life(spec, disk, one, run / one, *common, reboots=one == firmware[-1], powers_off=one == firmware[0])
            for one in firmware
        ]
        try:
            side_by_side(lives)
        finally:
            for life in lives:
                life.keep_logs(report_folder)
    report = Report(
        template=f"{spec.name} {spec.version}",
        disk=disk.name,
        clones=tuple(firmware),
        checks=(*(check for life in lives for check in life.judge.checks), *compare(lives)),
        digest_before=before,
        digest_after=_digest(disk),
        boots={name: seconds for life in lives for name, seconds in life.judge.boots.items()},
        accelerator=accelerator.name,
    )
    report.write_junit(report_folder / "contract.xml")
    return report


def _check_wishes(disk: Path, firmware: Sequence[Firmware]) -> None:
    if not firmware or len(set(firmware)) != len(firmware) or not set(firmware) <= {"bios", "uefi"}:
        raise InputError(f"no such choice of firmware: {', '.join(firmware) or 'none'}", "choose bios, uefi or both")
    check_disk(disk)
    if "uefi" in firmware:
        find_ovmf()


def _digest(disk: Path) -> str:
    with disk.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
