"""From a spec to a proven artifact: the order of the effects, and what is undone when one fails.

Everything half-made lives in the run's folder or in a hidden ``.partial`` folder beside the result, and takes its
place by a rename as the very last step; an earlier good artifact is untouched until then.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from skyvypack import (
    __version__,
    archives,
    artifact,
    command,
    companions,
    disk,
    images,
    iso,
    layers,
    ovf,
    packer,
    recipe,
    runs,
    scan,
    seed,
    targets,
    timings,
)
from skyvypack.accelerator import Accelerator, choose, qemu_version
from skyvypack.artifact import Artifact
from skyvypack.bundle import Bundle
from skyvypack.cache import PRUNE_HINT
from skyvypack.errors import InputError, SkyvypackError, ToolMissing
from skyvypack.machine import find_ovmf
from skyvypack.progress import Progress, Reporter, silent
from skyvypack.render import render
from skyvypack.spec.model import Spec
from skyvypack.targets.bases import LOCAL
from skyvypack.targets.qemu import BUILDER
from skyvypack.write import write

if TYPE_CHECKING:
    from skyvypack.verify import Report

_SSH_MINUTES = 5
# With all of an installation by Debian's installer before it.
_INSTALL_MINUTES = 60
_TOOLS = ("debugfs", "dumpe2fs", "qemu-img", "sfdisk", "ssh", "ssh-keygen", "xorriso")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BakeResult:
    """What a bake came to.

    Args:
        artifact: the finished template's folder, files and manifest.
        report: what was proven; None when verification was not wanted or nothing had changed.
        unchanged: True when an artifact of the same inputs was already there and nothing was done.
        timings: seconds of each stage, and ``total``; stages can overlap or hold others.
    """

    artifact: Artifact
    report: Report | None = None
    unchanged: bool = False
    timings: Mapping[str, float] = field(default_factory=dict)


def bake(
    spec: Spec,
    target: str = "qemu",
    *,
    output: Path = Path("output"),
    cache: Path | None = None,
    force: bool = False,
    offline: bool = False,
    verify: bool = True,
    formats: Sequence[str] | None = None,
    report: Reporter = silent,
) -> BakeResult:
    """Bake a template, prove it on booted clones, and put it into the output folder.

    Args:
        spec: what to bake.
        target: where the template will live; a disk is baked for it on this machine.
        output: the artifact becomes ``<output>/<name>-<version>-<target>/``.
        cache: the cache folder; `runs.cache_folder()` by default.
        force: bake although nothing changed, and replace an artifact of this name and version.
        offline: use the newest cached layer of these inputs without asking the mirror whether it is current.
        verify: boot clones of the finished disk and run the contract.
        formats: disk formats to make; the target's ``formats`` setting by default.
        report: called with each `Event`.

    Returns:
        The artifact and what was proven.

    Raises:
        InputError: the spec's base cannot be baked on this machine, the output or the cache cannot be written, or the
            output holds something else in the artifact's place.
        ToolMissing: a program is missing or too old.
        BakeFailed: a stage failed; the message says which and why.
        LeakFound: the finished disk holds a secret or an identity.
        ContractFailed: a booted clone broke the contract; nothing was published.
        SkyvypackError: a disk is full, or the mirror cannot be read.
    """
    if targets.source(target).builder(spec) != BUILDER and spec.base.kind not in LOCAL:
        raise InputError(
            f"a template for {target} that starts from base {spec.base.kind} is not baked on this machine",
            f"bases that are: {', '.join(LOCAL)}",
        )
    spec = targets.equipped(spec, target)
    cache = cache or runs.cache_folder()
    bundle = render(targets.baked_here(spec, target), target, packer.installed())
    final = output / f"{spec.name}-{spec.version}-{target}"
    # qcow2 is what clones are booted from, so it is always made.
    wanted = tuple(dict.fromkeys(("qcow2", *(formats or spec.target_settings(target)["formats"]))))
    progress = Progress(report)
    with ExitStack() as stack:
        stack.enter_context(_space_errors(cache, output))
        _own(final, progress, stack)
        run = _enter(stack, runs.run_folder(cache), cache, "--cache")
        artifact.recover(final)
        # A killed bake left it; by now nobody else can be writing there.
        runs.remove(_partial(final))
        with progress.stage("inputs", "See whether anything changed"):
            start_key = _start_key(spec, bundle, cache, progress, offline=offline)
        inputs = _inputs(spec, bundle, wanted, start_key)
        standing = _standing(final, inputs, force=force, verified=verify)
        if standing:
            return BakeResult(standing, unchanged=True)
        artifact.require_replaceable(final)
        tools = _tools(spec, bundle.dialect, verify=verify)
        job = _Job(spec, bundle, inputs, tools, final, cache, run, progress, wanted, offline)
        return job.bake(verify=verify, replace=force)


def _own(final: Path, progress: Progress, stack: ExitStack) -> None:
    """One bake at a time for each artifact; a second waits and then finds that nothing changed."""
    path = final.parent / f".{final.name}.lock"
    if not _enter(stack, runs.lock(path, wait=False), final.parent, "--output"):
        progress.note("inputs", f"another bake is making {final}: waiting for it")
        stack.enter_context(runs.lock(path))


def _enter(stack: ExitStack, manager: AbstractContextManager[T], folder: Path, option: str) -> T:
    """Enter what begins by writing to a folder of the caller's choice; a failure of that is his to mend."""
    try:
        return stack.enter_context(manager)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}", f"choose another {option}") from error


@contextmanager
def _space_errors(cache: Path, output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SkyvypackError(f"no space left: {error.filename or f'{cache} or {output}'}", PRUNE_HINT) from error


def _partial(final: Path) -> Path:
    """Where an artifact grows: on the output's own disk, so that its last step is a rename."""
    return final.parent / f".{final.name}.partial"


def _failed(final: Path) -> Path:
    """Where the logs of a bake stay whose clones broke the contract."""
    return final.with_name(f"{final.name}.failed")


def _start_key(spec: Spec, bundle: Bundle, cache: Path, progress: Progress, *, offline: bool) -> str:
    if spec.base.kind == "bootstrap":
        return layers.key(bundle, spec, cache=cache, offline=offline)
    vendors = "" if offline else archives.check(recipe.repositories(spec))
    return f"{images.fetch(spec.base, cache=cache, progress=progress, offline=offline).name}{vendors}"


def _inputs(spec: Spec, bundle: Bundle, formats: tuple[str, ...], layer_key: str) -> dict[str, str]:
    """Everything the artifact is a function of, as digests."""
    contracts = hashlib.sha256()
    for role in spec.roles:
        contract = role.folder / "test_contract.py"
        contracts.update(contract.read_bytes() if contract.is_file() else b"")
    return {
        "bundle": bundle.digest,
        "layer": layer_key,
        "contract": contracts.hexdigest(),
        "formats": ",".join(formats),
        "snapshot": spec.mirror.snapshot,
        "skyvypack": __version__,
    }


def _standing(final: Path, inputs: Mapping[str, str], *, force: bool, verified: bool) -> Artifact | None:
    """The artifact that is already there, when it is of these inputs; another one in its place is an error."""
    if force or not final.exists():
        return None
    standing = artifact.load(final)
    if standing.manifest["inputs"] == inputs and (standing.manifest["checks"] or not verified):
        return standing
    changed = sorted(key for key in inputs if standing.manifest["inputs"].get(key) != inputs[key])
    raise InputError(
        f"{final} holds an artifact made from other inputs (changed: {', '.join(changed) or 'verification'})",
        "raise the spec's version, choose another --output, or replace it with --force",
    )


@dataclass(frozen=True, slots=True)
class _Start:
    """What Packer boots first.

    Args:
        folder: holds ``disk.qcow2``; for a layer also its kernel and initramfs.
        checksum: of the disk, as Packer writes one.
        kernel: for the accelerator's probe; None to probe with the host's.
        installer: Debian's installer, which sets up an empty disk; None with a disk to start from.
    """

    folder: Path
    checksum: str
    kernel: Path | None
    installer: Path | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    """One bake's wishes and places."""

    spec: Spec
    bundle: Bundle
    inputs: Mapping[str, str]
    tools: Mapping[str, str]
    final: Path
    cache: Path
    run: Path
    progress: Progress
    formats: tuple[str, ...]
    offline: bool

    @property
    def partial(self) -> Path:
        """Where the artifact grows."""
        return _partial(self.final)

    def bake(self, *, verify: bool, replace: bool) -> BakeResult:
        """Do all stages; the partial folder is gone whichever way this ends."""
        self.partial.mkdir()
        try:
            with self._start() as start:
                accelerator = self._accelerator(start)
                raw = self._build(start, accelerator)
            report = self._finish(raw, accelerator, verify=verify)
            finished = artifact.publish(self.partial, self.final, replace=replace)
        finally:
            runs.remove(self.partial)
        # What an earlier failed try left there speaks of a disk that is gone.
        runs.remove(_failed(self.final))
        return BakeResult(finished, report, timings=self.progress.times())

    @contextmanager
    def _start(self) -> Iterator[_Start]:
        """What Packer boots first; a layer is kept from being pruned until the block is left."""
        if self.spec.base.kind == "bootstrap":
            with layers.ensure(
                self.bundle, self.spec, cache=self.cache, progress=self.progress, offline=self.offline
            ) as layer:
                yield _Start(layer.folder, f"sha256:{layer.digest}", layer.kernel)
            return
        image = images.fetch(self.spec.base, cache=self.cache, progress=self.progress, offline=self.offline)
        if self.spec.base.kind == "iso":
            yield _Start(self.run, "none", None, image)
            return
        folder = self.run / "image"
        folder.mkdir()
        (folder / "disk.qcow2").symlink_to(image.resolve())
        # `fetch` has compared the image with its checksum; a list of checksums is not downloaded again.
        yield _Start(folder, self.spec.base.checksum or "none", None)

    def _accelerator(self, start: _Start) -> Accelerator:
        wish = self.spec.target_settings(self.bundle.target).get("accelerator", "auto")
        with self.progress.stage("accelerator", "Find out how guests run here"):
            chosen = choose(start.kernel, wish, cache=self.cache)
        self.progress.note("accelerator", f"{chosen.name}: {chosen.reason}")
        self.progress.expected = timings.expected(self.cache, f"{self.bundle.target}-{chosen.name}")
        return chosen

    def _build(self, start: _Start, accelerator: Accelerator) -> Path:
        """Let Packer boot and configure what it starts from; returns the raw disk, scanned."""
        folder = write(self.bundle, self.run / "bundle")
        secret, public = seed.keypair(folder / "build")
        access = (folder / "vendor-data.in").read_text().replace("@PUBLIC_KEY@", public.strip())
        (folder / "build" / "vendor-data").write_text(access)
        console = self.partial / "logs" / "bake-console.log"
        console.parent.mkdir()
        variables = {
            **self._start_variables(start, folder),
            "seed": str(secret.parent),
            "output_directory": str(self.run / "packer"),
            "accelerator": accelerator.name,
            "ssh_timeout": f"{(_INSTALL_MINUTES if start.installer else _SSH_MINUTES) * accelerator.scale:.0f}m",
            "console": str(console.resolve()),
            "compress": "false",
        }
        packer.init(folder, self.bundle.dialect)
        packer.build(
            folder,
            variables=variables,
            console=console,
            scratch=self.run,
            scale=accelerator.scale,
            progress=self.progress,
        )
        return self._scanned(secret)

    def _start_variables(self, start: _Start, folder: Path) -> dict[str, str]:
        if not start.installer:
            return {"layer": str(start.folder), "disk_checksum": start.checksum}
        made = iso.remaster(folder, start.installer, self.run / "installer.iso", seed="build", progress=self.progress)
        return {"installer": str(made), "installer_checksum": f"sha256:{disk.sha256(made)}"}

    def _scanned(self, secret: Path) -> Path:
        raw = self.run / "disk.raw"
        with self.progress.stage("scan", "Search the finished disk for secrets and identities"):
            (built,) = (self.run / "packer").iterdir()
            disk.convert(built, raw, "raw", source_format="qcow2")
            built.unlink()
            disk.zero_free(raw)
            scan.check(raw, forbidden=scan.bake_key(secret), spec=self.spec)
        return raw

    def _finish(self, raw: Path, accelerator: Accelerator, *, verify: bool) -> Report | None:
        """Write the formats, prove the qcow2 that ships, and write the manifest, in the partial folder."""
        packages = artifact.packages(raw)
        hardware = ovf.Hardware(**targets.appliance(self.bundle.target))
        files = artifact.write_formats(raw, self.partial, self.formats, self.spec, self.progress, hardware)
        companions.write(self.partial, files, self.spec, self.bundle.target)
        report = self._verify(files[0].path, accelerator) if verify else None
        timings.record(self.cache, f"{self.bundle.target}-{accelerator.name}", self.progress.timings)
        artifact.write_manifest(
            self.partial,
            files,
            self.spec,
            self.bundle.target,
            inputs=self.inputs,
            packages=packages,
            timings=self.progress.times(),
            tools=self.tools,
            accelerator={"name": accelerator.name, "reason": accelerator.reason},
            checks=[dataclasses.asdict(check) for check in report.checks] if report else [],
        )
        return report

    def _verify(self, template: Path, accelerator: Accelerator) -> Report:
        from skyvypack.verify import verify

        logs = self.partial / "logs"
        report = verify(
            self.spec,
            template,
            report_folder=logs,
            accelerator=accelerator,
            cache=self.cache,
            progress=self.progress,
        )
        if not report.passed:
            # The disk goes, what is needed to understand the failure stays.
            runs.remove(_failed(self.final))
            logs.replace(_failed(self.final))
            self.progress.note("verify", f"the clones' logs are kept in {_failed(self.final)}")
        report.require()
        return report


def _tools(spec: Spec, packer_version: str, *, verify: bool) -> dict[str, str]:
    """The version of each program that takes part; one that is missing is told before minutes are spent."""
    found = {"skyvypack": __version__, "packer": packer_version, "qemu": qemu_version()}
    if spec.base.kind == "bootstrap":
        found["mmdebstrap"] = layers.mmdebstrap_version()
    for tool in _TOOLS:
        if command.which(tool) is None:
            raise ToolMissing(f"{tool} is not installed", "run: python -m skyvypack doctor --fix")
    if verify:
        find_ovmf()
    return found
