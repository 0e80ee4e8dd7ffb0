"""Tests of what is counted for each role."""

from __future__ import annotations

from pathlib import Path

from skyvypack.inventory import DEBIAN, REST, SPEC, Size, parse, sizes
from skyvypack.roles import Role
from skyvypack.spec.model import Spec

STATUS = """\
Package: base-files
Essential: yes
Status: install ok installed
Installed-Size: 300
Version: 1
Depends: libc

Package: libc
Status: install ok installed
Installed-Size: 1000
Version: 2.41-1

Package: web
Status: install ok installed
Installed-Size: 50
Version: 1
Pre-Depends: libc (>= 2.36)
Depends: missing | crypto-impl:any

Package: crypto
Status: install ok installed
Installed-Size: 700
Provides: crypto-impl (= 1)
Version: 1

Package: php
Status: install ok installed
Installed-Size: 20
Version: 8
Depends: web, crypto

Package: gone
Status: deinstall ok config-files
Version: 1

Package: stray
Status: install ok installed
Installed-Size: 9
Version: 1
Conffiles:
 /etc/stray 0123

Package: asked
Status: install ok installed
Version: 1
"""


def test_what_is_installed_is_read_from_dpkgs_list() -> None:
    """Removed packages do not count; a package without a size has none."""
    packages = parse(STATUS)
    assert [package.name for package in packages] == ["asked", "base-files", "crypto", "libc", "php", "stray", "web"]
    (web,) = (package for package in packages if package.name == "web")
    assert web.needs == (("libc",), ("missing", "crypto-impl"))
    assert packages[0].kib == 0


def test_a_package_counts_for_the_first_role_that_needs_it() -> None:
    """By dependencies, alternatives and provided names; what nobody asked for is told apart."""
    roles = (
        Role("web", "", Path(), packages={"web": "pages"}),
        Role("php", "", Path(), packages={"php": "code"}),
        Role("none", "", Path()),
    )
    found = sizes(parse(STATUS), Spec("a", "1", "trixie", roles), ["asked"])
    assert found == {
        DEBIAN: Size(2, 1300),
        "web": Size(2, 750),
        "php": Size(1, 20),
        "none": Size(0, 0),
        SPEC: Size(1, 0),
        REST: Size(1, 9),
    }
