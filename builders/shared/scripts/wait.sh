#!/bin/sh
# Wait until cloud-init has applied the user-data, and fail with the reason when it could not.
# Run as root in the build guest. Prints what matters on lines that begin with "skyvypack:".
set -u

say() { echo "skyvypack: $*"; }

say "waiting for cloud-init"
# Not by `cloud-init status --wait`: its exit codes differ between releases, and it takes seconds under emulation.
# The result comes last. A stage that failed before it (bookworm fails its unit for one module) stops no other.
result=/run/cloud-init/result.json
while [ ! -e "$result" ] && [ ! -e /run/cloud-init/disabled ] &&
    ! systemctl -q is-failed cloud-final.service cloud-init-main.service; do
    sleep 1
done

# One line for each error, as "stage: module: message"; recoverable ones (since 23.4) carry their level.
report=$(python3 - 2>&1 <<'END'
import json, re
try:
    with open("/run/cloud-init/status.json") as file:
        stages = json.load(file)["v1"]
except (OSError, ValueError, KeyError) as error:
    print(f"error: cloud-init left no status: {error}")
    raise SystemExit
lines = {}
for stage, result in stages.items():
    if not isinstance(result, dict):
        continue
    for error in result.get("errors") or []:
        # ('scripts_user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands'))
        module = re.match(r"\('(\w+)', \w+\((.*)\)\)$", error, re.DOTALL)
        lines[f"module {module[1]}: {module[2]}" if module else error] = ("error", stage)
    for level, messages in (result.get("recoverable_errors") or {}).items():
        for message in messages:
            # An error that a module ran into; warnings and deprecations leave a working system.
            lines.setdefault(message, ("error" if level in ("ERROR", "CRITICAL") else "warning", stage))
for message, (kind, stage) in sorted(lines.items(), key=lambda item: item[1][0]):
    print(f"{kind}: {stage}: {message}")
END
)

# What scripts/apply.sh handed over must be what was applied.
handed=/var/lib/cloud/seed/nocloud/user-data
if [ -e "$handed" ] && ! cmp -s "$handed" /var/lib/cloud/instance/user-data.txt; then
    report="error: init: cloud-init took other user-data than it was handed, from another disc or service
$report"
fi

failed=
! printf '%s\n' "$report" | grep -q '^error: ' || failed=yes
if [ ! -e "$result" ]; then
    failed=yes
    report="error: cloud-init did not come to its end
$report"
fi
[ -z "$report" ] || printf '%s\n' "$report" | sed 's/^/skyvypack: /'
if [ -n "$failed" ]; then
    say "error: cloud-init failed; the end of /var/log/cloud-init-output.log:"
    # Without the noise of host keys and address tables, which come last and hide what failed.
    grep -vE '^ci-info|^[|+]|^(Generating public|Your identif|Your public|The key|SHA256:|<14>)' \
        /var/log/cloud-init-output.log | tail -n 30 | sed 's/^/skyvypack: | /'
    exit 1
fi
say "cloud-init is done"
