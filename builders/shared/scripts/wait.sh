#!/bin/sh
# Wait until cloud-init has applied the user-data, and fail with the reason when it could not.
# Run as root in the build guest. Prints what matters on lines that begin with "skyvypack:".
set -u

say() { echo "skyvypack: $*"; }

say "waiting for cloud-init"
# Exit codes: 0 done, 1 error; since 23.4 also 2, finished with recoverable errors. What is in the result counts.
cloud-init status --wait > /dev/null 2>&1
code=$?

# One line for each error, as "stage: module: message"; recoverable ones (since 23.4) carry their level.
report=$(python3 - 2>&1 <<'END'
import json, re
try:
    with open("/run/cloud-init/status.json") as file:
        stages = json.load(file)["v1"]
except (OSError, ValueError, KeyError) as error:
    print(f"error: cloud-init left no status: {error}")
    raise SystemExit
for stage, result in stages.items():
    if not isinstance(result, dict):
        continue
    for error in result.get("errors") or []:
        # ('scripts_user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands'))
        module = re.match(r"\('(\w+)', \w+\((.*)\)\)$", error, re.DOTALL)
        text = f"module {module[1]}: {module[2]}" if module else error
        print(f"error: {stage}: {text}")
    for level, messages in (result.get("recoverable_errors") or {}).items():
        for message in messages:
            # An error that a module ran into; warnings and deprecations leave a working system.
            kind = "error" if level in ("ERROR", "CRITICAL") else "warning"
            print(f"{kind}: {stage}: {message}")
END
)

failed=
[ "$code" -eq 0 ] || [ "$code" -eq 2 ] || failed=yes
case "$report" in *"error: "*) failed=yes ;; esac

[ -z "$report" ] || printf '%s\n' "$report" | sed 's/^/skyvypack: /'
if [ -n "$failed" ]; then
    say "error: cloud-init failed (exit code $code); the end of /var/log/cloud-init-output.log:"
    tail -n 30 /var/log/cloud-init-output.log 2>/dev/null | sed 's/^/skyvypack: | /'
    exit 1
fi
say "cloud-init is done"
