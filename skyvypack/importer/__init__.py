"""Makes a spec of a Packer template, ours or anyone's: text in, text out, and a list of what did not come along.

::

    made = import_template({"web.pkr.hcl": text})
    print(made.text)
    for one in made.leftovers:
        print(one)

Nothing here reads a file or starts Packer. What becomes of a builder's arguments, its target says in
`targets/<target>/reverse.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from skyvypack import targets
from skyvypack.dialect import LATEST
from skyvypack.errors import InputError
from skyvypack.hcl import Attribute, Block
from skyvypack.importer.carry import Draft, Leftover, Place, Refused, slugged
from skyvypack.importer.evaluate import Evaluator, Unknown
from skyvypack.importer.found import Given, Source, Step, sources, steps
from skyvypack.importer.legacy import LegacyDocument, is_legacy
from skyvypack.importer.spec_text import spec_text
from skyvypack.lint import schema
from skyvypack.lint.check_values import SECRET_NAME
from skyvypack.lint.module import Document, Module
from skyvypack.render import render
from skyvypack.rules import nearest
from skyvypack.spec.model import Spec
from skyvypack.spec.reader import loads

__all__ = ["Imported", "Leftover", "import_template"]

_HINTS = {
    "shell": "the spec's roles, packages and commands do such things",
    "file": "the spec's `files` does such things",
    "manifest": "the bundle has one of its own",
}
# Contents that are the user's own texts, in which anything may stand.
_TEXTS = re.compile(r"(_content|_command|user_data|qemuargs)$")
_RELEASES = {"bookworm": r"bookworm|debian[-_ /]?12(?![0-9])", "trixie": r"trixie|debian[-_ /]?13(?![0-9])"}
_NAMES: tuple[Place, ...] = (("base", "url"), ("base", "source"), ("base", "checksums"), ("name",))
_NO_CHECKSUM = f"sha256:{'0' * 64}"
# What a base wants said, and what stands in for it until then.
_WANTED = {
    ("base", "url"): ("to-be-given.iso", "no image that can be used", ("iso", "cloud-image")),
    ("base", "source"): ("to-be-given", "no source that can be used", ("clone",)),
}


@dataclass(frozen=True, slots=True)
class Imported:
    """A spec made of a template.

    Args:
        text: YAML, valid as a spec.
        spec: what it says.
        target: whose settings it has.
        source: builder and name of the template's source.
        carried: for each place of the spec, such as ``machine.cpus``, where in the template it comes from.
        leftovers: what is not as it stood in the template, in the order of the template.
        refusal: why no bundle can be made of the spec yet; empty when one can.
    """

    text: str
    spec: Spec
    target: str
    source: str
    carried: Mapping[str, str]
    leftovers: tuple[Leftover, ...]
    refusal: str


def import_template(files: Mapping[str, str], source: str = "") -> Imported:
    """Make a spec of a template.

    Args:
        files: text by name, all that Packer reads together. The names' endings say what they are: ``.pkr.hcl``,
            ``.pkr.json``, ``.pkrvars.hcl`` and ``.pkrvars.json`` (values of variables), and any other ``.json`` for
            templates of Packer's first kind.
        source: of several, the one to take, such as ``qemu.debian``; may be empty when there is one.

    Raises:
        InputError: a file cannot be read as what its name says (all that cannot, at once), no source is of a builder
            that is known, or several are and none is chosen.
    """
    module = Module(tuple(LegacyDocument(*file) if is_legacy(file[0]) else Document(*file) for file in files.items()))
    _require_sound(module)
    evaluator = Evaluator(module)
    found = sources(module, evaluator)
    chosen = _chosen(found, source)
    target, reverse = _reverse(chosen.builder)
    draft = Draft(target, chosen.builder)
    _carry(draft, reverse, chosen)
    all_steps = list(steps(module, evaluator))
    _complete(draft, chosen, all_steps)
    draft.leftovers += [*_others(found, chosen), *_steps(all_steps), *_asked(module), *_secrets(module, chosen)]
    return _imported(draft, chosen)


def _require_sound(module: Module) -> None:
    broken = []
    for document in module.documents:
        if document.malformed:
            line, column = document.place(document.malformed.position)
            broken.append(f"{document.file}:{line}:{column}: {document.malformed.message}")
    if broken:
        raise InputError("\n".join(broken), "skyvypack lint says the same of HCL; mend it first")


def _builders() -> dict[str, tuple[str, ModuleType]]:
    known = {target: targets.reverse(target) for target in targets.names()}
    return {builder: (target, module) for target, module in known.items() for builder in module.BUILDERS}


def _reverse(builder: str) -> tuple[str, ModuleType]:
    return _builders()[schema.builders()[builder]]


def _chosen(found: Sequence[Source], wanted: str) -> Source:
    known = [one for one in found if schema.builders().get(one.builder) in _builders()]
    named = [one for one in known if wanted.removeprefix("source.") in ("", one.label)]
    if len(named) == 1:
        return named[0]
    listed = ", ".join(one.label for one in known)
    if len(named) > 1 and len({one.label for one in named}) == 1:
        raise InputError(f"there are {len(named)} sources {named[0].label}", "give each a name of its own")
    if len(named) > 1:
        raise InputError(f"there are several sources: {listed}", f"choose one: --source {named[0].label}")
    if known:
        near = nearest(wanted, [one.label for one in known])
        raise InputError(f"there is no source {wanted} of a builder that is known", near or f"there are: {listed}")
    builders = ", ".join(sorted(_builders()))
    others = ", ".join(one.label for one in found)
    message = f"no source is of a builder that is known: {others}" if others else "there is no source block"
    raise InputError(message, f"known are {builders}")


def _carry(draft: Draft, reverse: ModuleType, source: Source) -> None:
    """Give each argument to what its target says of it."""
    repeated: set[tuple[str, int]] = set()
    again = {given.path: given for given in source.given if not given.number}
    for given in source.given:
        if not given.number and again[given.path] is not given:
            draft.leave("lost", given, "stands here again further down, and the last one counts")
            continue
        block = given.path.partition(".")[0]
        if given.number and (block, given.number) not in repeated:
            repeated.add((block, given.number))
            what = f"block {block} no. {given.number + 1}"
            reason = "is more than a spec has: one disk, one network card, one of each"
            draft.leftovers.append(Leftover("lost", what, given.file, given.line, reason))
        if given.number:
            continue
        act = reverse.ARGUMENTS.get(given.path)
        try:
            if act:
                act(draft, given)
            else:
                _pass_on(draft, given)
        except Refused as error:
            secret = isinstance(given.value, Unknown) and given.value.secret
            draft.leave("secret" if secret else "lost", given, str(error), error.environment)
    try:
        reverse.finish(draft)
    except Refused as error:
        draft.leftovers.append(Leftover("lost", source.label, source.file, source.line, str(error)))


def _pass_on(draft: Draft, given: Given) -> None:
    """Keep an argument that no setting stands for among the target's `arguments`."""
    if SECRET_NAME.search(given.path):
        draft.leave("secret", given, "is never copied; the spec has no place for it")
        return
    if isinstance(given.value, Unknown):
        raise Refused(given.value.why)
    if given.value is None:
        return
    if _TEXTS.search(given.path):
        raise Refused("is a text of the build: what the template is to have belongs in roles, files or commands")
    if "." in given.path:
        raise Refused("stands in a block for which a spec has no word" if _is_known(draft, given) else "is unknown")
    name = _today(draft, given.path)
    try:
        LATEST.check(Block("source", [schema.builders()[draft.builder], "x"], [Attribute(name, given.value)]))
    except InputError as error:
        old = "" if _is_known(draft, given) else "is unknown: "
        raise Refused(f"{old}{error.message}{f' ({error.hint})' if error.hint else ''}") from None
    draft.further(name, given.value, f"{given.where} {given.path}")


def _is_known(draft: Draft, given: Given) -> bool:
    """Whether the builder has the argument in any version."""
    since = schema.facts(schema.builders()[draft.builder])
    return LATEST.accepts(schema.builders()[draft.builder], given.path) or given.path in since.renamed


def _today(draft: Draft, name: str) -> str:
    """The newest name of an argument, where nothing else changed with it."""
    renamed = schema.facts(schema.builders()[draft.builder]).renamed.get(name)
    return renamed.new if renamed and renamed.new and "." not in renamed.new else name


def _complete(draft: Draft, source: Source, found: Sequence[Step]) -> None:
    """Fill in what every spec has: name, version, release, and what its base starts from."""
    for step in found:
        _own_words(draft, step)
    if ("name",) not in draft.places:
        draft.put(("name",), slugged(source.name) or "imported", f"{source.file}:{source.line} source {source.name}")
    if ("version",) not in draft.places:
        draft.put(("version",), "1.0.0", "not said")
    if ("debian",) not in draft.places:
        _release(draft, source)
    draft.put(("profile",), "minimal", "a start: skyvypack roles lists what there is")
    _complete_base(draft, source)


def _complete_base(draft: Draft, source: Source) -> None:
    """Leave in the base what its kind takes, and put in what it wants."""
    kind = draft.places["base", "kind"]
    for place, (stand_in, reason, kinds) in _WANTED.items():
        if kind not in kinds:
            draft.places.pop(place, None)
        elif place not in draft.places:
            _stand_in(draft, source, place, stand_in, reason)
    checked = [place for place in (("base", "checksum"), ("base", "checksums")) if place in draft.places]
    wanted = kind in ("iso", "cloud-image")
    if wanted and not checked:
        _stand_in(draft, source, ("base", "checksum"), _NO_CHECKSUM, "no checksum that can be used")
    for place in checked[wanted:]:
        del draft.places[place]


def _stand_in(draft: Draft, source: Source, place: Place, value: str, reason: str) -> None:
    draft.put(place, value, "TO BE GIVEN")
    about = f"is to be given: the template has {reason}"
    draft.leftovers.append(Leftover("needed", ".".join(place), source.file, source.line, about))


def _own_words(draft: Draft, step: Step) -> None:
    """A bundle of ours says in its manifest what it was made of."""
    about = step.arguments.get("custom_data")
    if step.name != "manifest" or not isinstance(about, dict) or {*about} != {"name", "version", "debian"}:
        return
    for name, value in about.items():
        try:
            draft.put((name,), value, f"{step.file}:{step.line} manifest")
        except Refused as error:
            draft.leftovers.append(Leftover("lost", f"manifest {name}", step.file, step.line, str(error)))


def _release(draft: Draft, source: Source) -> None:
    said = " ".join(str(draft.places.get(place, "")) for place in _NAMES)
    for release, pattern in _RELEASES.items():
        if re.search(pattern, said, re.IGNORECASE):
            draft.put(("debian",), release, "by the names of image and template")
            return
    draft.put(("debian",), "trixie", "TO BE CHECKED")
    reason = "is to be checked: neither image nor name says Debian 12 or 13, and trixie is taken"
    draft.leftovers.append(Leftover("needed", "debian", source.file, source.line, reason))


def _others(found: Sequence[Source], chosen: Source) -> Iterator[Leftover]:
    for other in found:
        if other is not chosen:
            known = schema.builders().get(other.builder) in _builders()
            more = f"makes another spec: --source {other.label}" if known else "is of a builder that is not known"
            reason = f"is another source, which {more}"
            yield Leftover("lost", f"source {other.label}", other.file, other.line, reason)


def _steps(found: Sequence[Step]) -> Iterator[Leftover]:
    for step in found:
        hint = _HINTS.get(step.name, "the spec's roles do what templates need" if step.kind == "provisioner" else "")
        reason = f"is not carried over{f': {hint}' if hint else ''}"
        yield Leftover("lost", f"{step.kind} {step.name}".rstrip(), step.file, step.line, reason)


def _asked(module: Module) -> Iterator[Leftover]:
    for name, declared in module.data.items():
        for one in declared:
            line = one.document.place(one.span.start)[0]
            yield Leftover("lost", f"data {name}", one.document.file, line, "is asked only when Packer runs")


def _secrets(module: Module, source: Source) -> Iterator[Leftover]:
    """Variables that are secrets, where no argument has told of them."""
    told = " ".join(one.value.why for one in source.given if isinstance(one.value, Unknown))
    for name, declared in module.variables.items():
        one = declared[0]
        if Evaluator.is_secret(name, one) and f"var.{name}," not in told:
            line = one.document.place(one.span.start)[0]
            yield Leftover("secret", f"variable {name}", one.document.file, line, "is never copied")


def _imported(draft: Draft, source: Source) -> Imported:
    about = f"Made by skyvypack import of {source.file}, source {source.label}."
    leftovers = tuple(sorted(draft.leftovers, key=lambda one: (one.file, one.line)))
    spec = loads(spec_text(draft.places, draft.notes, about, leftovers))
    for name, value in spec.target_settings(draft.target).items():
        # What the bundle says by itself needs no setting.
        if value == spec.title:
            draft.places.pop(("targets", draft.target, name))
    text = spec_text(draft.places, draft.notes, about, leftovers)
    carried = {".".join(place): draft.notes[place] for place in draft.places if draft.notes.get(place)}
    return Imported(text, spec, draft.target, source.label, carried, leftovers, _refusal(loads(text), draft.target))


def _refusal(spec: Spec, target: str) -> str:
    try:
        render(spec, target, LATEST)
    except InputError as error:
        return f"{error.message} ({error.hint})" if error.hint else error.message
    return ""
