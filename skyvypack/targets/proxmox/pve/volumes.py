"""Files on a storage: sent as a stream, found again by their name, removed."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyvypack.artifact import DiskFile
from skyvypack.progress import Event
from skyvypack.registrar.journal import Entry, Run
from skyvypack.targets.proxmox.pve.api import Api, Refused

# The slowest line that an upload is waited for, in bytes a second; and what Proxmox VE takes to copy it to its place.
_SLOWEST = 500_000
_ANSWER_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is to be sent.

    Args:
        path: here.
        name: on the storage; it holds the run's id, so that it is nobody else's.
        content: what Proxmox VE takes it for: ``import`` or ``iso``.
        sha256: which Proxmox VE compares with what arrived.
    """

    path: Path
    name: str
    content: str
    sha256: str


class _Stream(io.FileIO):
    """A file that tells how far it has been read; requests_toolbelt reads it in pieces."""

    def __init__(self, upload: Upload, advance: Callable[[float], None]) -> None:
        super().__init__(upload.path)
        self.name = upload.name  # the name it is given on the storage
        self._size = upload.path.stat().st_size
        self._advance = advance

    def read(self, size: int | None = -1, /) -> bytes:
        """As in `io.FileIO`, noted."""
        data = super().read(-1 if size is None else size)
        self._advance(self.tell() / max(self._size, 1))
        return data or b""


def send(api: Api, node: str, storage: str, upload: Upload, run: Run, kind: str) -> tuple[Entry, str]:
    """Send a file to a storage; memory does not grow with its size.

    Args:
        api: the cluster.
        node: that takes it.
        storage: where it goes.
        upload: the file.
        run: it is journaled in.
        kind: the journal's word for it.

    Returns:
        The journal's entry, and the volume's id.

    Raises:
        RegistrarError: it did not arrive, or not as it was sent.
    """
    volume = f"{storage}:{upload.content}/{upload.name}"
    entry = run.intend(kind, node=node, storage=storage, volume=volume)
    before = set(api.tasks(node, "imgcopy"))

    def found() -> str | None:
        return next((upid for upid in api.tasks(node, "imgcopy") if upid not in before and _exists(api, entry)), None)

    upid = api.retried(f"upload {upload.name}", lambda: found_or_sent(found, lambda: _send(api, node, storage, upload)))
    api.wait(str(upid or ""), f"upload {upload.name}")
    return run.made(entry, volume), volume


def found_or_sent(found: Callable[[], str | None], sent: Callable[[], str | None]) -> str | None:
    """What an earlier try has made, and otherwise what this one makes."""
    return found() or sent()


def _send(api: Api, node: str, storage: str, upload: Upload) -> str | None:
    shown = 0.0

    def advance(fraction: float) -> None:
        nonlocal shown
        if fraction >= shown + 0.01:
            shown = fraction
            api.progress.report(Event("advance", "register", f"upload {upload.name}", fraction=fraction))

    with _Stream(upload, advance) as stream:
        params = {
            "content": upload.content,
            "checksum-algorithm": "sha256",
            "checksum": upload.sha256,
            "filename": stream,
        }
        seconds = _ANSWER_SECONDS + upload.path.stat().st_size / _SLOWEST
        upid: str | None = api.once("POST", f"nodes/{node}/storage/{storage}/upload", params, timeout=seconds)
        return upid


def disk_upload(disk: DiskFile, title: str, run: Run, content: str) -> Upload:
    """The upload of an artifact's disk; as an ISO image it has to be called one."""
    suffix = "img" if content == "iso" else disk.format
    return Upload(disk.path, f"{title}-{run.id}.{suffix}", content, disk.sha256)


def path_of(api: Api, node: str, volume: str) -> str:
    """The absolute path of a volume on its node."""
    storage = volume.partition(":")[0]
    path: str = api.get(f"nodes/{node}/storage/{storage}/content/{volume}")["path"]
    return path


def _exists(api: Api, entry: Entry) -> bool:
    mark = entry.mark
    content = mark["volume"].partition(":")[2].partition("/")[0]
    listed: list[dict[str, Any]] = api.get(f"nodes/{mark['node']}/storage/{mark['storage']}/content", content=content)
    return any(one["volid"] == mark["volume"] for one in listed)


def undo(api: Api, entry: Entry) -> None:
    """Remove an upload, if it is there."""
    mark = entry.mark
    # What was sent before an interruption may still be on its way from Proxmox VE's own scratch folder to its place.
    for upid, runs in api.tasks(mark["node"], "imgcopy").items():
        if runs and not entry.id:
            _wait_quietly(api, upid)
    if not _exists(api, entry):
        return
    path = f"nodes/{mark['node']}/storage/{mark['storage']}/content/{mark['volume']}"

    def once() -> Any:
        return api.once("DELETE", path, {}) if _exists(api, entry) else None

    api.wait(str(api.retried(f"remove {mark['volume']}", once) or ""), f"remove {mark['volume']}")


def _wait_quietly(api: Api, upid: str) -> None:
    from skyvypack.targets.proxmox.pve.api import TaskFailed

    try:
        api.wait(upid, "an upload")
    except (TaskFailed, Refused):
        api.progress.note("undo", "an upload of ours failed on the node")
