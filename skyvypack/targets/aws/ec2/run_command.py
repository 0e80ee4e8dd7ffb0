"""Scripts on an instance by Systems Manager's Run Command, for instances that no SSH reaches.

The instance needs Amazon's SSM Agent and an instance profile that lets it work. Facts: the reference of SendCommand,
GetCommandInvocation and the document AWS-RunShellScript, which runs what it is given as root, keeps the first 24,000
characters of what that prints, and fills in what stands between double braces.
"""

from __future__ import annotations

import base64
import gzip
import secrets

from skyvypack.registrar import retry
from skyvypack.registrar.contract import Executed
from skyvypack.targets.aws.ec2.region import AwsError, Region

DOCUMENT = "AWS-RunShellScript"
PAUSE = 1.0
# Characters of an answer that are fetched at once.
PIECE = 20_000
# Seconds in which an agent that is there takes a command up; the least that SendCommand allows.
TAKEN_UP = 30
_UNDER_WAY = frozenset(["Pending", "InProgress", "Delayed", "Cancelling"])
# A command is unknown to some servers for a moment after it was sent.
_NOT_YET = frozenset(["InvocationDoesNotExist"])
# It runs once however often it is sent, as an answer of SendCommand can be lost; and its answer can be read piece by
# piece. Encoded, because of double braces.
_WRAPPED = """\
umask 077
d=/run/skyvypack-{key}
if mkdir "$d"; then
    echo {script} | base64 -d | gunzip > "$d/script"
    sh "$d/script" < /dev/null > "$d/out" 2> "$d/err"
    echo "$? $(wc -c < "$d/out")" > "$d/code"
    cat "$d/code" "$d/out" "$d/err" | gzip -c | base64 -w 0 > "$d/new"
    rm "$d/script" "$d/out" "$d/err" "$d/code"
    mv "$d/new" "$d/answer"
fi 2> /dev/null
while [ ! -e "$d/answer" ]; do sleep 0.2; done
wc -c < "$d/answer"
tail -c +{begin} "$d/answer" | head -c {piece}
"""


def execute(region: Region, instance: str, script: str, seconds: float) -> Executed:
    """Run a shell script on an instance, as root.

    Args:
        region: where the instance is.
        instance: its id.
        script: for sh.
        seconds: it may take, once it has begun.

    Raises:
        AwsError: SSM refused, or the agent did not take it up or ended it.
        RegistrarError: no answer came in time.
    """
    packed = base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()
    key, answer, size = secrets.token_hex(8), "", 1
    while len(answer) < size:
        wrapped = _WRAPPED.format(key=key, script=packed, begin=len(answer) + 1, piece=PIECE)
        told, _, piece = _run(region, instance, wrapped, seconds).partition("\n")
        if not told.strip().isdigit() or not piece:
            raise AwsError(f"the agent on {instance} told {told[:80]!r}, and not how much there is to tell")
        size, answer = int(told), answer + piece.strip()
    whole = gzip.decompress(base64.b64decode(answer))
    head, _, rest = whole.partition(b"\n")
    code, length = map(int, head.split())
    return Executed(code, rest[:length], rest[length:])


def _run(region: Region, instance: str, script: str, seconds: float) -> str:
    """What a script that ends well prints."""
    sent = region.call(
        "ssm",
        "send_command",
        InstanceIds=[instance],
        DocumentName=DOCUMENT,
        Comment="skyvypack: verification of an AMI",
        TimeoutSeconds=TAKEN_UP,
        Parameters={"commands": script.splitlines(), "executionTimeout": [str(max(round(seconds), 1))]},
    )
    asked = {"CommandId": sent["Command"]["CommandId"], "InstanceId": instance}

    def ended() -> str | None:
        found = region.call("ssm", "get_command_invocation", passing=_NOT_YET, **asked)
        if found["Status"] in _UNDER_WAY:
            return None
        if found["Status"] != "Success":
            why = found.get("StandardErrorContent") or found.get("StatusDetails", "")
            raise AwsError(f"{instance}: the command ended as {found['Status']}: {why}", code=found["Status"])
        return str(found["StandardOutputContent"])

    return retry.until(ended, seconds=seconds + TAKEN_UP, pause=PAUSE, what=f"the answer of {instance}")
