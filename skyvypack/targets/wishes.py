"""What a target asks of a Packer builder, and what the dialect makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from skyvypack.dialect import Dialect
from skyvypack.errors import InputError
from skyvypack.hcl import Attribute, Block, Value
from skyvypack.spec.model import Spec
from skyvypack.targets import settings_rules


@dataclass(frozen=True, slots=True)
class Setting:
    """An argument's value that a setting of the target decides.

    Args:
        name: of the setting.
        value: what the argument gets.
        is_default: True when the spec leaves it as it is by itself.
        is_off: True when nothing is wanted.
    """

    name: str
    value: Value
    is_default: bool
    is_off: bool


Wanted: TypeAlias = "Value | Setting"


class Wishes:
    """The arguments of one source block, gathered group by group; what cannot be is kept and told at the end.

    A plain value is always written, None never. A `Setting` that is off is left out, and so is one that has its
    default where the dialect has no argument for it; one that the spec gives is then refused.

    Args:
        spec: what to bake.
        target: whose settings decide.
        builder: of the source block.
        dialect: the Packer to write for.
    """

    def __init__(self, spec: Spec, target: str, builder: str, dialect: Dialect) -> None:
        self.spec = spec
        self.target = target
        self.builder = builder
        self.dialect = dialect
        self.settings = spec.target_settings(target)
        self._rules = settings_rules(target)
        self._refused: list[InputError] = []

    def setting(self, name: str, write: Callable[[Any], Value] = lambda value: value) -> Setting:
        """A setting, as the value of an argument.

        Args:
            name: of the setting.
            write: makes the argument's value of the setting's.
        """
        value = self.settings[name]
        return Setting(name, write(value), value == self._rules[name]["default"], not value)

    def refuse(self, message: str, hint: str = "") -> None:
        """Keep a reason why this bundle cannot be."""
        self._refused.append(InputError(message, hint))

    def need(self, *names: str) -> None:
        """Refuse the spec unless at least one of some settings is given."""
        if not any(self.settings[name] for name in names):
            listed = " or ".join(f"targets.{self.target}.{name}" for name in names)
            self.refuse(f"base {self.spec.base.kind} needs {listed}", self._rules[names[0]]["doc"])

    def accepts(self, name: str) -> bool:
        """Whether the builder has an argument or block in this dialect."""
        return self.dialect.accepts(self.builder, name)

    def group(self, about: str = "", /, **wanted: Wanted) -> list[Attribute]:
        """Arguments that stand together.

        Args:
            about: a comment above them; empty for none.
            wanted: what each argument gets.
        """
        kept = self._kept("", wanted)
        return [Attribute(name, value, "" if number else about) for number, (name, value) in enumerate(kept.items())]

    def block(self, type: str, about: str = "", /, **wanted: Wanted) -> list[Block]:
        """A block in the source block, or none when nothing is wanted of it.

        Args:
            type: of the block.
            about: a comment above it; empty for none.
            wanted: what each of its arguments gets.
        """
        body = [Attribute(name, value) for name, value in self._kept(f"{type}.", wanted).items()]
        return [Block(type, body=body, comment=about)] if body else []

    def _kept(self, within: str, wanted: Mapping[str, Wanted]) -> dict[str, Value]:
        values = {
            name: want.value if isinstance(want, Setting) else want
            for name, want in wanted.items()
            if not isinstance(want, Setting) or self._keeps(within + name, want)
        }
        return {name: value for name, value in values.items() if value is not None}

    def _keeps(self, path: str, want: Setting) -> bool:
        if want.is_off and want.is_default:
            return False
        if self.accepts(path):
            return True
        if not want.is_default and not want.is_off:
            self._refuse_unknown(path, f"targets.{self.target}.{want.name}")
        return False

    def _refuse_unknown(self, path: str, place: str) -> None:
        try:
            self.dialect.require(self.builder, path)
        except InputError as error:
            self.refuse(f"{place}: {error.message}", error.hint)

    def require(self, path: str, place: str) -> bool:
        """Refuse the spec when the dialect has no argument for what a place in it wants.

        Args:
            path: of the argument, with the block it stands in.
            place: in the spec, such as ``machine.firmware``.

        Returns:
            Whether it has.
        """
        if not self.accepts(path):
            self._refuse_unknown(path, place)
        return self.accepts(path)

    def further(self, ours: list[Attribute | Block]) -> list[Attribute]:
        """The setting `arguments`, which must not name what the bundle sets itself.

        Args:
            ours: the whole block so far.
        """
        given: Mapping[str, Any] = self.settings["arguments"]
        names = {item.type if isinstance(item, Block) else item.name for item in ours}
        if clash := sorted(names & {*given}):
            message = f"targets.{self.target}.arguments sets {', '.join(clash)}, which the bundle sets itself"
            self.refuse(message, "leave it out; the spec's machine and the target's other settings decide it")
        for name in given:
            if not self.accepts(name):
                self._refuse_unknown(name, f"targets.{self.target}.arguments")
        return self.group("As the spec gives them.", **{name: given[name] for name in given if name not in clash})

    def source(self, body: list[Attribute | Block]) -> Block:
        """The source block, checked.

        Args:
            body: all but the setting `arguments`.

        Raises:
            InputError: with everything that was refused.
        """
        block = Block("source", [self.builder, self.spec.name], [*body, *self.further(body)])
        if self._refused:
            hints = dict.fromkeys(error.hint for error in self._refused if error.hint)
            raise InputError("\n".join(error.message for error in self._refused), "; ".join(hints))
        self.dialect.check(block)
        return block
