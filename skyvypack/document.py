"""A YAML document whose every value knows where it stands, so that a problem can name line and column."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import yaml

from skyvypack.errors import Problem, SpecError

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
_CONTAINER_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MAX_CHARACTERS = 1_000_000
# libyaml's composer recurses in C: without a limit, deep nesting ends the interpreter instead of raising.
_MAX_DEPTH = 40
# Aliases of aliases can stand for billions of values in a file of ten lines.
_MAX_VALUES = 50_000


@dataclass(slots=True)
class Document:
    """A parsed YAML file.

    Args:
        file: its path, for messages; empty when the text did not come from a file.
        value: plain dicts, lists and scalars.
        marks: line and column (1-based) of each value, by path.
        keys: line and column of each mapping key, by path.
        written: what stands in the file for each scalar that YAML did not read as text, by path.
        problems: what is wrong with it as YAML, in the order found.
    """

    file: str = ""
    value: Any = None
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, message: str, suggestion: str = "", *, at_key: bool = False) -> Problem:
        """A problem with the value at `path`, or with its key; located at the nearest value that is in the file."""
        above = (self.marks[path[:size]] for size in range(len(path), -1, -1) if path[:size] in self.marks)
        line, column = (self.keys.get(path) if at_key else None) or next(above, (0, 0))
        return Problem(self.file, line, column, dotted(path), message, suggestion)


def dotted(path: Path) -> str:
    """A path as people write it: ``roles[2].ssh.port``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def parse(text: str, file: str = "") -> Document:
    """Read one YAML document (YAML 1.1, safe tags only).

    Args:
        text: the document.
        file: its path, for messages.

    Returns:
        The document; `problems` holds what can be told beside its content, such as a key that stands there twice.

    Raises:
        SpecError: it is no YAML at all, or larger or deeper than any honest file.
    """
    document = Document(file)
    try:
        _refuse_bombs(text, document)
        node = _LOADER(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise SpecError([_syntax_problem(document, error)]) from None
    except (yaml.YAMLError, UnicodeError) as error:
        line = text.count("\n", 0, getattr(error, "position", 0) or 0) + 1
        problem = Problem(file, line, 0, "", "the text holds a character that YAML forbids")
        raise SpecError([problem]) from None
    document.value = None if node is None else _Builder(document).value(node, ())
    return document


def _refuse_bombs(text: str, document: Document) -> None:
    if len(text) > _MAX_CHARACTERS:
        raise SpecError([Problem(document.file, 0, 0, "", f"larger than {_MAX_CHARACTERS:,} characters")])
    depth = 0
    loader = _LOADER(text)
    while loader.check_event():
        event = loader.get_event()
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            message = f"nested more than {_MAX_DEPTH} levels deep"
            raise SpecError([Problem(document.file, line, column, "", message)])


def _syntax_problem(document: Document, error: yaml.MarkedYAMLError) -> Problem:
    """Only the parser's words, not its excerpt of the text: that may be a key somebody pasted."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    if isinstance(error, yaml.composer.ComposerError) and "single document" in str(error.context):
        return Problem(document.file, line, column, "", "a second document (---) begins here; one file holds one")
    words = ", ".join(part for part in (error.context, error.problem) if part)
    unreadable = "cannot start any token" in words
    suggestion = "tabs cannot indent, and text that begins with @, % or ` needs quotes" if unreadable else ""
    return Problem(document.file, line, column, "", f"this is not YAML: {words}", suggestion)


class _Builder:
    """Makes plain values of nodes and notes where each stands."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._scalars = yaml.constructor.SafeConstructor()
        self._open: list[int] = []
        self._count = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._document.marks[path] = _place(node)
        self._count += 1
        if self._count > _MAX_VALUES:
            raise SpecError([self._document.problem(path, f"its aliases stand for more than {_MAX_VALUES:,} values")])
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in _CONTAINER_TAGS:
            return self._refuse(path, f"the tag {node.tag} is not supported")
        if id(node) in self._open:
            return self._refuse(path, "this alias holds itself")
        self._open.append(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]
        finally:
            self._open.pop()

    def _refuse(self, path: Path, message: str, suggestion: str = "") -> None:
        self._document.problems.append(self._document.problem(path, message, suggestion))

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            value = self._scalars.construct_object(node)
        except yaml.YAMLError:
            return self._refuse(path, f"the tag {node.tag} is not supported", "put it in quotes if it is text")
        except (ValueError, LookupError):
            return self._refuse(path, "this value cannot be read", "put it in quotes if it is text")
        if isinstance(value, float) and not math.isfinite(value):
            return self._refuse(path, f"{node.value} is not a finite number", "put it in quotes if it is text")
        if not isinstance(value, str):
            self._document.written[path] = node.value
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag == _MERGE:
                self._merge(item, path, merged)
        # After the merged ones: a mapping's own keys win, and so do their places.
        self._document.marks[path] = _place(node)
        own: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag == _MERGE:
                continue
            name = self._key(key, path)
            if name is None:
                continue
            self._document.keys[(*path, name)] = _place(key)
            if name in own:
                problem = self._document.problem((*path, name), "this key stands here twice", at_key=True)
                self._document.problems.append(problem)
            own[name] = self.value(item, (*path, name))
        return {**merged, **own}

    def _merge(self, node: yaml.Node, path: Path, into: dict[str, Any]) -> None:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            value = self.value(source, path)
            if isinstance(value, dict):
                into.update({key: item for key, item in value.items() if key not in into})
            else:
                self._refuse(path, "<<: takes a mapping or a list of mappings")

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str":
            return str(node.value)
        line, column = _place(node)
        written = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        hint = f'write "{written}" in quotes if it is meant as text' if isinstance(node, yaml.ScalarNode) else ""
        message = f"a key must be text, and YAML does not read {written} as text"
        self._document.problems.append(Problem(self._document.file, line, column, dotted(path), message, hint))
        return None


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
