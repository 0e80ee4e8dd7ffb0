"""Deploy a clone of the newest template: ``python examples/deploy_vsphere.py web.yaml web1 ~/.ssh/id_ed25519.pub``.

Reads VSPHERE_PASSWORD, and VSPHERE_SERVER and VSPHERE_USER unless the spec names them.
"""

import sys
from pathlib import Path

import skyvypack
from skyvypack import cloudinit
from skyvypack.errors import SkyvypackError
from skyvypack.progress import Progress
from skyvypack.registrar import RegistrarError
from skyvypack.spec.model import User
from skyvypack.targets import first_boot_settings
from skyvypack.targets.vsphere import registrar
from skyvypack.targets.vsphere.vcenter import machines
from skyvypack.targets.vsphere.vcenter.inventory import machine, where
from skyvypack.targets.vsphere.vcenter.session import Session


def deploy(file: str, hostname: str, key: Path) -> str:
    """Clone the newest template of a spec and boot it; returns its address."""
    spec = skyvypack.load(file)
    settings = spec.target_settings("vsphere")
    admin = User("admin", ssh_authorized_keys=(key.read_text().strip(),), sudo=True)
    user_data = cloudinit.first_boot_user_data(spec, hostname=hostname, users=[admin], target="vsphere")
    with registrar.connect(settings, Progress()) as vsphere:
        templates = vsphere.describe(spec.name)
    if not templates:
        raise RegistrarError(f"there is no template of {spec.name}", "bake one: skyvypack bake --target vsphere")
    session = Session(registrar.login(settings), Progress())
    try:
        options = first_boot_settings("vsphere", user_data, hostname) or {}
        template = machine(session, templates[0].id)
        clone = machines.clone(session, template, where(session, settings), hostname, options, lambda: None)
        return machines.boot(session, clone)
    finally:
        session.close()


if __name__ == "__main__":
    try:
        print(deploy(sys.argv[1], sys.argv[2], Path(sys.argv[3]).expanduser()))
    except SkyvypackError as error:
        sys.exit(str(error))
