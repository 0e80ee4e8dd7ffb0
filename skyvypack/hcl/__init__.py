"""HCL as typed blocks and values, written as text that `packer fmt` leaves untouched.

What is emitted is checked first: a `var.`, `local.` or `source.` that is not defined in the document, also inside a
template, and a name that is defined twice are errors.

    >>> document = Document([variable("layer", default="build/layer"), Block("locals", body=[Attribute("n", 1)])])
    >>> print(document.render(), end="")
    variable "layer" {
      type    = string
      default = "build/layer"
    }
    <BLANKLINE>
    locals {
      n = 1
    }
"""

from skyvypack.hcl.document import Attribute, Block, Document, variable
from skyvypack.hcl.text import HclError
from skyvypack.hcl.values import (
    Call,
    Choice,
    Differs,
    Equals,
    Expression,
    Heredoc,
    Ref,
    Template,
    Value,
    Word,
    template,
)

__all__ = [
    "Attribute",
    "Block",
    "Call",
    "Choice",
    "Differs",
    "Document",
    "Equals",
    "Expression",
    "HclError",
    "Heredoc",
    "Ref",
    "Template",
    "Value",
    "Word",
    "template",
    "variable",
]
