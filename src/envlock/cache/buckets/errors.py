"""Errors of a cache in a bucket."""

from __future__ import annotations

from envlock.cache.errors import CacheSettingError, CacheUnusable


class CacheBackendMissing(CacheSettingError):
    """The library of the bucket's service is not installed, or too old."""

    code = "cache-backend-missing"

    def __init__(self, scheme: str, package: str, extra: str, floor: str, found: str = "", *, broken: str = "") -> None:
        """`found` is the installed release; `broken` is why it cannot be imported."""
        is_there = f"{package} {found} is installed" if found else "it is not installed"
        super().__init__(
            f"a cache at `{scheme}://` needs {package} {floor} or newer, but "
            + (f"the installed release cannot be imported: {broken}" if broken else is_there),
            hint=f'pip install {"--upgrade " if broken else ""}"envlock[{extra}]"',
        )


class CacheUnreachable(CacheUnusable):
    """The bucket's service does not answer, or is too busy, even after several attempts."""

    code = "cache-unreachable"
    advice = (
        "check the network, and `endpoint` in [envlock.cache-options] if it is set, then run the command again: it "
        "continues where it stopped"
    )


class CacheForbidden(CacheUnusable):
    """The bucket's service denied access: the credentials are missing or wrong, or lack a permission."""

    code = "cache-forbidden"


class CacheBucketMissing(CacheUnusable):
    """The bucket does not exist."""

    code = "cache-bucket-missing"
    advice = "create the bucket, or fix `cache` in envlock.toml"


class CacheWrongRegion(CacheUnusable):
    """The bucket is in another region."""

    code = "cache-wrong-region"
    advice = "set the bucket's region: `region` in [envlock.cache-options], or AWS_DEFAULT_REGION"


class BadCacheOption(CacheSettingError):
    """This kind of cache does not have such an option, or needs one that is missing."""

    code = "bad-cache-option"

    def __init__(self, option: str, reason: str, hint: str) -> None:
        super().__init__(f"the cache option `{option}` {reason}", hint=hint)
        self.key = ("envlock", "cache-options", option)
