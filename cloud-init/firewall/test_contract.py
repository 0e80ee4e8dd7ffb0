"""The contract of role firewall."""

import re

import pytest

SPACE = "skyvyos-contract-fw"
# The machine's address and its neighbour's, by family.
ADDRESSES = {"IPv4": ("198.51.100.5", "198.51.100.6", 30), "IPv6": ("fd5c:7::1", "fd5c:7::2", 64)}
# Sends a SYN to every port of an address and tells which answered, by SYN/ACK or by RST: what is dropped does not.
SCAN = """
import errno, select, socket, struct, sys, time
target, own, *wanted = sys.argv[1:]
six = ":" in target
family = socket.AF_INET6 if six else socket.AF_INET
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
ends = socket.inet_pton(family, own) + socket.inet_pton(family, target)
pseudo = ends + (struct.pack("!IHBB", 20, 0, 0, 6) if six else struct.pack("!BBH", 0, 6, 20))
syn = lambda port, check: struct.pack("!HHIIHHHH", 40000, port, 1, 0, 0x5002, 1024, check, 0)
data = pseudo + syn(0, 0)
base = sum(struct.unpack("!%dH" % (len(data) // 2), data))
answered = set()

def send(port):
    check = base + port
    while check >> 16:
        check = (check & 0xFFFF) + (check >> 16)
    while True:
        try:
            return raw.sendto(syn(port, ~check & 0xFFFF), (target, 0))
        except OSError as error:  # the queue of a busy machine is full
            if error.errno != errno.ENOBUFS:
                raise
            time.sleep(0.02)

def listen(seconds):
    end = time.monotonic() + seconds
    while select.select([raw], [], [], max(0, end - time.monotonic()))[0]:
        packet = raw.recv(2048)
        segment = packet if six else packet[(packet[0] & 15) * 4 :]
        if struct.unpack("!H", segment[2:4])[0] == 40000:
            answered.add(struct.unpack("!H", segment[:2])[0])

for port in range(1, 65536):
    send(port)
    if port % 512 == 0:
        listen(0)
for port in map(int, wanted):  # again: an answer may have been lost in the crowd
    send(port)
listen(2)
print(*sorted(answered))
"""


@pytest.fixture(scope="module")
def status(host):
    return host.check_output("ufw status verbose")


@pytest.mark.requirement("FW-1")
def test_ufw_is_active_and_denies_by_default(host, status, settings):
    """Active now and on boot; incoming denied, outgoing allowed."""
    assert "Status: active" in status
    assert re.search(r"^Default: deny \(incoming\), allow \(outgoing\)", status, re.M)
    assert f"Logging: {'off' if settings['logging'] == 'off' else 'on'}" in status
    assert "ENABLED=yes" in host.check_output("cat /etc/ufw/ufw.conf")
    assert host.service("ufw").is_enabled


@pytest.mark.requirement("FW-1")
def test_exactly_the_ports_asked_for_are_open(status, settings, ports):
    """Every role's port and every allowed one is open in IPv4 and IPv6, and no other."""
    wanted = {f"{port.port}/{port.protocol}" for port in ports} | set(settings["allow"])
    rules = re.findall(r"^(\S+)( \(v6\))? +(ALLOW|LIMIT) IN", status, re.M)
    assert {port for port, six, _ in rules if not six} == wanted
    assert {port for port, six, _ in rules if six} == wanted
    limited = {port for port, _, action in rules if action == "LIMIT"}
    assert limited == ({f"{port.port}/tcp" for port in ports if port.role == "ssh"} if settings["limit_ssh"] else set())


@pytest.fixture(scope="module")
def neighbour(host):
    """Another machine as the kernel sees it: a network namespace with addresses of its own. Gives what enters it."""
    script = f"""
        set -e
        ip netns add {SPACE}
        ip link add skyvyos-f0 type veth peer name skyvyos-f1 netns {SPACE}
    """
    for us, them, size in ADDRESSES.values():
        script += f"ip address add {us}/{size} dev skyvyos-f0 nodad\n"
        script += f"ip -n {SPACE} address add {them}/{size} dev skyvyos-f1 nodad\n"
    host.check_output(f"{script} ip link set skyvyos-f0 up; ip -n {SPACE} link set skyvyos-f1 up")
    host.check_output(f"cat >/run/{SPACE}.py <<'END'\n{SCAN}\nEND")
    yield f"ip netns exec {SPACE}"
    host.run(f"ip netns delete {SPACE}; ip link delete skyvyos-f0; rm -f /run/{SPACE}.py")


@pytest.mark.once
@pytest.mark.parametrize("family", ADDRESSES)
@pytest.mark.requirement("FW-1", "SVC-1")
def test_a_scan_of_every_port_finds_those_asked_for(host, neighbour, settings, ports, family):
    """Of all 65535 TCP ports, only those answer a neighbour that the roles and settings open and that are served."""
    us, them, _ = ADDRESSES[family]
    served = {port.port for port in ports if port.protocol == "tcp"}
    allowed = {int(entry.split("/")[0]) for entry in settings["allow"] if entry.endswith("/tcp")}
    words = f"python3 /run/{SPACE}.py {us} {them} {' '.join(map(str, served))}"
    found = set(map(int, host.check_output(f"{neighbour} {words}").split()))
    assert served <= found <= served | allowed


@pytest.mark.each_boot
@pytest.mark.requirement("FW-1")
def test_the_ports_asked_for_answer_from_outside(clone, ports):
    """Through the machine's own network card."""
    for port in ports:
        if port.protocol == "tcp":
            assert clone.answers(port.port), port


@pytest.mark.once
@pytest.mark.requirement("FW-1")
def test_a_port_nobody_asked_for_does_not_answer(host, clone, settings, ports):
    """A server started on another port cannot be reached from outside, while sshd's port can."""
    taken = {port.port for port in ports} | {int(entry.split("/")[0]) for entry in settings["allow"]}
    free = next(port for port in range(8200, 8300) if port not in taken)
    listening = f"ss -Hltn sport = :{free} | grep -q ."
    host.check_output(f"systemd-run --quiet --unit=skyvyos-contract python3 -m http.server {free}")
    try:
        assert host.run(f"for n in $(seq 30); do {listening} && exit 0; sleep 1; done; exit 1").rc == 0
        assert not clone.answers(free, 5)
    finally:
        host.run("systemctl stop skyvyos-contract")


@pytest.mark.requirement("FW-2")
def test_the_rules_are_in_netfilter_by_iptables(host):
    """iptables itself, IPv4 and IPv6, shows the policy and UFW's chains."""
    for tool, chain in (("iptables", "ufw-user-input"), ("ip6tables", "ufw6-user-input")):
        rules = host.check_output(f"{tool} -S")
        assert "-P INPUT DROP" in rules
        assert f"-N {chain}" in rules
