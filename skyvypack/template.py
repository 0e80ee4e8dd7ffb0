"""Renders the templates of roles: Jinja2 in its sandbox, where an undefined name is an error.

Comments are ``{## … ##}``: shell's ``${#name}`` holds Jinja2's own mark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

_FILENAME = "<role template>"
_MARKS = ("{{", "{%", "{##")


class TemplateError(ValueError):
    """A template that cannot be rendered.

    Args:
        message: what is wrong.
        line: 1-based line of the template, 0 when unknown.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@cache
def _environment() -> SandboxedEnvironment:
    # Imported late: commands that render nothing should not wait for it.
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        comment_start_string="{##",
        comment_end_string="##}",
        keep_trailing_newline=True,
        autoescape=False,
        # Each template is rendered once: folding its constants first takes longer than it saves.
        optimized=False,
    )
    # The same spec must give the same bundle.
    del environment.globals["lipsum"], environment.filters["random"]
    return environment


@lru_cache(maxsize=512)
def _code(text: str) -> CodeType:
    # To compile takes longer than all else about rendering; a second spec has mostly the same templates.
    return _environment().compile(text, filename=_FILENAME)


def render(text: str, names: Mapping[str, Any]) -> str:
    """Render a template.

    Args:
        text: the template.
        names: what it may use.

    Raises:
        TemplateError: its syntax is wrong, it uses a name that is not defined, or what it computes fails.
    """
    if not any(mark in text for mark in _MARKS):
        return text
    import jinja2

    environment = _environment()
    try:
        template = environment.template_class.from_code(environment, _code(text), dict(environment.globals))
        return template.render(names)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(error.message or "wrong syntax", error.lineno) from None
    except Exception as error:
        # A template is a small program: whatever it does wrong is the template's mistake, not ours.
        raise TemplateError(_words(error), _line(error, _FILENAME)) from None


def _words(error: Exception) -> str:
    lacking = re.fullmatch(r"'.* object' has no attribute '(.*)'", str(error))
    if lacking:
        return f"'{lacking[1]}' is undefined"
    return str(error) or type(error).__name__


def _line(error: Exception, filename: str) -> int:
    line, frame = 0, error.__traceback__
    while frame:
        if frame.tb_frame.f_code.co_filename == filename:
            line = frame.tb_lineno
        frame = frame.tb_next
    return line
