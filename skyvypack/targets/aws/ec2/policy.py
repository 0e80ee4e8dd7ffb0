"""The least that a registration needs to be allowed, as an IAM policy made from a spec's settings.

Actions, resources and condition keys: AWS's service authorization reference for EC2, EBS, Systems Manager and KMS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from skyvypack.targets.aws.ec2 import channels, marks

READING = (
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeLaunchConfigurations",
    "ec2:DescribeImages",
    "ec2:DescribeInstances",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeRegions",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSnapshots",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "iam:ListAccountAliases",
    "servicequotas:GetServiceQuota",
)
DIRECT = ("ebs:CompleteSnapshot", "ebs:PutSnapshotBlock", "ebs:StartSnapshot")
BY_S3 = ("ec2:CancelImportTask", "ec2:DescribeImportSnapshotTasks", "ec2:ImportSnapshot")
MAKING = (
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CopyImage",
    "ec2:CreateSecurityGroup",
    "ec2:CreateTags",
    "ec2:RegisterImage",
    "ec2:RunInstances",
)
OURS = (
    "ec2:DeleteSecurityGroup",
    "ec2:DeleteSnapshot",
    "ec2:DeregisterImage",
    "ec2:TerminateInstances",
)
SHARING = ("ec2:ModifyImageAttribute", "ec2:ModifySnapshotAttribute")


def needed(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The policy.

    Args:
        settings: of the target.
        name: of the template: what carries another's tag can be neither removed nor shared.
    """
    tagged = {"StringEquals": {f"aws:ResourceTag/{marks.PREFIX}name": name}}
    sharing = settings["users"] or settings["organizations"] or settings["public"]
    extras = [
        *(["ec2:EnableImageDeprecation"] if settings["deprecate_at"] or settings["deprecate_after"] else []),
        *(["ec2:DisableImageDeprecation"] if settings["deprecate_after"] else []),
        *(["ec2:EnableImageDeregistrationProtection"] if settings["protect"] else []),
    ]
    by_s3 = settings["upload"] == "s3"
    path = f"arn:*:ssm:*:*:parameter{channels.ROOT}/{name}"
    statements = [
        _allow("Look", READING + (("ec2:GetImageBlockPublicAccessState",) if settings["public"] else ())),
        _allow("Send", BY_S3) if by_s3 else _allow("Send", DIRECT, "arn:*:ec2:*::snapshot/*"),
        _allow("Make", MAKING),
        _allow("ChangeOurs", OURS + (SHARING if sharing else ()) + tuple(extras), condition=tagged),
        _allow("Channels", ("ssm:GetParametersByPath", "ssm:PutParameter"), path, f"{path}/*"),
    ]
    if by_s3:
        bucket = f"arn:*:s3:::{settings['bucket']}"
        statements.append(_allow("Bucket", ("s3:GetBucketLocation",), bucket))
        objects = ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject")
        statements.append(_allow("Objects", objects, f"{bucket}/skyvypack/*"))
    if settings["encrypt"]:
        uses = ("CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey*", "ReEncrypt*")
        statements.append(_allow("Keys", tuple(f"kms:{use}" for use in uses)))
    if settings["access"] == "ssm":
        statements.append(_allow("Run", ("ssm:GetCommandInvocation", "ssm:SendCommand")))
    if settings["instance_profile"]:
        statements.append(_allow("Profile", ("iam:PassRole",), "arn:*:iam::*:role/*"))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(sid: str, actions: tuple[str, ...], *resources: str, condition: Mapping[str, Any] | None = None) -> Any:
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": sorted(actions)}
    statement["Resource"] = list(resources) or "*"
    return statement | ({"Condition": condition} if condition else {})


def text(settings: Mapping[str, Any], name: str) -> str:
    """The policy as JSON, ready for ``aws iam create-policy``."""
    return json.dumps(needed(settings, name), indent=2)
