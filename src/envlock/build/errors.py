"""Why no wheel can be made from a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.errors import Location, ResolveError
from envlock.redaction import redact

if TYPE_CHECKING:
    from pathlib import Path


class OfOneSource(ResolveError):
    """A failure of one source: `source` is what messages call it, such as `docopt 0.6.2`."""

    def __init__(
        self,
        source: str,
        *,
        details: tuple[str, ...] = (),
        log: Path | None = None,
        hint: str | None = None,
        **facts: str,
    ) -> None:
        self.source = source
        self.packages: tuple[str, ...] = ()
        self.log = log
        said = {name: redact(fact) for name, fact in facts.items()}
        texts = type(self)
        super().__init__(
            texts.message.format_map({"source": source, **said}),
            details=tuple(map(redact, details)),
            hint=hint or (texts.hint.format_map({"source": source, **said}) if texts.hint else None),
            locations=(Location(str(log)),) if log is not None else (),
        )


# The build itself.


class BuildFailed(OfOneSource):
    """The source's own build ends with an error."""

    code = "build-failed"
    message = "{source} cannot be built: {reason}"
    hint = "read the whole log, whose path is above; the package's own pages say what its build needs"


class VersionFromGit(OfOneSource):
    """A project takes its version from git, and its source has no history."""

    code = "version-from-git"
    message = "{source} cannot be built: it takes its version from git, and {what} has no history"
    hint = "write the version into its pyproject.toml, or name its repository with `git` in place of the folder"


class BuildNeedsNetwork(OfOneSource):
    """The build asks for the network, which no build of envlock has."""

    code = "build-needs-network"
    message = "{source} cannot be built: its build asks for the network ({place})"
    hint = (
        "name what it fetches in `requires` of `[build-system]` in its pyproject.toml, put it into the source, "
        "or use a release that has a wheel"
    )


class BuildWritesOutside(OfOneSource):
    """The build changes files outside its own folder."""

    code = "build-writes-outside"
    message = "{source} cannot be built: its build writes outside of its own folder ({path})"
    hint = "change the build so that it writes below its source, or to a temporary folder; or use a wheel"


class BuildOfAnother(OfOneSource):
    """The wheel has another name or version than what was asked for."""

    code = "build-of-another"
    message = "{what} is {made}, not {source}"
    hint = "fix the name or the version where {source} is required, or use the source that it means"


class BadBuiltWheel(OfOneSource):
    """What a build made is not a valid wheel."""

    code = "bad-built-wheel"
    message = "the build of {source} made no valid wheel: {reason}"
    hint = "report it to the maintainers of the package, or use another release"


class NoBuildRequirements(OfOneSource):
    """The packages that the build needs cannot be resolved or installed."""

    code = "no-build-requirements"
    message = "{source} cannot be built: the packages that its build needs cannot be {what}"
    hint = "see `requires` of `[build-system]` in its pyproject.toml; these need wheels, on the indexes of envlock.toml"


class NotAProject(OfOneSource):
    """There is neither a pyproject.toml nor a setup.py where the project should be."""

    code = "not-a-project"
    message = "{source} is no Python project: there is neither a pyproject.toml nor a setup.py in {place}"
    hint = "name the folder that has one (`subdirectory` of a repository or an archive, else `path`)"


class BadBuildSystem(OfOneSource):
    """The pyproject.toml of a source cannot be used."""

    code = "bad-build-system"
    message = "{source} cannot be built: {reason}"
    hint = "fix its pyproject.toml (PEP 518 says what `[build-system]` may have)"


class SourceChanged(OfOneSource):
    """A folder is not what it was when envlock.toml was read."""

    code = "source-changed"
    message = "{source} was changed while it was read"
    hint = "run the command again once nothing writes into the folder"


# Archives.


class SourceHashMismatch(OfOneSource):
    """An archive is not the one that was asked for."""

    code = "source-hash-mismatch"
    message = "the archive of {source} does not have the expected SHA-256"
    hint = "fix the hash where it is written, or report it to the maintainers of the index; nothing was unpacked"

    def __init__(self, source: str, *, expected: str, got: str) -> None:
        super().__init__(source, details=(f"expected  {expected}", f"got       {got}"))


class UnsafeArchive(OfOneSource):
    """An archive has a member that would be written elsewhere, or more than an archive may have."""

    code = "unsafe-archive"
    message = "the archive of {source} is not safe to unpack: {reason}"
    hint = "report it to the maintainers of the package, or use another release; nothing of it was run"


class BadSdist(OfOneSource):
    """A file is not a source distribution that can be read."""

    code = "bad-sdist"
    message = "the archive of {source} is no source distribution: {reason}"
    hint = "use the URL or the path of a `.tar.gz` or `.zip` of a Python project"


# git.


class NoGit(OfOneSource):
    """A repository is needed, and git is not installed."""

    code = "no-git"
    message = "{source} comes from a git repository, and there is no `git` on PATH"
    hint = "install git, such as with: apt-get install git"


class GitUnreachable(OfOneSource):
    """A repository did not answer, or refused."""

    code = "git-unreachable"
    message = "the repository of {source} cannot be read: {url}"
    hint = "check the URL, the network and the credentials: `git ls-remote {url}` has to work without a question"


class NoSuchRef(OfOneSource):
    """A repository has no branch, tag or commit of this name."""

    code = "no-such-git-ref"
    message = "{url} has no {ref}"
    hint = "fix `rev`, `tag` or `branch`: `git ls-remote {url}` lists what there is"


class AmbiguousRef(OfOneSource):
    """A tag and a branch of a git repository have the same name, and are different commits."""

    code = "ambiguous-git-ref"
    message = "{url} has a tag and a branch `{ref}`, and they are different commits"
    hint = 'say which: `rev = "refs/heads/{ref}"` is the branch, `rev = "refs/tags/{ref}"` the tag'


class UnusableRepository(OfOneSource):
    """A commit needs more than a plain checkout: files of git LFS, or submodules that cannot be fetched."""

    code = "unusable-repository"
    message = "{source} cannot be built from {url}: {reason}"
    hint = "use a commit without them, or a wheel or sdist that is made from a full checkout"
