"""The contract of role nginx."""

import socket
import ssl
import struct

import pytest

# A whole configuration that uses each snippet the way its comment says.
EVERY_SNIPPET = """
events {}
http {
    map $http_upgrade $skyvyos_connection { default upgrade; "" ""; }
    upstream backend {
        include /etc/nginx/snippets/skyvyos-balance.conf;
        server 10.0.0.11:80 max_fails=3 fail_timeout=10s;
        server 10.0.0.12:80 max_fails=3 fail_timeout=10s;
    }
    server {
        listen 127.0.0.1:8089;
        root /srv/www;
        location /a { include /etc/nginx/snippets/skyvyos-proxy.conf; proxy_pass http://127.0.0.1:3000; }
        location /b { include /etc/nginx/snippets/skyvyos-proxy.conf; proxy_pass http://backend; }
        include /etc/nginx/snippets/skyvyos-php.conf;
    }
}
"""


@pytest.mark.requirement("NGX-1", "SRV-1")
def test_nginx_is_up_with_a_worker_for_each_cpu(host, settings):
    """The service runs, its configuration is valid, and there are as many workers as CPUs."""
    assert host.service("nginx").is_running
    dump = host.check_output("nginx -T 2>/dev/null")
    assert "worker_processes auto;" in dump
    assert f"worker_connections {settings['worker_connections']};" in dump
    assert f"client_max_body_size {settings['client_max_body_size']};" in dump
    assert f"server_name {settings['server_name']};" in dump
    workers, cpus = host.check_output("pgrep -fc '^nginx: worker'; nproc").split()
    assert workers == cpus


@pytest.mark.requirement("NGX-1")
def test_pages_of_srv_www_are_served_and_logged(host, settings):
    """A file put in /srv/www with a login's umask is served over HTTP and HTTPS, and logged."""
    page = "/srv/www/skyvyos-contract.txt"
    request = "printf 'GET /skyvyos-contract.txt HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n'"
    # Not Python, which loads its libraries for two seconds on an emulated machine.
    script = f"""
        trap 'rm -f {page}' EXIT
        umask 027
        echo fresh >{page}
        {request} | openssl s_client -quiet -connect 127.0.0.1:443 2>/dev/null
        echo =====
        bash -c "exec 3<>/dev/tcp/127.0.0.1/80; {request} >&3; cat <&3"
        echo =====
        tail -n 5 /var/log/nginx/access.log
    """
    https, http, log = host.check_output(script).replace("\r\n", "\n").split("=====\n")
    for answer in [https] if settings["redirect_to_https"] else [https, http]:
        head, _, body = answer.partition("\n\n")
        assert " 200 " in head.splitlines()[0]
        assert body == "fresh\n"
    assert "skyvyos-contract.txt" in log
    assert host.file("/var/log/nginx/error.log").exists


def get_by_http_2(door, name, path):
    """The body of a page, asked for over HTTP/2 (RFC 9113) with a header block of literals (RFC 7541)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    fields = b"\x82\x87" + b"".join(bytes([at, len(text)]) + text.encode() for at, text in ((4, path), (1, name)))
    frame = lambda kind, flags, stream, load: struct.pack("!IBI", len(load) << 8 | kind, flags, stream) + load  # noqa: E731
    with socket.create_connection(door, 60) as plain, context.wrap_socket(plain) as channel:
        assert channel.selected_alpn_protocol() == "h2"
        channel.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 5, 1, fields))
        stream, body = channel.makefile("rb"), b""
        while head := stream.read(9):
            size, flags = struct.unpack("!I", b"\0" + head[:3])[0], head[4]
            load = stream.read(size)
            if head[3] == 0:
                body += load
                if flags & 1:
                    return body.decode()
    return body.decode()


@pytest.mark.requirement("NGX-1")
def test_a_static_page_is_served_over_http_2_to_the_outside(host, clone):
    """A client on another machine gets the file, over HTTP/2 and TLS."""
    page = "/srv/www/skyvyos-contract-2.txt"
    host.check_output(f"umask 027; echo over HTTP/2 >{page}")
    try:
        assert get_by_http_2(clone.door(443), "localhost", "/skyvyos-contract-2.txt") == "over HTTP/2\n"
    finally:
        host.run(f"rm -f {page}")


@pytest.mark.requirement("NGX-1")
def test_tls_is_1_2_or_1_3_with_http_2(host, settings):
    """TLS 1.2 (unless the settings are modern) and 1.3 connect and agree on HTTP/2; TLS 1.1 is refused."""

    def talk(options):
        # What HTTP/2 answers is no text.
        client = f"openssl s_client -connect 127.0.0.1:443 {options} -alpn h2 </dev/null 2>/dev/null"
        return host.run(f"{client} | grep -aE '^(ALPN|New, )'").stdout

    assert "ALPN protocol: h2" in talk("-tls1_3")
    assert ("ALPN protocol: h2" in talk("-tls1_2")) == (settings["tls"] == "intermediate")
    # Level 0, or this machine's own OpenSSL would refuse before it asks.
    assert "Cipher is (NONE)" in talk("-tls1_1 -cipher DEFAULT@SECLEVEL=0")


@pytest.mark.each_boot
@pytest.mark.requirement("NGX-1", "BAS-7")
def test_the_first_certificate_is_of_this_machine(host):
    """It was made on first boot for the machine's name, and only root reads its key."""
    script = """
        openssl x509 -in /etc/nginx/tls/first.crt -noout -checkhost $(hostname)
        stat -c '%a %U' /etc/nginx/tls/first.key
        stat -c %Y /etc/nginx/tls/first.key /etc/machine-id
    """
    match, key, *times = host.check_output(script).splitlines()
    assert "does match" in match
    assert key == "600 root"
    assert abs(int(times[0]) - int(times[1])) < 3600


@pytest.mark.once
@pytest.mark.requirement("NGX-2")
def test_each_snippet_works(host):
    """nginx accepts a configuration with reverse proxy, load balancing and PHP."""
    host.check_output(f"cat >/run/skyvyos-contract.conf <<'END'\n{EVERY_SNIPPET}\nEND")
    assert host.run("nginx -t -c /run/skyvyos-contract.conf; rc=$?; rm /run/skyvyos-contract.conf; exit $rc").rc == 0


@pytest.mark.requirement("NGX-1", "LOG-2")
def test_logs_are_rotated_daily_for_four_weeks(host, roles):
    """nginx's own logs follow the role logging, or four weeks without it."""
    weeks = roles.get("logging", {}).get("weeks", 4)
    lines = {line.strip() for line in host.file("/etc/logrotate.d/nginx").content_string.splitlines()}
    assert {"daily", "compress", f"rotate {weeks * 7}"} <= lines


@pytest.mark.requirement("RES-3")
def test_nginx_outlives_a_shortage_of_memory(host):
    """The OOM killer looks for another victim."""
    assert int(host.check_output("systemctl show -P OOMScoreAdjust nginx.service")) < 0
