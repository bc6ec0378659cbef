"""How service.yaml says who asks and whom to trust: a secret by the file or the variable it is in, never itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from harness.checks.parameters import Strict

ELSEWHERE = "must be {from_file: PATH} or {env: NAME}: a secret is not written into this file"


def _elsewhere(value: Any) -> Any:
    """Refuse a secret that is written in place, without quoting it."""
    if value is not None and not isinstance(value, dict):
        raise ValueError(ELSEWHERE)
    return value


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class SecretSource(Strict):
    """Where a secret is: a file beside service.yaml or in {state}, or an environment variable of the harness."""

    from_file: str | None = None
    env: EnvName | None = None

    @model_validator(mode="after")
    def _one_of(self) -> SecretSource:
        if (self.from_file is None) == (self.env is None):
            raise ValueError(ELSEWHERE)
        return self


class BasicSource(SecretSource):
    """A user, and where the password is."""

    user: str = Field(pattern="^[^:]+$")


class HeaderSource(SecretSource):
    """The name of a header, and where its value is."""

    name: HeaderName


Secret = Annotated[SecretSource, BeforeValidator(_elsewhere)]
Basic = Annotated[BasicSource, BeforeValidator(_elsewhere)]
Header = Annotated[HeaderSource, BeforeValidator(_elsewhere)]


class Access(Strict):
    """How requests, or scrapes, get in."""

    scheme: Literal["http", "https"] = "http"
    bearer: Secret | None = None
    basic: Basic | None = None
    header: Header | None = None
    ca: str | None = None  # whose certificates to trust instead of the system's authorities
    insecure: bool = False  # trust any certificate
    client_cert: str | None = None
    client_key: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Access:
        if [self.bearer, self.basic, self.header].count(None) < 2:
            raise ValueError("must have one of bearer, basic and header at most")
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key belong together")
        if self.ca is not None and self.insecure:
            raise ValueError("must have one of ca and insecure at most")
        if self.scheme == "http" and (self.ca or self.insecure or self.client_cert):
            raise ValueError("ca, insecure and client_cert need scheme: https")
        return self
