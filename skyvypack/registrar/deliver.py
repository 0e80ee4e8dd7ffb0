"""From a spec to a registered template in one go: bake on this machine or on the platform, prove, register."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skyvypack import command, disk, packer, targets
from skyvypack.artifact import Artifact, DiskFile
from skyvypack.bake import BakeResult, bake
from skyvypack.bundle import Bundle
from skyvypack.errors import BakeFailed, InputError
from skyvypack.progress import Progress, Reporter, silent
from skyvypack.registrar.contract import Plan, RegistrarError
from skyvypack.registrar.credentials import secret
from skyvypack.registrar.find import find
from skyvypack.registrar.flow import Prover, Registration, Source, Wishes, order_of, plan, register
from skyvypack.render import render
from skyvypack.spec.model import Spec
from skyvypack.targets import settings_rules
from skyvypack.targets.bases import LOCAL
from skyvypack.write import write

_WISHES = Wishes()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What baking and registering came to.

    Args:
        registration: what stands on the platform.
        bake: what was baked on this machine; None for a bake on the platform.
    """

    registration: Registration
    bake: BakeResult | None = None


@dataclass(frozen=True, slots=True)
class BakeWishes:
    """How a bake on this machine is to be done; see `skyvypack.bake`."""

    output: Path = Path("output")
    cache: Path | None = None
    force: bool = False
    offline: bool = False
    formats: Sequence[str] = field(default_factory=tuple)


def deliver(
    spec: Spec,
    target: str,
    *,
    wishes: Wishes = _WISHES,
    baking: BakeWishes = BakeWishes(),
    prover: Prover | None = None,
    report: Reporter = silent,
) -> Delivery:
    """Bake a template, prove it, and register it.

    A spec whose base is ``bootstrap`` or ``cloud-image`` is baked on this machine; one that starts from an ISO or from
    a template of the platform is baked there, by Packer.

    Args:
        spec: what to bake.
        target: where the template will live.
        wishes: as for `register`; its ``verify`` also holds for the clones of a local bake.
        baking: how a bake on this machine is to be done.
        prover: as for `register`.
        report: called with each `Event`.

    Raises:
        SkyvypackError: as of `skyvypack.bake` and `register`. After a failed registration the artifact still stands.
    """
    wishes.check()
    if is_remote(spec):
        remote = PackerOnPlatform.of(spec, target)
        logs = baking.output / f"{spec.name}-{spec.version}-{target}.logs"
        return Delivery(register(spec, target, remote, wishes=wishes, prover=prover, logs=logs, report=report))
    if _writes(spec, target):
        PackerOnPlatform.of(spec, target)  # what the installed Packer cannot write is told before minutes are spent
    _reach(spec, target, Progress(report))
    formats = (find(target).DISK, *(baking.formats or spec.target_settings(target)["formats"]))
    baked = bake(
        spec,
        target,
        output=baking.output,
        cache=baking.cache,
        force=baking.force,
        offline=baking.offline,
        verify=wishes.verify,
        formats=tuple(dict.fromkeys(formats)),
        report=report,
    )
    logs = baking.output / f"{baked.artifact.folder.name}.logs"
    source = source_of(spec, target, baked.artifact)
    done = register(spec, target, source, wishes=wishes, prover=prover, logs=logs, report=report)
    return Delivery(done, baked)


def _reach(spec: Spec, target: str, progress: Progress) -> None:
    """Ask the platform something, before minutes are spent on what could not be registered there.

    Raises:
        RegistrarError: it does not answer, or not to us.
    """
    connect = find(target).connect
    with progress.stage("reach", f"See whether {target} answers"):
        try:
            with connect(spec.target_settings(target), progress) as registrar:
                registrar.describe(spec.name)
        except RegistrarError as error:
            error.hint = "; ".join(filter(None, [error.hint, "nothing was baked: --no-register only bakes"]))
            raise


def source_of(spec: Spec, target: str, made: Artifact | Path) -> Source:
    """What is registered of an artifact: itself, or, where the target's builder writes its disk, what Packer makes.

    Args:
        spec: that it was baked from.
        target: where.
        made: the artifact or its folder.

    Raises:
        SkyvypackError: the artifact is none, or does not fit the spec and the target.
    """
    return PackerOnPlatform.of(spec, target, order_of(spec, target, made).disk) if _writes(spec, target) else made


def _writes(spec: Spec, target: str) -> bool:
    """Whether the target's builder only writes a disk that was baked on this machine."""
    kind = spec.base.kind
    return kind in LOCAL and targets.source(target).builder(spec) != LOCAL[kind]


def is_remote(spec: Spec) -> bool:
    """Whether the template is baked on the platform itself, so that there is no artifact of it."""
    return spec.base.kind not in LOCAL


def plan_delivery(spec: Spec, target: str, *, wishes: Wishes = _WISHES, report: Reporter = silent) -> Plan:
    """What `deliver` would do on the platform, for a bake there. Only reads.

    Raises:
        SkyvypackError: as of `plan`.
    """
    return plan(spec, target, PackerOnPlatform.of(spec, target), wishes=wishes, report=report)


@dataclass(frozen=True, slots=True)
class PackerOnPlatform:
    """A bake by Packer's builder for the platform; see `skyvypack.registrar.flow.Remote`.

    Args:
        bundle: what Packer is given.
        disk: that it writes; None for a bundle that bakes.
    """

    bundle: Bundle
    disk: DiskFile | None = None

    @classmethod
    def of(cls, spec: Spec, target: str, disk: DiskFile | None = None) -> PackerOnPlatform:
        """The bake of a spec, or of a disk, for the Packer that is installed here.

        What the registrar's ``LATER`` names is left out of the bundle: it is done by jobs that may fail one by one.

        Raises:
            ToolMissing: Packer is missing or too old.
            InputError: the spec cannot be baked on the platform.
        """
        later = getattr(find(target), "LATER", ())
        defaults = {name: settings_rules(target)[name]["default"] for name in later}
        settings = {**spec.targets, target: {**spec.target_settings(target), **defaults}}
        return cls(render(dataclasses.replace(spec, targets=settings), target, packer.installed()), disk)

    @property
    def digest(self) -> str:
        """Of the disk, or of the bundle."""
        return f"sha256:{self.disk.sha256}" if self.disk else f"bundle:{self.bundle.digest}"

    def build(self, progress: Progress) -> str:
        """Let Packer bake, and read from its manifest what it made.

        Raises:
            BakeFailed: Packer failed, and has removed what it made; or its manifest names nothing.
        """
        with tempfile.TemporaryDirectory(prefix="skyvypack-") as scratch:
            folder = write(self.bundle, Path(scratch) / "bundle")
            command.run(["sh", "prepare.sh"], cwd=folder)
            if self.disk:
                _pack(self.disk, folder / "build" / "disk.raw.gz", progress)
            packer.init(folder, self.bundle.dialect)
            packer.build(
                folder,
                variables={},
                console=None,
                scratch=Path(scratch),
                environment=self._environment(),
                progress=progress,
            )
            return _made(folder / "packer-manifest.json")

    def _environment(self) -> dict[str, str]:
        """What the bundle's variables take from the environment, and what the platform's SDK does."""
        named = re.findall(r'env\("(\w+)"\)', self.bundle.files["skyvyos.pkr.hcl"])
        prefixes = tuple(getattr(find(self.bundle.target), "ENVIRONMENT", ()))
        found = {name: value for name, value in os.environ.items() if prefixes and name.startswith(prefixes)}
        return found | {name: value for name in named if (value := secret(name))}


def _pack(made: DiskFile, packed: Path, progress: Progress) -> None:
    """The disk as the bundle takes it: raw, compressed.

    Raises:
        InputError: it is not what its manifest says.
    """
    if disk.sha256(made.path) != made.sha256:
        raise InputError(f"{made.path} is not what its manifest says: its digest differs", "bake it again")
    raw = packed.with_suffix("")
    with progress.stage("convert", "Pack the disk"):
        disk.convert(made.path, raw, "raw", source_format=made.format)
        with raw.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        raw.unlink()


def _made(manifest: Path) -> str:
    """The id of the last thing in Packer's manifest; amazon's are ``region:id,region:id``, the home region first."""
    try:
        builds = json.loads(manifest.read_text())["builds"]
        id: str = builds[-1]["artifact_id"].partition(",")[0].rpartition(":")[2]
    except (OSError, ValueError, LookupError) as error:
        hint = "run again with --debug, and report what Packer says"
        raise BakeFailed("Packer ended well, but its manifest names nothing", hint) from error
    return id
