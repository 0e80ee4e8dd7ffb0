"""Registrars: put an artifact into a platform as a template, safely. See docs/architecture.md, "Registrars"."""

from __future__ import annotations

from skyvypack.registrar.contract import (
    Guest,
    Job,
    Obstacle,
    Order,
    Plan,
    PreflightFailed,
    Registrar,
    RegistrarError,
    Step,
    Template,
)
from skyvypack.registrar.find import names, routed
from skyvypack.registrar.flow import JobResult, Registration, Wishes, plan, register
from skyvypack.registrar.journal import Entry, Journal, Run
from skyvypack.registrar.upkeep import Reaped, Refusal, Retirement, describe, reap, retire

__all__ = [
    "Entry",
    "Guest",
    "Job",
    "JobResult",
    "Journal",
    "Obstacle",
    "Order",
    "Plan",
    "PreflightFailed",
    "Reaped",
    "Refusal",
    "Registrar",
    "RegistrarError",
    "Registration",
    "Retirement",
    "Run",
    "Step",
    "Template",
    "Wishes",
    "describe",
    "names",
    "plan",
    "reap",
    "register",
    "retire",
    "routed",
]
