"""`envlock verify`: compare the environments on this machine with what was installed."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from envlock.cli.command import CommandLine, Flag, command
from envlock.cli.errors import BadUsage
from envlock.cli.options import ARCHS, CONFIG, ENVS, FLOWS, JSON, STEPS, open_project, selection
from envlock.errors import DamageError, one_line
from envlock.words import count, short_hashes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envlock.hydration.verify import PrefixFinding
    from envlock.workflow.verify import VerifiedEnvironment, VerifyResult
    from envlock.workflow.verify_packs import PacksVerified, VerifiedPack

_UNEXPECTED = Flag("--unexpected", "Also report modules and activation scripts that belong to no package.")
_PACK = Flag("--pack", "Compare the packs in the cache with what their locks make, instead of environments.")
_DOWNLOAD = Flag("--download", "With --pack: also read the parts of each pack, and name the files that differ.")
_FILES_SHOWN = 5
_OF_FILES = {"changed", "missing", "unexpected"}  # their reasons are in the JSON: hashes tell a person little


@command(
    FLOWS,
    STEPS,
    ENVS,
    ARCHS,
    _UNEXPECTED,
    _PACK,
    _DOWNLOAD,
    JSON,
    CONFIG,
    epilog="Exit status: 0 all is as installed, or as its lock makes it, or nothing is there; 3 something is damaged.",
)
def verify(line: CommandLine) -> int:
    """Compare the environments on this machine with what was installed, file by file.

    Names the package of each missing or modified file, and the command that creates the environment again. Writes
    nothing and does not use the network. Ignores bytecode that Python wrote later.

    With `--pack`, makes the packs in the cache again from their locks, for every Linux arch or those of `--arch`, and
    compares them: so you need not trust who made them.

    For example:

    - `envlock verify`
    - `envlock verify --flow TrainFlow --step train`
    - `envlock verify --pack --download`
    """
    if line.has(_PACK):
        return _verify_packs(line)
    if line.has(_DOWNLOAD) or line.values(ARCHS):
        raise BadUsage("`--download` and `--arch` go with `--pack`", "envlock verify")
    from envlock.cli.console import say, write, write_err, write_json
    from envlock.cli.progress import LiveReporter
    from envlock.workflow.verify import verify as verify_environments

    project = open_project(line)
    with LiveReporter() as reporter:
        result = verify_environments(project, selection(line), reporter, unexpected=line.has(_UNEXPECTED))
    status = DamageError.exit_status if result.damaged else 0
    if line.has(JSON):
        write_json(as_document(result, status))
        return status
    for environment in result.damaged:
        write("\n".join(map(one_line, damage_lines(environment))))
    (write if status else say)(one_line(summary(result)))
    for note in _notes(result):
        write_err(one_line(note))
    return status


def _verify_packs(line: CommandLine) -> int:
    from envlock.cli.console import say, write, write_err, write_json
    from envlock.cli.progress import LiveReporter
    from envlock.errors import as_one
    from envlock.workflow.verify_packs import verify_packs

    if line.has(_UNEXPECTED):
        raise BadUsage("`--pack` and `--unexpected` exclude each other", "envlock verify")
    project = open_project(line)
    with LiveReporter() as reporter:
        result = verify_packs(project, selection(line), reporter, download=line.has(_DOWNLOAD))
    status = max(DamageError.exit_status if result.wrong else 0, *(error.exit_status for error in result.failures), 0)
    if line.has(JSON):
        write_json(packs_document(result, status))
        return status
    for pack in result.wrong:
        write("\n".join(map(one_line, pack_lines(pack))))
    (write if result.wrong else say)(one_line(packs_summary(result)))
    if result.absent:
        write_err(one_line(f"note: no pack in the cache: {', '.join(result.absent)}"))
    if result.unlocked:
        write_err(one_line(f"note: not locked, so not verified (see `envlock check`): {', '.join(result.unlocked)}"))
    if result.failures:
        raise as_one(result.failures)
    return status


def pack_lines(pack: VerifiedPack) -> Iterator[str]:
    """What is wrong with one pack, and the command that makes it again."""
    is_made = pack.raw == pack.pack.raw and not pack.other  # the plan is right, and parts are missing or damaged
    verdict = "damaged" if is_made else "not what its lock makes"
    yield f"{verdict}: the pack of {', '.join(pack.names)} on {pack.lock.arch}"
    for path, reason in pack.damaged:
        yield short_hashes(f"  {path}: {reason}")
    for name in pack.other[:_FILES_SHOWN]:
        yield f"  differs: {name}"
    hidden = len(pack.other) - _FILES_SHOWN
    if hidden > 0:
        yield f"  and {hidden} more"
    if not is_made:
        yield f"  raw digest in the plan: {pack.pack.raw[:12]}"
        yield f"  raw digest made again:  {pack.raw[:12]}"
    yield "  repair: envlock push --pack --verify"
    yield ""


def packs_summary(result: PacksVerified) -> str:
    """How many packs were compared, in one line."""
    if not result.verified:
        return "nothing to verify: no environment has a pack in the cache"
    packs = count(len(result.verified), "pack")
    if result.wrong:
        return f"verified {packs}: {count(len(result.wrong), 'is wrong', 'are wrong')}"
    raw = "" if len(result.verified) > 1 else f" (raw digest {result.verified[0].raw})"
    return f"verified {packs}: each is what its lock makes{raw}"


def packs_document(result: PacksVerified, status: int) -> dict[str, object]:
    """The packs, for `--json`."""
    return {
        "exit_status": status,
        "packs": [
            {
                "names": list(each.names),
                "identity": each.lock.identity,
                "arch": each.lock.arch,
                "compiler": each.pack.compiler,
                "parts": len(each.pack.parts),
                "raw": each.pack.raw,
                "made": each.raw,
                "right": each.is_right,
                "differs": list(each.other),
                "damaged": [{"path": path, "reason": reason} for path, reason in each.damaged],
            }
            for each in result.verified
        ],
        "absent": list(result.absent),
        "unlocked": list(result.unlocked),
        "errors": [error.as_dict() for error in result.failures],
    }


def damage_lines(environment: VerifiedEnvironment) -> Iterator[str]:
    """The findings in one environment, by package, and the command that repairs it."""
    findings = environment.verification.findings
    yield f"damaged: {', '.join(environment.names)}"
    yield f"  at {environment.verification.prefix}"
    for package, group in groupby(findings, key=lambda finding: finding.package):
        own = list(group)
        yield f"  {package}" if package.name else "  in no package"
        for verdict, same in groupby(sorted(own, key=lambda finding: finding.verdict), key=lambda each: each.verdict):
            yield from _finding_lines(verdict, list(same))
    yield f"  repair: {environment.repair}"
    yield ""


def _finding_lines(verdict: str, findings: Sequence[PrefixFinding]) -> Iterator[str]:
    for finding in findings[:_FILES_SHOWN]:
        reason = "" if verdict in _OF_FILES else f": {finding.reason}"
        yield f"    {verdict} {finding.path}".rstrip() + reason
    hidden = len(findings) - _FILES_SHOWN
    if hidden > 0:
        yield f"    {verdict} and {hidden} more"


def summary(result: VerifyResult) -> str:
    """How much was compared, in one line."""
    if not result.verified:
        return "nothing to verify: no environment is on this machine"
    files = sum(each.verification.files for each in result.verified)
    compared = f"{count(files, 'file')} in {count(len(result.verified), 'environment')}"
    if not result.damaged:
        return f"as installed: {compared}"
    found = sum(len(each.verification.findings) for each in result.damaged)
    return f"compared {compared}: {count(found, 'finding')} in {len(result.damaged)}"


def _notes(result: VerifyResult) -> Iterator[str]:
    if result.absent:
        yield f"note: not on this machine: {', '.join(result.absent)}"
    if result.unlocked:
        yield f"note: not locked, so not verified (see `envlock check`): {', '.join(result.unlocked)}"


def as_document(result: VerifyResult, status: int) -> dict[str, object]:
    """The same, for `--json`."""
    return {
        "exit_status": status,
        "environments": [
            {
                "names": list(each.names),
                "identity": each.lock.identity,
                "arch": each.lock.arch,
                "prefix": str(each.verification.prefix),
                "files": each.verification.files,
                "findings": [
                    {
                        "verdict": finding.verdict,
                        "path": finding.path,
                        "package": finding.package._asdict() if finding.package.name else None,
                        "reason": finding.reason,
                    }
                    for finding in each.verification.findings
                ],
                "repair": each.repair if each.verification.findings else None,
            }
            for each in result.verified
        ],
        "absent": list(result.absent),
        "unlocked": list(result.unlocked),
    }
