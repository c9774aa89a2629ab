"""Print what is stale, a line each: `python stale.py [envlock.toml]`. Exits as `envlock check` does."""

from __future__ import annotations

import sys

import envlock


def main(path: str | None = None) -> int:
    """Check the project of this envlock.toml, or of the working folder."""
    result = envlock.check(envlock.load_project(path))
    for finding in result.findings:
        what = finding.environment or str(finding.location)
        print(what, finding.arch, finding.verdict.words, *finding.reasons, sep=" | ")
    return result.exit_status


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:2]))
    except envlock.EnvlockError as error:
        print(error.render(), file=sys.stderr)
        sys.exit(error.exit_status)
