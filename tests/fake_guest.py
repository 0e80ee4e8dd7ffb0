"""QEMU, ssh and what makes a seed, as shell scripts: a guest that lives as long as a test needs it."""

import sys

TABLE = """Hub 0 (net0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   20        10.0.2.15    22       10.0.2.2 50123     0     0
  TCP[SYN_SENT]      21        10.0.2.15    83       10.0.2.2 50124     0     0
  TCP[HOST_FORWARD]  14        127.0.0.1 40022      10.0.2.15    22     0     0
  UDP[236 sec]       15        10.0.2.15 44000       10.0.2.3    53     0     0
"""
ENDS = ("quit", "system_powerdown")

# Takes QEMU's place: its console prints what CONSOLE says, and its monitor knows one forward.
QEMU = """
import json, os, pathlib, socket
pathlib.Path("pid").write_text(str(os.getpid()))
pathlib.Path("console.log").open("a").write(CONSOLE)
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind("qmp")
    listener.listen()
    while True:
        channel, _ = listener.accept()
        with channel, channel.makefile("rw") as stream:
            print("{}", file=stream, flush=True)
            for line in stream:
                command = json.loads(line)["execute"]
                answer = TABLE if command == "human-monitor-command" else {}
                print(json.dumps({"return": answer}), file=stream, flush=True)
                if command in ENDS:
                    os._exit(0)
"""

# Takes ssh's place: lets us in unless the guest has panicked, and counts the reboots.
SSH = """
case "$*" in
*-M*) grep -qs "Kernel panic" console.log || touch control; exec sleep 60 ;;
*reboot*) rm -f control; echo more >> boots; kill $(cat pid) ;;
*is-system-running*) echo running ;;
*) exit 7 ;;
esac
"""


def install(folder, fake_tool, *, console="", ssh=SSH, ends=ENDS, qemu=QEMU):
    """Put the fakes first on PATH.

    Args:
        folder: where the fake QEMU's program is written.
        fake_tool: the fixture.
        console: what the guest prints.
        ssh: shell script in place of ssh.
        ends: the monitor's commands that end QEMU.
        qemu: Python program in place of QEMU.
    """
    script = folder / "qemu.py"
    script.write_text(f"CONSOLE = {console!r}\nTABLE = {TABLE!r}\nENDS = {ends!r}\n{qemu}")
    fake_tool("qemu-system-x86_64", f'exec {sys.executable} {script} "$@"')
    fake_tool("qemu-img", """echo '{"format": "qcow2", "virtual-size": 1073741824}'""")
    fake_tool("ssh", ssh)
    fake_tool("xorriso", 'while [ "$1" != -output ]; do shift; done; echo iso > "$2"')
    fake_tool("ssh-keygen", 'for last; do :; done; echo private > "$last"; echo ssh-ed25519 AAAA > "$last.pub"')
