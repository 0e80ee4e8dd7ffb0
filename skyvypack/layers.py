"""Layers: bootable base disks made of packages at native speed, kept by what they were made from.

A layer's key is a digest of its recipe, its apt sources and what the archives hold. The folder of that name in
``<cache>/layers`` appears by a rename, so it is whole or not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from skyvypack import archives, command, mirrors, recipe, runs
from skyvypack import cache as store
from skyvypack.bundle import Bundle
from skyvypack.errors import BakeFailed, CommandFailed, SkyvypackError, ToolMissing
from skyvypack.layer_errors import diagnose
from skyvypack.mirrors import Sources
from skyvypack.progress import Progress
from skyvypack.spec.model import Spec

_OLDEST_MMDEBSTRAP = (1, 3)
_TOOLS = ("debugfs", "mke2fs", "mkfs.vfat", "mmdebstrap", "qemu-img", "sfdisk", "unshare")
_DOCTOR = "run: python -m skyvypack doctor --fix"
_TREE = 512 << 20
_PACKAGE = 40 << 20


@dataclass(slots=True)
class Layer:
    """A finished layer, kept from being pruned until it is closed; also a context manager.

    Args:
        folder: holds ``disk.qcow2``, ``vmlinuz``, ``initrd.img`` and ``packages.tsv``.
        key: digest of what it was made from.
        digest: SHA-256 of ``disk.qcow2``, hexadecimal.
        cached: False when this call made it.
    """

    folder: Path
    key: str
    digest: str
    cached: bool
    _lock: int | None

    @property
    def disk(self) -> Path:
        """The disk, qcow2: GPT with BIOS boot, ESP and root ext4, without a boot loader."""
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        """Its kernel, for QEMU's ``-kernel``."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Its initramfs, for QEMU's ``-initrd``."""
        return self.folder / "initrd.img"

    @property
    def packages(self) -> Path:
        """Package, version and installed KiB of each, tab-separated."""
        return self.folder / "packages.tsv"

    def close(self) -> None:
        """Let the layer be pruned from now on."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Layer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a layer is to be made from.

    Args:
        inputs: digest of everything but what the archives hold.
        key: digest of everything.
        files: text by path in the bundle.
        sources: apt sources.
        epoch: seconds since 1970, written into the disk.
    """

    inputs: str
    key: str
    files: dict[str, str]
    sources: Sources
    epoch: int


def key(bundle: Bundle, spec: Spec, *, cache: Path, offline: bool = False) -> str:
    """The key of the layer that `ensure` would return.

    Args:
        bundle: rendered with base ``bootstrap``.
        spec: what the bundle was rendered from.
        cache: the cache folder.
        offline: ask no mirror; the newest cached layer of these inputs counts.

    Raises:
        SkyvypackError: a mirror cannot be reached, or nothing fits in the cache when offline.
    """
    if offline:
        return _newest(bundle, spec, cache).name
    return _wish(bundle, spec).key


def ensure(
    bundle: Bundle,
    spec: Spec,
    *,
    cache: Path,
    progress: Progress,
    offline: bool = False,
    force: bool = False,
    limit: int = store.DEFAULT_LIMIT,
) -> Layer:
    """Find a layer in the cache, or make it. Two callers at once make it once.

    Args:
        bundle: rendered with base ``bootstrap``: ``layer.sh`` and ``layer/``.
        spec: what the bundle was rendered from.
        cache: the cache folder.
        progress: told of the stages ``packages`` and ``disk``.
        offline: ask no mirror and take the newest cached layer of these inputs.
        force: make it again although it is there.
        limit: bytes that the cache may hold after a new layer was made.

    Returns:
        The layer, to be closed when it is no longer needed.

    Raises:
        ToolMissing: a program is missing or too old.
        SkyvypackError: no mirror, no space, or no layer to be found offline.
        BakeFailed: the packages or the disk could not be put together; the message says why.
    """
    if offline:
        layer = _open(_newest(bundle, spec, cache))
        if layer is None:
            raise _nothing_cached()
        return layer
    wish = _wish(bundle, spec)
    folder = cache / "layers" / wish.key
    made = False
    while True:
        layer = None if force else _open(folder, cached=not made)
        if layer:
            break
        with _alone(folder, progress):
            if force or not _is_whole(folder):
                _make(wish, folder, progress)
                made = True
        force = False
    if made:
        store.prune(cache, limit)
    else:
        progress.note("layer", f"layer {wish.key[:12]} is in the cache")
    return layer


def mmdebstrap_version() -> str:
    """The installed mmdebstrap's version, such as ``1.3.5``.

    Raises:
        ToolMissing: there is none, or it is too old.
    """
    found = re.search(r"(\d+)\.(\d+)[.\d]*", command.run(["mmdebstrap", "--version"]).stdout)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST_MMDEBSTRAP:
        oldest = ".".join(map(str, _OLDEST_MMDEBSTRAP))
        raise ToolMissing(f"mmdebstrap {found[0] if found else ''} is too old: {oldest} or newer is needed", _DOCTOR)
    return found[0]


def _wish(bundle: Bundle, spec: Spec) -> _Wish:
    sources, inputs = _inputs(bundle, spec)
    now = mirrors.freshness(sources)
    vendors = archives.check(recipe.repositories(spec))
    whole = hashlib.sha256(f"{inputs} {now.digest}{vendors}".encode()).hexdigest()
    return _Wish(inputs, whole, _recipe_files(bundle), sources, now.epoch)


def _recipe_files(bundle: Bundle) -> dict[str, str]:
    return {path: text for path, text in bundle.files.items() if path == "layer.sh" or path.startswith("layer/")}


def _inputs(bundle: Bundle, spec: Spec) -> tuple[Sources, str]:
    """The apt sources and a digest over all but what the archives hold."""
    sources = mirrors.sources(spec)
    digest = hashlib.sha256(sources.text.encode())
    for path, text in sorted(_recipe_files(bundle).items()):
        digest.update(f"\0{path}\0{text}".encode())
    with contextlib.suppress(OSError):
        digest.update(Path(recipe.KEYRING).read_bytes())
    return sources, digest.hexdigest()


def _newest(bundle: Bundle, spec: Spec, cache: Path) -> Path:
    """The folder of the newest layer of the same inputs, whatever the archives held when it was made."""
    _, inputs = _inputs(bundle, spec)
    found = [
        (facts["made"], path.parent)
        for path in (cache / "layers").glob("[!.]*/layer.json")
        if (facts := json.loads(path.read_text()))["inputs"] == inputs
    ]
    if not found:
        raise _nothing_cached()
    return max(found)[1]


def _nothing_cached() -> SkyvypackError:
    return SkyvypackError("no layer of this spec is in the cache", "run once without --offline")


def _is_whole(folder: Path) -> bool:
    return (folder / "layer.json").is_file()


def _open(folder: Path, *, cached: bool = True) -> Layer | None:
    """Lock a layer for use; None when there is none."""
    lock = store.hold(folder)
    if not _is_whole(folder):
        os.close(lock)
        return None
    facts = json.loads((folder / "layer.json").read_text())
    return Layer(folder, folder.name, facts["digest"], cached, lock)


@contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[None]:
    """Be the only one to make this layer; say so when that means waiting."""
    half = store.half_path(folder)
    with store.exclusive(half, wait=False) as free:
        if free:
            yield
            return
    progress.note("layer", "another bake is making this layer: waiting for it")
    with store.exclusive(half):
        yield


def _check_tools() -> None:
    for tool in _TOOLS:
        if command.which(tool) is None:
            raise ToolMissing(f"{tool} is not installed", _DOCTOR)
    if os.geteuid() and command.which("newuidmap") is None:
        raise ToolMissing("newuidmap is not installed, without which only root can make a layer", _DOCTOR)
    mmdebstrap_version()


def _make(wish: _Wish, folder: Path, progress: Progress) -> None:
    """Make a layer beside its place and move it there; the half-made one goes, whatever happens."""
    _check_tools()
    cache = folder.parent.parent
    half = store.half_path(folder)
    store.remove(half)
    needed = _TREE + _PACKAGE * len(wish.files["layer/packages.txt"].split())
    half.mkdir(parents=True)
    try:
        store.require_space(half, needed, "a layer")
        with store.space_errors(cache, "a layer", needed), _run_of_our_own(cache):
            _run_script(wish, half, cache / "debs", progress, needed)
            _finish(wish, half / "made")
        with store.exclusive(folder):
            if folder.exists():
                folder.rename(half / "replaced")
            (half / "made").rename(folder)
    finally:
        store.remove(half)


def _run_of_our_own(cache: Path) -> AbstractContextManager[object]:
    """Processes carry the mark of the caller's run; one without a run gets one for the while."""
    return contextlib.nullcontext() if command.RUN_MARK in os.environ else runs.run_folder(cache)


def _run_script(wish: _Wish, half: Path, debs: Path, progress: Progress, needed: int) -> None:
    for path, text in wish.files.items():
        file = half / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    debs.mkdir(parents=True, exist_ok=True)
    env = {"LAYER_DEBS": str(debs), "SOURCE_DATE_EPOCH": str(wish.epoch), "TMPDIR": str(half)}
    if wish.sources.text:
        (half / "apt.sources").write_text(wish.sources.text)
        env["LAYER_SOURCES"] = str(half / "apt.sources")
    with _Stages(progress) as stages:
        try:
            command.run(["sh", half / "layer.sh", half / "made"], env=env, on_line=stages)
        except CommandFailed as error:
            raise _explained(error, list(stages.lines), debs.parent, needed) from error


def _explained(error: CommandFailed, lines: list[str], cache: Path, needed: int) -> SkyvypackError:
    full = next((line.strip() for line in lines if re.search("No space left on device|enough free space", line)), "")
    if full and shutil.disk_usage(cache).free < needed:
        return store.no_space(cache, "a layer", needed)
    # The kernel says the same of its own limits, such as those of namespaces and watches.
    known = (full, f"{cache} has room: another disk, a quota or a limit of the kernel is meant") if full else None
    cause, hint = diagnose(lines) or known or (error.message, "")
    return BakeFailed(f"the layer could not be made: {cause}", hint)


def _finish(wish: _Wish, layer: Path) -> None:
    disk = layer / "disk.qcow2"
    with disk.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        # A power failure after the rename must not leave a disk of zeros that looks whole.
        os.fsync(handle.fileno())
    facts = {"inputs": wish.inputs, "key": wish.key, "digest": digest, "made": disk.stat().st_mtime}
    (layer / "layer.json").write_text(json.dumps(facts, indent=2) + "\n")


class _Stages:
    """Turns the script's ``== name title`` lines into stages, and keeps its last lines for a diagnosis."""

    def __init__(self, progress: Progress) -> None:
        self.lines: deque[str] = deque(maxlen=400)
        self._progress = progress
        self._stage = ExitStack()
        self._say: Callable[[str], None] = lambda line: progress.note("layer", line)

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if line.startswith("== "):
            name, _, title = line[3:].partition(" ")
            self._stage.close()
            self._say = self._stage.enter_context(self._progress.stage(name, title))
        else:
            self._say(line)

    def __enter__(self) -> _Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stage.__exit__(kind, error, trace)
