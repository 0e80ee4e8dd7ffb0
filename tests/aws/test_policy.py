"""The least policy: it allows all that is done, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aws.conftest import Asked
from aws.orders import ALIEN, at_work, jobs_done

from skyvypack.targets.aws.ec2 import policy

pytestmark = pytest.mark.tool

# What botocore calls an operation and what IAM calls the right to it, where they differ.
RIGHTS = {
    "CreateTags": "ec2",
    "GetParametersByPath": "ssm",
    "PutParameter": "ssm",
    "StartSnapshot": "ebs",
    "PutSnapshotBlock": "ebs",
    "CompleteSnapshot": "ebs",
    "ListAccountAliases": "iam",
    "GetServiceQuota": "servicequotas",
    "DescribeAutoScalingGroups": "autoscaling",
    "DescribeLaunchConfigurations": "autoscaling",
    "DescribeKey": "kms",
}


def test_the_policy_allows_all_that_is_done(made_of: Any, asked: Asked) -> None:
    """Every request of preflight, registration, verification, jobs, channels and retirement is in the policy."""
    order = made_of(regions=["eu-west-1"], users=[ALIEN])
    with at_work(order, []) as (registrar, run):
        assert list(registrar.preflight(order)) == []
        template = registrar.register(order, run)
        with run.temporary():
            registrar.boot(template, "#cloud-config\n{}\n", run)
        template = registrar.confirm(template)
        run.finish()
    jobs_done(order, template)
    with at_work(order, []) as (registrar, run):
        registrar.point(template, "stable")
        registrar.in_use(template)
        registrar.retire(template, run)
    allowed = json.loads(policy.text(order.settings, "web"))
    actions = {action for statement in allowed["Statement"] for action in statement["Action"]}
    # Everybody may ask who they are.
    used = {f"{RIGHTS.get(name, 'ec2')}:{name}" for name, _ in asked} - {"ec2:GetCallerIdentity"}
    assert used - actions == set()
    # And what it allows is used, but for what only these settings, or a broken run, have no use for.
    assert actions - used <= {"ec2:DescribeSubnets", "ec2:DescribeLaunchTemplateVersions"}


def test_the_policy_says_what_may_be_removed(made_of: Any) -> None:
    """Removing, ending and sharing are bound to the template's tag; channels to its own path."""
    statements = {one["Sid"]: one for one in policy.needed(made_of(encrypt=True).settings, "web")["Statement"]}
    assert statements["ChangeOurs"]["Condition"] == {"StringEquals": {"aws:ResourceTag/skyvypack:name": "web"}}
    assert statements["Channels"]["Resource"][0].endswith(":parameter/skyvypack/web")
    assert "kms:CreateGrant" in statements["Keys"]["Action"]


def test_the_policy_follows_the_settings(made_of: Any) -> None:
    """A right is in it when a setting asks for what needs it."""

    def actions(**settings: Any) -> set[str]:
        statements = policy.needed(made_of(**settings).settings, "web")["Statement"]
        return {action for one in statements for action in one["Action"]}

    plain = actions()
    assert actions(deprecate_after=30) - plain == {"ec2:EnableImageDeprecation", "ec2:DisableImageDeprecation"}
    assert actions(deprecate_at="2027-01-01T00:00:00Z") - plain == {"ec2:EnableImageDeprecation"}
    assert actions(protect=True) - plain == {"ec2:EnableImageDeregistrationProtection"}
    assert "s3:PutObject" in actions(upload="s3", bucket="images")


def test_the_policy_of_the_documents_is_current(made_of: Any) -> None:
    """docs/how-to/aws-policy.json is what the library says for default settings."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "aws-policy.json"
    assert json.loads(page.read_text()) == policy.needed(made_of().settings, "web")
