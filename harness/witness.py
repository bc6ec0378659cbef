"""What shows from outside that an action of somebody else's took effect: `witness` in a contract."""

from __future__ import annotations

import shlex

from pydantic import Field, field_validator, model_validator

from harness.parameters import Duration, Strict

# The variables that say where a stack is; the last is what Chaos Toolkit's public catalogue calls the second.
ADDRESSES = ("HARNESS_RUN_DIR", "SERVICE_URL", "PROMETHEUS_URL", "ALERTMANAGER_URL", "APPLICATION_ENTRYPOINT_URL")


class Witness(Strict):
    """One of three ways to look. It must see nothing before the action, something after it, and nothing in the end."""

    query: str | None = Field(None, min_length=1)  # PromQL that gives a result
    http: str | None = None  # a URL, or a path of the service, that is not answered with a status below 400
    status: int | None = Field(None, ge=100, le=599)  # of `http`: answered with this one instead
    command: str | None = None  # it exits with 0; no shell
    action: str | None = Field(None, min_length=1)  # which action of the method; else the first of somebody else's
    component: str | None = None  # which it is done to: it is over once that one's process has been replaced
    within: Duration = Field(10, gt=0)  # seconds after the action, and after the rollbacks until it is gone
    lease: Duration = Field(120, gt=0)  # after this the rollbacks are played, whatever became of the experiment

    @model_validator(mode="after")
    def _one_of(self) -> Witness:
        if [self.query, self.http, self.command].count(None) != 2:
            raise ValueError("must have one of query (PromQL), http (a URL or a path) and command")
        if self.status is not None and self.http is None:
            raise ValueError("status belongs to http")
        return self

    @field_validator("http")
    @classmethod
    def _url_or_path(cls, http: str | None) -> str | None:
        if http is not None and not http.startswith(("/", "http://", "https://")):
            raise ValueError("must be a URL, or a path of the service that begins with /")
        return http

    @field_validator("command")
    @classmethod
    def _has_a_program(cls, command: str | None) -> str | None:
        try:
            if command is None or shlex.split(command):
                return command
        except ValueError as error:
            raise ValueError(f"cannot be split into arguments: {str(error).lower()}") from None
        raise ValueError("must name a program")
