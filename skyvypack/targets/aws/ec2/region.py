"""Calls to AWS: clients with deadlines, retries of what passes, and errors in words a user can act on.

botocore's standard mode repeats throttled and broken calls a few times with random pauses; what it lacks is patience
for a whole bad minute, `ConcurrentLimitExceededException`, and a look at what was answered: those are ours.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from skyvypack.errors import InputError
from skyvypack.progress import Progress, Reporter
from skyvypack.registrar import retry
from skyvypack.registrar.contract import RegistrarError
from skyvypack.registrar.find import require
from skyvypack.registrar.retry import Patience
from skyvypack.rules import nearest

CONNECT_SECONDS = 10.0
# Between two pieces of an answer, not for the whole of it; 512 KiB take less on any line worth an upload.
READ_SECONDS = 30.0
ATTEMPTS = 4
PATIENCE = Patience(seconds=120.0, first=1.0, longest=20.0)

_PASSING = frozenset(
    [
        "ConcurrentLimitExceededException",
        "EC2ThrottledException",
        "InsufficientInstanceCapacity",
        "InternalError",
        "InternalFailure",
        "InternalServerException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ServiceUnavailable",
        "SlowDown",
        "SnapshotCreationPerVolumeRateExceeded",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "Unavailable",
    ]
)
# Of a ValidationException: a write that met its own earlier try, was too slow, or was damaged on its way.
_PASSING_REASONS = frozenset(["CONFLICTING_BLOCK_UPDATE", "INVALID_BLOCK", "WRITE_REQUEST_TIMEOUT"])
_LOGIN = frozenset(
    [
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ]
)
_DENIED = frozenset(["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"])


class AwsError(RegistrarError):
    """AWS refused, or could not be reached.

    Args:
        message: the call and AWS's own words.
        hint: what mends it.
        code: AWS's word for the error, such as ``UnauthorizedOperation``; empty when there was no answer.
    """

    def __init__(self, message: str, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class _Unfit(Exception):
    """An answer that cannot be right."""


@dataclass(frozen=True)
class Region:
    """AWS in one region.

    Args:
        session: of boto3.
        name: of the region, such as ``eu-central-1``.
        progress: told of each repeated call.
        endpoint: URL of another service that speaks AWS's APIs; empty for AWS itself.
        clients: those made so far, by service.
        reached: services that have answered; the line to one of these may break for a while, any other may not exist.
    """

    session: Any
    name: str
    progress: Progress
    endpoint: str = ""
    clients: dict[str, Any] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)

    def elsewhere(self, name: str) -> Region:
        """Another region, by the same session."""
        return self if name == self.name else dataclasses.replace(self, name=name, clients={}, reached=set())

    def telling(self, report: Reporter) -> Region:
        """The same clients, telling another reporter."""
        return dataclasses.replace(self, progress=Progress(report))

    def client(self, service: str) -> Any:
        """The boto3 client of a service; safe to be used by several threads, not to be made by them."""
        if service not in self.clients:
            from botocore.config import Config

            config = Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                max_pool_connections=64,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                user_agent_extra="skyvypack",
                s3={"addressing_style": "path" if self.endpoint else "auto"},
            )
            self.clients[service] = self.session.client(
                service, region_name=self.name, endpoint_url=self.endpoint or None, config=config
            )
        return self.clients[service]

    def call(
        self,
        service: str,
        operation: str,
        *,
        fits: Callable[[Mapping[str, Any]], bool] = lambda _answer: True,
        passing: frozenset[str] = frozenset(),
        **arguments: Any,
    ) -> dict[str, Any]:
        """Call AWS, again while it fails with what passes.

        Args:
            service: as boto3 names it, such as ``ec2``.
            operation: its method, such as ``describe_images``; one that creates must take a client token, or its
                caller must find what an earlier try has made.
            fits: says whether an answer can be right; one that cannot is asked for again.
            passing: further error codes to wait out.
            arguments: of the operation.

        Raises:
            AwsError: it failed, with AWS's own words.
        """

        def once() -> dict[str, Any]:
            answer: dict[str, Any] = getattr(self.client(service), operation)(**arguments)
            self.reached.add(service)
            if not fits(answer):
                raise _Unfit("the answer does not match what was sent")
            return answer

        what = f"{service}:{camel(operation)} in {self.name}"
        try:
            return retry.call(
                once,
                transient=lambda error: _passes(error, passing, reached=service in self.reached),
                patience=PATIENCE,
                progress=self.progress,
                what=what,
            )
        except Exception as error:
            told = in_words(error, what)
            if told is None:
                raise
            if unanswered(error):
                told.hint = self._where_to_look()
            raise told from error

    def _where_to_look(self) -> str:
        """What may be wrong where nothing that is AWS answers."""
        if self.endpoint:
            return f"see whether {self.endpoint} is what `endpoint` under `targets: aws:` shall be, and is at work"
        known = {
            name
            for partition in self.session.get_available_partitions()
            for name in self.session.get_available_regions("ec2", partition_name=partition)
        }
        if self.name in known:
            return "see whether this machine reaches AWS: its network, its proxy, AWS_ENDPOINT_URL"
        return f"{self.name} is no region that boto3 knows; {nearest(self.name, known) or 'look at its name again'}"

    def pages(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Every item of a listing, page after page.

        Args:
            service: as for `call`.
            operation: as for `call`.
            key: of the answer that holds the items.
            arguments: of the operation.
        """
        token: dict[str, Any] = {}
        while True:
            answer = self.call(service, operation, **arguments, **token)
            yield from answer.get(key, ())
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}


def code_of(error: BaseException) -> str:
    """AWS's word for an error; empty when it is not AWS's."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _passes(error: BaseException, passing: frozenset[str], *, reached: bool) -> bool:
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        reason = error.response.get("Reason")
        return code_of(error) in _PASSING | passing or reason in _PASSING_REASONS or status >= 500
    # A certificate that is not trusted is no more so the next time.
    if isinstance(error, exceptions.SSLError):
        return False
    broken = isinstance(error, exceptions.HTTPClientError) or (
        reached and isinstance(error, exceptions.ConnectionError)
    )
    # A page in place of an answer is a proxy's or a load balancer's.
    return broken or isinstance(error, _Unfit | ResponseParserError)


def unanswered(error: BaseException | None) -> bool:
    """Whether it is of boto3, and says that nobody answered, or somebody who is not AWS."""
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    kinds = (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.InvalidRegionError, ResponseParserError)
    return isinstance(error, kinds)


def in_words(error: BaseException, what: str) -> AwsError | None:
    """An error of boto3 as ours; None when it is neither boto3's nor about an answer.

    Args:
        error: as it was raised.
        what: was tried.
    """
    from boto3.exceptions import Boto3Error
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, exceptions.ClientError):
        code = code_of(error)
        return AwsError(f"{what}: {error.response['Error'].get('Message') or code} ({code})", _hint(code), code)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return AwsError(f"{what}: {error}", "set AWS_PROFILE or AWS_ACCESS_KEY_ID, or log in")
    if isinstance(error, exceptions.SSOError | exceptions.TokenRetrievalError | exceptions.CredentialRetrievalError):
        return AwsError(f"{what}: {error}", "log in again (as by aws sso login), then run the same command")
    if isinstance(error, exceptions.BotoCoreError | Boto3Error | ResponseParserError | _Unfit):
        return AwsError(f"{what}: {error}")
    return None


def _hint(code: str) -> str:
    if code in _LOGIN:
        return "the credentials are wrong or have expired: log in again, then run the same command"
    if code in _DENIED:
        return "skyvypack register --target aws --dry-run prints the policy that allows all that is needed"
    return ""


def camel(operation: str) -> str:
    """AWS's name of an operation: ``RegisterImage`` of boto3's ``register_image``."""
    return "".join(part.capitalize() for part in operation.split("_"))


def connect(settings: Mapping[str, Any], progress: Progress) -> Region:
    """The region that a spec's settings of the target aws name; talks to nobody but the role's STS, and that later.

    Args:
        settings: complete.
        progress: told of each repeated call.

    Raises:
        InputError: no region is named, the profile does not exist, or AWS's configuration cannot be read.
        ToolMissing: boto3 is not installed.
    """
    require("aws", "boto3")
    import boto3
    from botocore import exceptions

    # At DEBUG it tells whole requests and answers: a disk's blocks, user-data, and the keys that STS hands out.
    logger = logging.getLogger("botocore")
    logger.setLevel(max(logger.level, logging.INFO))
    try:
        session = boto3.Session(profile_name=settings["profile"] or None)
        # boto3 itself knows AWS_DEFAULT_REGION only; every other tool of AWS takes both.
        name = settings["region"] or os.environ.get("AWS_REGION") or session.region_name
    except exceptions.ProfileNotFound as error:
        place = "`profile` under `targets: aws:`" if settings["profile"] else "AWS_PROFILE"
        raise InputError(str(error), f"set {place} to one of ~/.aws/config") from error
    except exceptions.ConfigParseError as error:
        raise InputError(str(error), "mend that file: it says how AWS is reached, for all of AWS's tools") from error
    if not name:
        raise InputError("no region: neither the spec nor AWS's configuration names one", "set AWS_REGION")
    if settings["role_arn"]:
        session = _in_role(session, settings, name)
    return Region(session, name, progress, settings["endpoint"])


def _in_role(session: Any, settings: Mapping[str, Any], region: str) -> Any:
    """A session in another role, whose credentials renew themselves during a long upload."""
    import boto3
    import botocore.session
    from botocore import credentials

    fetcher = credentials.AssumeRoleCredentialFetcher(
        client_creator=partial(
            session._session.create_client, region_name=region, endpoint_url=settings["endpoint"] or None
        ),
        source_credentials=session.get_credentials(),
        role_arn=settings["role_arn"],
        extra_args={"RoleSessionName": "skyvypack"},
    )
    inner = botocore.session.get_session()
    inner._credentials = credentials.DeferredRefreshableCredentials(
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )
    return boto3.Session(botocore_session=inner, region_name=region)
