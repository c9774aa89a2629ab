"""Errors of registries and of what they hold."""

from __future__ import annotations

from envlock.errors import ConfigError, DamageError


class BadImageReference(ConfigError):
    """A text names no image in a registry."""

    code = "bad-image-reference"
    message = "`{text}` names no image: {reason}"
    hint = "write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:..., such as `registry.example/team/base:1`"

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text=text, reason=reason)


class BadDockerConfig(ConfigError):
    """docker's configuration file cannot be read. Its contents are never shown."""

    code = "bad-docker-config"
    message = "cannot read the logins in {path}: {reason}"
    hint = "fix the file, or log in again: docker login {registry}"

    def __init__(self, path: str, reason: str, registry: str) -> None:
        super().__init__(path=path, reason=reason, registry=registry)


class CredentialHelperFailed(ConfigError):
    """A credential helper of docker did not give a login. What it printed is never shown."""

    code = "credential-helper-failed"
    message = "`{program}` gave no login for {registry}: {reason}"
    details = ("{path} names this credential helper",)
    hint = "try it: echo {registry} | {program} get"

    def __init__(self, program: str, registry: str, reason: str, path: str) -> None:
        super().__init__(program=program, registry=registry, reason=reason, path=path)


class RegistryError(ConfigError):
    """A registry did not do what it was asked for."""

    message = "cannot {doing}: {reason}"

    def __init__(self, doing: str, reason: str, *, registry: str, details: tuple[str, ...] = ()) -> None:
        """`doing` is what was asked for: `push registry.example/team/base:1`."""
        super().__init__(doing=doing, reason=reason, registry=registry, details=details)
        self.reason = reason


class RegistryDenied(RegistryError):
    """A registry denied access: the login is missing or wrong, or may not do this."""

    code = "registry-denied"
    hint = "docker login {registry}, with a user who may do this"


class RegistryUnreachable(RegistryError):
    """A registry does not answer, is overloaded, or broke off."""

    code = "registry-unreachable"
    hint = (
        "check the name {registry} and the network, then run the command again; layers that arrived are not sent again"
    )


class RegistryRefused(RegistryError):
    """A registry refused a request for a reason of its own."""

    code = "registry-refused"
    hint = "check the limits and rules of {registry}, or push to another registry"


class InsecureRegistry(RegistryError):
    """A registry speaks plain HTTP, or leads to a place that does."""

    code = "insecure-registry"
    hint = (
        "have it serve https; with --insecure, envlock uses plain HTTP, which others on the network can read and change"
    )


class NoSuchImage(RegistryError):
    """A registry does not have an image."""

    code = "no-such-image"
    hint = "check the name and the tag; if the image is private: docker login {registry}"


class UnsupportedImage(RegistryError):
    """An image has a format that envlock does not know."""

    code = "unsupported-image"
    hint = "push it again with a current docker, podman or buildah, and use that image"


class ImageDamaged(DamageError):
    """What a registry sent is not what its digest says."""

    code = "image-damaged"
    message = "{registry} sent other bytes than {what}; they were not used"
    details = ("expected  {expected}", "got       {got}")
    hint = "run the command again; if the error stays, push that image again, or use another one"

    def __init__(self, registry: str, what: str, *, expected: str, got: str) -> None:
        super().__init__(registry=registry, what=what, expected=expected, got=got)


class BaseUnfit(ConfigError):
    """An image is no base for the environments that were chosen."""

    code = "unfit-base-image"
    message = "{base} cannot be the base: {reason}"
    hint = "{advice}"

    def __init__(self, base: str, reason: str, advice: str) -> None:
        super().__init__(base=base, reason=reason, advice=advice)


class NotForImage(ConfigError):
    """An environment cannot be put into an image."""

    code = "not-for-an-image"
    message = "{environment} cannot be put into an image: {reason}"
    hint = "{advice}"

    def __init__(self, environment: str, reason: str, advice: str) -> None:
        super().__init__(environment=environment, reason=reason, advice=advice)
