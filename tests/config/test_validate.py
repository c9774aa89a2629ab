"""Everything that can be wrong with the text of envlock.toml, each with its whole message."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from envlock.config.read import load_project
from envlock.config.validate import explain
from envlock.errors import ConfigError, EnvlockError, Location, ManyErrors

PATH = Path("/somewhere/envlock.toml")


def told(source: str | bytes) -> str:
    """What the reader says about a text."""
    with pytest.raises((ConfigError, ManyErrors)) as caught:
        explain(source, PATH)
    return caught.value.render()


GOOD = """\
[envlock]
archs = ["linux-64", "osx-arm64"]
cache = "s3://team/envlock"
cache-options = { endpoint = "https://objects.example:9000", region = "eu-1", profile = "team", anonymous = true }
exclude-newer = 2026-11-01
python-from = "uv"
index-url = "https://index.example/simple/"
extra-indices = ["https://${USER}:${TOKEN}@index.example/simple/", "http://127.0.0.1:8000/simple"]
hosts = ["index.example", "*.files.example:8443"]
allow-older = ["hydra-core", "Zope.Interface"]
datastore = ["local", "s3"]
metaflow-requirements = false
system-requirements = { linux-64 = { __glibc = "2.28" }, osx-arm64 = { __osx = "13.0" } }
python-mirror = "https://mirror.example/python"
channels = ["conda-forge", "https://${USER}:${TOKEN}@conda.example/team", "s3://bucket/channel"]
channel-priority = "disabled"
channel-mirrors = { conda-forge = "https://mirror.example/conda-forge" }
link-scripts = ["font-ttf-ubuntu"]
compile-bytecode = true
resolver = { conda = "conda-lock", pypi = "pip-tools" }
use-remote-latest = ["mia", "joe"]

[flow.TrainFlow]
file = "train_flow.py"
steps = ["start", "train", "score", "end"]
pypi = { python = ">=3.11,<3.12", packages = { pandas = "2.2.3", "requests[socks]" = ">=2 ; sys_platform == 'linux'" } }
conda = { libraries = { "conda-forge::ffmpeg" = "" }, channels = ["conda-forge"], python = "3.11" }

[flow.TrainFlow.step.train]
pypi = { packages = { "demo@https://index.example/demo-1.0-py3-none-any.whl" = "", any = "*" }, extras = ["pre"] }
sys_packages = { packages = { __cuda = "12.4", __glibc = "==2.31", __linux = "5.10.1", __archspec = "x86_64_v3" } }

[flow.TrainFlow.step.score]
named_env = { pathspec = "TrainFlow/142/train", fetch_at_exec = true }

[flow.TrainFlow.step.end]
disabled = true

[env.base]
requirements = "requirements.txt"
environment-yml = "environment.yml"
aliases = ["team/base:v2"]
"""


@pytest.mark.parametrize("text", ["", "# nothing\n", GOOD, GOOD.replace("2026-11-01", '"2 weeks"')])
def test_a_right_file_is_no_error(text: str) -> None:
    explain(text, PATH)
    explain(text.encode(), PATH)
    explain(text.replace("\n", "\r\n").encode(), PATH)


BAD = {
    "not toml": (
        'title = "a"\n   broken = = 3\n',
        """\
        error[not-toml]: `envlock.toml` is not TOML: invalid value
          at envlock.toml:2
             broken = = 3
                      ^

        hint: the format is described at https://toml.io
        """,
    ),
    "not toml, and a credential on the line": (
        'index-url = "https://me:secret@index.example/\n',
        """\
        error[not-toml]: `envlock.toml` is not TOML: illegal character '\\n'
          at envlock.toml:1
          index-url = "https://index.example/

        hint: the format is described at https://toml.io
        """,
    ),
    "a key twice": (
        "[flow.X]\nfile = 'x.py'\nfile = 'y.py'\n",
        """\
        error[written-twice]: `file` is written twice
          at envlock.toml:2 (flow.X.file)
          at envlock.toml:3 (flow.X.file)

        hint: put both into one
        """,
    ),
    "a table twice": (
        "[flow.X.step.a]\ndisabled = true\n[env.z]\n[flow.X.step.a]\n",
        """\
        error[written-twice]: `a` is written twice
          at envlock.toml:1 (flow.X.step.a)
          at envlock.toml:4 (flow.X.step.a)

        hint: put both into one
        """,
    ),
    "a table that a dotted key has made": (
        "[flow.X]\nfile = 'x.py'\npypi.python = '3.12'\n[flow.X.pypi]\n",
        """\
        error[not-toml]: `envlock.toml` is not TOML: a dotted key has made this table already
          at envlock.toml:4
          [flow.X.pypi]
                      ^

        hint: the format is described at https://toml.io
        """,
    ),
    "UTF-16 with its mark": (
        "[envlock]\n".encode("utf-16"),
        """\
        error[not-toml]: `envlock.toml` is not TOML: it is UTF-16 text
          at envlock.toml:1

        hint: save the file as UTF-8
        """,
    ),
    "UTF-16 without its mark": (
        "[envlock]\n".encode("utf-16-le"),
        """\
        error[not-toml]: `envlock.toml` is not TOML: it holds NUL bytes, as UTF-16 text does
          at envlock.toml:1

        hint: save the file as UTF-8
        """,
    ),
    "a table of steps that is called as the list of their names": (
        "[flow.TrainFlow]\nfile = 'x.py'\n[flow.TrainFlow.steps.train.pypi]\npackages = {}\n",
        """\
        error[wrong-type]: `steps` must be a list of strings, not a table
          at envlock.toml:3 (flow.TrainFlow.steps)

        hint: write it as `[flow.TrainFlow.step.train]`
        """,
    ),
    "not UTF-8": (
        b"# caf\xe9\na = 1\n",
        """\
        error[not-toml]: `envlock.toml` is not TOML: byte 0xe9 is not UTF-8
          at envlock.toml:1

        hint: save the file as UTF-8
        """,
    ),
    "a byte order mark": (
        "\ufeff[envlock]\n",
        """\
        error[not-toml]: `envlock.toml` is not TOML: it begins with a byte order mark
          at envlock.toml:1

        hint: save it as `UTF-8`, not as `UTF-8 with BOM`, or: sed -i '1s/^\\xEF\\xBB\\xBF//' envlock.toml
        """,
    ),
    "nested without end": (
        "x = " + "[" * 5000,
        """\
        error[not-toml]: `envlock.toml` is not TOML: it is nested too deeply
          at envlock.toml:1
          x = MANY...

        hint: the format is described at https://toml.io
        """.replace("MANY", "[" * 113),
    ),
    "an unsettled merge": (
        "[envlock]\n<<<<<<< HEAD\ncache = 'a'\n=======\ncache = 'b'\n>>>>>>> other\n",
        """\
        error[merge-conflict]: `envlock.toml` has an unsettled merge conflict
          at envlock.toml:2

        hint: settle it, then run `envlock lock`
        """,
    ),
    "unknown table": (
        "[flows.X]\nfile = 'x.py'\n",
        """\
        error[unknown-key]: `flows` is not a key of envlock.toml
          at envlock.toml:1 (flows)
          keys: envlock, flow, env

        hint: did you mean `flow`?
        """,
    ),
    "unknown key, with a near one": (
        "[flow.X]\nfile = 'x.py'\n[flow.X.pypi]\npakages = { rich = '15' }\n",
        """\
        error[unknown-key]: `pakages` is not a key of `[flow.X.pypi]`
          at envlock.toml:4 (flow.X.pypi.pakages)
          keys: packages, extra_indices, extras, python, conda_only, disabled

        hint: did you mean `packages`?
        """,
    ),
    "unknown key, with none near": (
        "[env.z]\nzzz = 1\n",
        """\
        error[unknown-key]: `zzz` is not a key of `[env.z]`
          at envlock.toml:2 (env.z.zzz)
          keys: pypi, conda, named_env, sys_packages, requirements, environment-yml, aliases

        hint: remove it
        """,
    ),
    "underscore for hyphen": (
        "[envlock]\npython_from = 'uv'\n",
        """\
        error[unknown-key]: `python_from` is not a key of `[envlock]`
          at envlock.toml:2 (envlock.python_from)
          keys: archs, cache, cache-options, exclude-newer, python-from, index-url, extra-indices, indexes, hosts, \
allow-older, datastore, metaflow-requirements, system-requirements, python-mirror, channels, channel-priority, \
channel-mirrors, link-scripts, compile-bytecode, resolver, use-remote-latest

        hint: did you mean `python-from`?
        """,
    ),
    "a key one level too high": (
        "[flow.X]\nfile = 'x.py'\npython = '3.12'\n",
        """\
        error[unknown-key]: `python` is not a key of `[flow.X]`
          at envlock.toml:3 (flow.X.python)
          keys: pypi, conda, named_env, sys_packages, file, steps, disabled, step

        hint: it belongs into `pypi` or `conda`
        """,
    ),
    "a deprecated parameter of @conda": (
        "[flow.X]\nfile = 'x.py'\nconda.pip_packages = { rich = '15' }\n",
        """\
        error[unknown-key]: `pip_packages` is not a key of `[flow.X.conda]`
          at envlock.toml:3 (flow.X.conda.pip_packages)
          keys: libraries, channels, python, disabled

        hint: say it with `pypi.packages`
        """,
    ),
    "a deprecated parameter of @pypi": (
        "[flow.X]\nfile = 'x.py'\n[flow.X.step.a.pypi]\nname = 'team/base:v1'\n",
        """\
        error[unknown-key]: `name` is not a key of `[flow.X.step.a.pypi]`
          at envlock.toml:4 (flow.X.step.a.pypi.name)
          keys: packages, extra_indices, extras, python, conda_only, disabled

        hint: say it with `named_env.name`
        """,
    ),
    "a decorator's own name": (
        "[flow.X]\nfile = 'x.py'\n[flow.X.pypi_base]\npackages = {}\n",
        """\
        error[unknown-key]: `pypi_base` is not a key of `[flow.X]`
          at envlock.toml:3 (flow.X.pypi_base)
          keys: pypi, conda, named_env, sys_packages, file, steps, disabled, step

        hint: say it with `pypi` of the flow
        """,
    ),
    "a step at the top": (
        "[step.train]\ndisabled = true\n",
        """\
        error[unknown-key]: `step` is not a key of envlock.toml
          at envlock.toml:1 (step)
          keys: envlock, flow, env

        hint: say it with `[flow.FLOW.step.STEP]`
        """,
    ),
    "a key with control characters and a credential": (
        '"\\u001b[31m https://me:secret@index.example/x" = 1\n',
        """\
        error[unknown-key]: `\\x1b[31m https://index.example/x` is not a key of envlock.toml
          at envlock.toml:1 (\\x1b[31m https://index.example/x)
          keys: envlock, flow, env

        hint: remove it
        """,
    ),
    "a number for a version": (
        "[flow.X]\nfile = 'x.py'\n[flow.X.pypi]\npython = 3.10\n",
        """\
        error[wrong-type]: `python` must be a string, not the number 3.10
          at envlock.toml:4 (flow.X.pypi.python)

        hint: write it as `python = "3.10"`
        """,
    ),
    "a whole number for a version": (
        "[env.z.pypi.packages]\n'zope.interface' = 7\n",
        """\
        error[wrong-type]: `zope.interface` must be a string, a table, or a list of strings or tables, not the number 7
          at envlock.toml:2 (env.z.pypi.packages.zope.interface)

        hint: write it as `"zope.interface" = "7"`
        """,
    ),
    "a key that no table of a package has": (
        "[env.z.pypi.packages]\npandas = { verison = '>=2' }\n",
        """\
        error[unknown-key]: `verison` is not a key of `[env.z.pypi.packages.pandas]`
          at envlock.toml:2 (env.z.pypi.packages.pandas.verison)
          keys: version, extras, marker, index

        hint: did you mean `version`?
        """,
    ),
    "a number in a list of versions": (
        "[env.z.pypi.packages]\npandas = [\n  '>=2',\n  3,\n]\n",
        """\
        error[wrong-type]: `pandas` must be a string, a table, or a list of strings or tables, not one with the \
number 3 in it
          at envlock.toml:4 (env.z.pypi.packages.pandas.1)

        hint: change it to a string, a table, or a list of strings or tables
        """,
    ),
    "no version in a list": (
        "[env.z.pypi.packages]\npandas = []\n",
        """\
        error[bad-value]: `[]` is no value of `pandas`: it needs at least one
          at envlock.toml:2 (env.z.pypi.packages.pandas)

        hint: write it as `pandas = [">=2", "<3"]`
        """,
    ),
    "a marker that is none, in a table": (
        "[env.z.pypi.packages]\npandas = { marker = 'red' }\n",
        """\
        error[bad-marker]: `red` is not an environment marker: expected a marker variable or quoted string
          at envlock.toml:2 (env.z.pypi.packages.pandas)
          examples: `sys_platform == 'linux'`, `python_version < '3.12'`

        hint: write the value as ">=1,<2 ; sys_platform == 'linux'"
        """,
    ),
    "a marker in the version of a table": (
        "[env.z.pypi.packages]\npandas = { version = \">=2 ; sys_platform == 'linux'\" }\n",
        """\
        error[bad-version-specifier]: `>=2 ; sys_platform == 'linux'` is not a version specifier: a table says its \
marker as `marker`
          at envlock.toml:2 (env.z.pypi.packages.pandas.version)
          examples: `2.2.3`, `>=2,<3`, `~=1.4`, `==1.4.*`

        hint: write a version or a range of versions; an empty text means any version
        """,
    ),
    "an index for a URL": (
        "[env.z.pypi.packages]\n'a@https://files.example/a-1-py3-none-any.whl' = { index = 'x' }\n",
        """\
        error[bad-value]: `x` is no value of `index`: a URL is one file already
          at envlock.toml:2 (env.z.pypi.packages.a@https://files.example/a-1-py3-none-any.whl.index)

        hint: leave `index` out
        """,
    ),
    "an index that is neither name nor URL, and a name that no index can have": (
        "envlock.indexes = {'a b' = 'https://a.example/'}\n[env.z.pypi.packages]\nx = { index = 'ftp://x.example' }\n",
        """\
        error[bad-value]: `a b` is no value of `indexes`: a name has letters, digits, `-`, `_` and `.`
          at envlock.toml:1 (envlock.indexes.a b)

        hint: write it as `indexes.pytorch = "https://index.example/cu121/"`

        error[bad-index-url]: `ftp://x.example` is not the URL of a package index
          at envlock.toml:3 (env.z.pypi.packages.x.index)
          an index begins with https:// or http://, and may hold ${VARIABLE}s of the environment

        hint: write it as "https://index.example/simple/"
        """,
    ),
    "a table for a version of a conda package": (
        "[env.z.conda.libraries]\npandas = { version = '>=2', extras = [] }\n",
        """\
        error[wrong-type]: `pandas` must be a string, not a table
          at envlock.toml:2 (env.z.conda.libraries.pandas)

        hint: write it as `pandas = ">=2"`
        """,
    ),
    "a list for a table": (
        "[env.z.pypi]\npackages = ['pandas']\n",
        """\
        error[wrong-type]: `packages` must be a table, not a list
          at envlock.toml:2 (env.z.pypi.packages)

        hint: write it as `packages = { pandas = "2.2.3", "requests[socks]" = ">=2,<3" }`
        """,
    ),
    "a string for a list, with a credential": (
        "[env.z.pypi]\nextra_indices = 'https://me:secret@index.example/simple/'\n",
        """\
        error[wrong-type]: `extra_indices` must be a list of strings, not the string "https://index.example/simple/"
          at envlock.toml:2 (env.z.pypi.extra_indices)

        hint: write it as `extra_indices = ["https://index.example/simple/"]`
        """,
    ),
    "a number in a list": (
        '[envlock]\nhosts = [\n  "index.example",\n  8080,\n]\n',
        """\
        error[wrong-type]: `hosts` must be a list of strings, not one with the number 8080 in it
          at envlock.toml:4 (envlock.hosts.1)

        hint: write it as `hosts = ["index.example", "*.files.example"]`
        """,
    ),
    "a string for a choice": (
        "[flow.X]\nfile = 'x.py'\ndisabled = 'true'\n",
        """\
        error[wrong-type]: `disabled` must be true or false, not the string "true"
          at envlock.toml:3 (flow.X.disabled)

        hint: write it as `disabled = true`
        """,
    ),
    "a choice for a string": (
        "[flow.X]\nfile = true\n",
        """\
        error[wrong-type]: `file` must be a string, not true
          at envlock.toml:2 (flow.X.file)

        hint: write it as `file = "train_flow.py"`
        """,
    ),
    "a string for a table": (
        "[flow]\nX = 'x.py'\n",
        """\
        error[wrong-type]: `X` must be a table, not the string "x.py"
          at envlock.toml:2 (flow.X)

        hint: change it to a table
        """,
    ),
    "an array of tables": (
        "[[flow]]\nfile = 'x.py'\n",
        """\
        error[wrong-type]: `flow` must be a table, not a list
          at envlock.toml:1 (flow)

        hint: write it as `flow = { TrainFlow = { file = "train_flow.py" } }`
        """,
    ),
    "a number for an instant": (
        "[envlock]\nexclude-newer = 7\n",
        """\
        error[wrong-type]: `exclude-newer` must be a string, a date and time, or a date, not the number 7
          at envlock.toml:2 (envlock.exclude-newer)

        hint: write it as `exclude-newer = "2026-11-01"`
        """,
    ),
    "a time of day for an instant": (
        "[envlock]\nexclude-newer = 07:30:00\n",
        """\
        error[wrong-type]: `exclude-newer` must be a string, a date and time, or a date, not the time 07:30:00
          at envlock.toml:2 (envlock.exclude-newer)

        hint: write it as `exclude-newer = "2026-11-01"`
        """,
    ),
    "a date for a string": (
        "[envlock]\ncache = 2026-11-01\n",
        """\
        error[wrong-type]: `cache` must be a string, not the date 2026-11-01
          at envlock.toml:2 (envlock.cache)

        hint: write it as `cache = "s3://team/envlock"`
        """,
    ),
    "neither a string nor a list": (
        "[envlock]\ndatastore = 3\n",
        """\
        error[wrong-type]: `datastore` must be a string or a list of strings, not the number 3
          at envlock.toml:2 (envlock.datastore)

        hint: write it as `datastore = "s3"`
        """,
    ),
    "a list with what is no string": (
        "[envlock]\ndatastore = ['s3', {}]\n",
        """\
        error[wrong-type]: `datastore` must be a string or a list of strings, not one with a table in it
          at envlock.toml:2 (envlock.datastore.1)

        hint: write it as `datastore = "s3"`
        """,
    ),
    "an unknown value": (
        "[envlock]\npython-from = 'brew'\n",
        """\
        error[bad-value]: `brew` is no value of `python-from`
          at envlock.toml:2 (envlock.python-from)
          values: machine, uv, conda

        hint: change it to one of machine, uv, conda
        """,
    ),
    "an unknown datastore": (
        "[envlock]\ndatastore = 'azur'\n",
        """\
        error[bad-value]: `azur` is no value of `datastore`
          at envlock.toml:2 (envlock.datastore)
          values: local, s3, azure, gs

        hint: did you mean `azure`?
        """,
    ),
    "an unknown datastore in a list": (
        "[envlock]\ndatastore = [\n's3',\n'gcs']\n",
        """\
        error[bad-value]: `gcs` is no value of `datastore`
          at envlock.toml:4 (envlock.datastore.1)
          values: local, s3, azure, gs

        hint: did you mean `gs`?
        """,
    ),
    "no arch at all": (
        "[envlock]\narchs = []\n",
        """\
        error[bad-value]: `[]` is no value of `archs`: it needs at least one
          at envlock.toml:2 (envlock.archs)

        hint: write it as `archs = ["linux-64", "osx-arm64"]`
        """,
    ),
    "an unknown arch": (
        "[envlock]\narchs = ['linux-64', 'osx-arm']\n",
        """\
        error[unknown-arch]: `osx-arm` is not an architecture
          at envlock.toml:2 (envlock.archs.1)
          architectures: linux-64, linux-aarch64, osx-64, osx-arm64

        hint: did you mean `osx-arm64`?
        """,
    ),
    "an unknown arch as a key": (
        "[envlock.system-requirements.linux-x64]\n__glibc = '2.28'\n",
        """\
        error[unknown-arch]: `linux-x64` is not an architecture
          at envlock.toml:1 (envlock.system-requirements.linux-x64)
          architectures: linux-64, linux-aarch64, osx-64, osx-arm64

        hint: did you mean `linux-64`?
        """,
    ),
    "a floor of another system": (
        "[envlock.system-requirements]\nosx-64 = { __glibc = '2.28' }\n",
        """\
        error[unknown-key]: `__glibc` is not a key of `[envlock.system-requirements.osx-64]`
          at envlock.toml:2 (envlock.system-requirements.osx-64.__glibc)
          keys: __osx, __archspec

        hint: remove it
        """,
    ),
    "an unknown floor": (
        "[envlock.system-requirements]\nlinux-64 = { __glib = '2.28' }\n",
        """\
        error[unknown-key]: `__glib` is not a key of `[envlock.system-requirements.linux-64]`
          at envlock.toml:2 (envlock.system-requirements.linux-64.__glib)
          keys: __glibc, __linux, __cuda, __archspec

        hint: did you mean `__glibc`?
        """,
    ),
    "a floor that is no version": (
        "[envlock.system-requirements]\nlinux-64 = { __glibc = '2' }\n",
        """\
        error[bad-value]: `2` is no value of `__glibc`: it takes two numbers
          at envlock.toml:2 (envlock.system-requirements.linux-64.__glibc)

        hint: write it as `__glibc = "2.28"`
        """,
    ),
    "an unknown virtual package": (
        "[env.z.sys_packages.packages]\n__cud = '12'\n",
        """\
        error[unknown-key]: `__cud` is not a key of `[env.z.sys_packages.packages]`
          at envlock.toml:2 (env.z.sys_packages.packages.__cud)
          keys: __glibc, __linux, __osx, __cuda, __archspec

        hint: did you mean `__cuda`?
        """,
    ),
    "a host with a scheme": (
        "[envlock]\nhosts = ['https://index.example/']\n",
        """\
        error[bad-value]: `https://index.example/` is no value of `hosts`: a host has no scheme and no path
          at envlock.toml:2 (envlock.hosts.0)

        hint: write it as `hosts = ["index.example"]`
        """,
    ),
    "a step that no method can be called": (
        "[flow.TrainFlow]\nfile = 'train_flow.py'\nsteps = ['start', 'Train/middle']\n",
        """\
        error[bad-value]: `Train/middle` is no value of `steps`: it takes names of steps
          at envlock.toml:3 (flow.TrainFlow.steps.1)

        hint: write it as `steps = ["start", "train", "end"]`
        """,
    ),
    "a flow without a file": (
        "[flow.TrainFlow]\n",
        """\
        error[flow-without-file]: the flow `TrainFlow` does not say which file it is in
          at envlock.toml:1 (flow.TrainFlow.file)

        hint: add `file = "..."` to `[flow.TrainFlow]`
        """,
    ),
    "no index": (
        "[envlock]\nindex-url = 'ftp://me:secret@index.example/simple/'\n",
        """\
        error[bad-index-url]: `ftp://index.example/simple/` is not the URL of a package index
          at envlock.toml:2 (envlock.index-url)
          an index begins with https:// or http://, and may hold ${VARIABLE}s of the environment

        hint: write it as "https://index.example/simple/"
        """,
    ),
    "a variable with a default, and one that does not end": (
        "[envlock]\nextra-indices = ['http://${U}:${T:-s3cret}@host.example/simple/', 'https://${T@host.example/simple/']\n",
        """\
        error[bad-index-url]: `http://host.example/simple/` is not the URL of a package index
          at envlock.toml:2 (envlock.extra-indices.0)
          `${T:...}` is no variable: one is written as `${NAME}`, and has no default
          an index begins with https:// or http://, and may hold ${VARIABLE}s of the environment

        hint: write it as "https://${USER}:${PASSWORD}@index.example/simple/"

        error[bad-index-url]: `https://host.example/simple/` is not the URL of a package index
          at envlock.toml:2 (envlock.extra-indices.1)
          a `${` has no `}` after it: a variable is written as `${NAME}`
          an index begins with https:// or http://, and may hold ${VARIABLE}s of the environment

        hint: write it as "https://${USER}:${PASSWORD}@index.example/simple/"
        """,
    ),
    "flags of pip that mean nothing when locking, and extras of a package": (
        "[env.z.pypi]\nextras = ['--pre', 'pre', 'socks']\n",
        """\
        error[bad-value]: `--pre` is no value of `extras`: it takes `pre`, which allows pre-releases
          at envlock.toml:2 (env.z.pypi.extras.0)

        hint: write `extras = ["pre"]`; the extras of a package belong to its name: `"requests[socks]" = ""`

        error[bad-value]: `socks` is no value of `extras`: it takes `pre`, which allows pre-releases
          at envlock.toml:2 (env.z.pypi.extras.2)

        hint: write `extras = ["pre"]`; the extras of a package belong to its name: `"requests[socks]" = ""`
        """,
    ),
    "a mirror that is a variable with a default": (
        "[envlock]\npython-mirror = 'https://${MIRROR:-mirror.example}/python'\n",
        """\
        error[bad-value]: `https://${MIRROR:-mirror.example}/python` is no value of `python-mirror`: `${MIRROR:...}` \
is no variable: one is written as `${NAME}`, and has no default
          at envlock.toml:2 (envlock.python-mirror)

        hint: write it as `python-mirror = "https://mirror.example/python"`
        """,
    ),
    "a name for an index": (
        "[flow.X]\nfile = 'x.py'\n[flow.X.step.a]\npypi.extra_indices = ['https://index.example/', 'conda-forge']\n",
        """\
        error[bad-index-url]: `conda-forge` is not the URL of a package index
          at envlock.toml:4 (flow.X.step.a.pypi.extra_indices.1)
          an index begins with https:// or http://, and may hold ${VARIABLE}s of the environment

        hint: write it as "https://index.example/simple/"
        """,
    ),
    "a system version that is none": (
        "[env.z.sys_packages.packages]\n__cuda = '12.4.1'\n",
        """\
        error[bad-value]: `12.4.1` is no value of `__cuda`: it takes one number, or two
          at envlock.toml:2 (env.z.sys_packages.packages.__cuda)

        hint: write it as `__cuda = "12.4"`
        """,
    ),
    "a conda constraint that is none": (
        "[env.z.conda.libraries]\nnumpy = '1.26 or so'\n",
        """\
        error[bad-conda-requirement]: `numpy 1.26 or so` asks for no conda package: more than a version and a build \
follow the name
          at envlock.toml:2 (env.z.conda.libraries.numpy)
          examples: `1.26.4`, `=1.26`, `>=1.26,<2`, `1.4=py310*`; the name may begin with `channel::`

        hint: write a version or a range of versions; an empty text means any version
        """,
    ),
    "a name that no conda package has, behind a secret": (
        "[env.z.pypi.conda_only]\n'https://me:secret@conda.example/t/secret/team::two words' = ''\n",
        """\
        error[bad-conda-requirement]: `https://conda.example/team::two words` asks for no conda package: `two words` \
is no name of a conda package
          at envlock.toml:2 (env.z.pypi.conda_only.https://conda.example/team::two words)
          examples: `1.26.4`, `=1.26`, `>=1.26,<2`, `1.4=py310*`; the name may begin with `channel::`

        hint: write a version or a range of versions; an empty text means any version
        """,
    ),
    "no channel": (
        "[flow.X]\nfile = 'x.py'\nconda.channels = ['conda-forge', './channel']\n",
        """\
        error[bad-channel]: `./channel` is not a conda channel
          at envlock.toml:3 (flow.X.conda.channels.1)
          a channel is a name, such as `conda-forge` or `conda-forge/label/rc`,
          or a URL that begins with https://, http://, s3:// or file:///

        hint: a folder of this machine is written as `file:///srv/channel`, a space in it as `%20`
        """,
    ),
    "no channel beside a package": (
        "[env.z.conda.libraries]\n'ftp://me:secret@conda.example/team::numpy' = ''\n",
        """\
        error[bad-channel]: `ftp://conda.example/team` is not a conda channel
          at envlock.toml:2 (env.z.conda.libraries.ftp://conda.example/team::numpy)
          a channel is a name, such as `conda-forge` or `conda-forge/label/rc`,
          or a URL that begins with https://, http://, s3:// or file:///

        hint: write it as "conda-forge", or "https://conda.example/team"
        """,
    ),
    "a mirror that is no URL": (
        "[envlock]\nchannel-mirrors = { conda-forge = 'main' }\n",
        """\
        error[bad-value]: `main` is no value of `conda-forge`: a mirror is a URL
          at envlock.toml:2 (envlock.channel-mirrors.conda-forge)

        hint: write it as `conda-forge = "https://mirror.example/conda-forge"`
        """,
    ),
    "an endpoint with a secret": (
        "[envlock]\ncache-options = { endpoint = 'https://me:s3cret@objects.example?sig=s3cret' }\n",
        """\
        error[bad-value]: `https://objects.example` is no value of `endpoint`: it takes the URL of a web server, \
without user, password and query
          at envlock.toml:2 (envlock.cache-options.endpoint)

        hint: write it as `endpoint = "https://objects.example"`; credentials come from the environment
        """,
    ),
    "a secret among the options of the cache": (
        "[envlock.cache-options]\nkey = 's3cret'\n",
        """\
        error[unknown-key]: `key` is not a key of `[envlock.cache-options]`
          at envlock.toml:2 (envlock.cache-options.key)
          keys: endpoint, region, profile, account, anonymous

        hint: remove it
        """,
    ),
    "a user whose locks are taken, by a name that is none": (
        "[envlock]\nuse-remote-latest = 'mia'\n",
        """\
        error[bad-value]: `mia` is no value of `use-remote-latest`
          at envlock.toml:2 (envlock.use-remote-latest)
          values: :none:, :username:, :any:

        hint: change it to one of :none:, :username:, :any:
        """,
    ),
    "a list of users with a word for all": (
        "[envlock]\nuse-remote-latest = ['mia', ':any:']\n",
        """\
        error[bad-value]: `:any:` is no value of `use-remote-latest`: a list of it takes names of users
          at envlock.toml:2 (envlock.use-remote-latest.1)

        hint: write it as `use-remote-latest = ["mia", "joe"]`, or `use-remote-latest = ":any:"` without a list
        """,
    ),
    "an unknown resolver": (
        "[envlock]\nresolver = { conda = 'condalock' }\n",
        """\
        error[bad-value]: `condalock` is no value of `conda`
          at envlock.toml:2 (envlock.resolver.conda)
          values: rattler, conda-lock

        hint: did you mean `conda-lock`?
        """,
    ),
    "a version of what may be older": (
        "[envlock]\nallow-older = ['hydra-core<1']\n",
        """\
        error[bad-value]: `hydra-core<1` is no value of `allow-older`: it takes names of PyPI packages
          at envlock.toml:2 (envlock.allow-older.0)

        hint: write it as `allow-older = ["hydra-core"]`
        """,
    ),
    "a link script of a version": (
        "[envlock]\nlink-scripts = ['font >=1']\n",
        """\
        error[bad-value]: `font >=1` is no value of `link-scripts`: it takes names of conda packages
          at envlock.toml:2 (envlock.link-scripts.0)

        hint: write it as `link-scripts = ["font-ttf-ubuntu"]`
        """,
    ),
    "a Python of conda that is no range": (
        "[env.z.conda.libraries]\npython = '3.10|3.11'\n",
        """\
        error[bad-python-specifier]: `3.10|3.11` is not a range of Python versions
          at envlock.toml:2 (env.z.conda.libraries.python)
          examples: ">=3.11,<3.13", "3.12" for any 3.12, "3.12.4" for just that one

        hint: python = "3.12"
        """,
    ),
    "no instant": (
        "[envlock]\nexclude-newer = 'yesterday'\n",
        """\
        error[bad-instant]: `yesterday` is not an instant, a day or a span of time
          at envlock.toml:2 (envlock.exclude-newer)
          examples: "2026-11-01", "2026-11-01T12:00:00Z", "7d", "2 weeks", "12 hours"

        hint: exclude-newer = "7d"
        """,
    ),
    "a day that no calendar has": (
        "[envlock]\nexclude-newer = '2026-02-30'\n",
        """\
        error[bad-instant]: `2026-02-30` is not an instant, a day or a span of time
          at envlock.toml:2 (envlock.exclude-newer)
          examples: "2026-11-01", "2026-11-01T12:00:00Z", "7d", "2 weeks", "12 hours"

        hint: exclude-newer = "7d"
        """,
    ),
    "no range of Pythons": (
        "[env.z]\nconda.python = 'python3'\n",
        """\
        error[bad-python-specifier]: `python3` is not a range of Python versions
          at envlock.toml:2 (env.z.conda.python)
          examples: ">=3.11,<3.13", "3.12" for any 3.12, "3.12.4" for just that one

        hint: python = "3.12"
        """,
    ),
    "no marker": (
        "[env.z.pypi.packages]\nrich = '15 ; linux'\n",
        """\
        error[bad-marker]: `linux` is not an environment marker: expected a marker variable or quoted string
          at envlock.toml:2 (env.z.pypi.packages.rich)
          examples: `sys_platform == 'linux'`, `python_version < '3.12'`

        hint: write the value as ">=1,<2 ; sys_platform == 'linux'"
        """,
    ),
    "a version beside a URL": (
        "[env.z.pypi.packages]\n'demo@https://index.example/demo-1.0-py3-none-any.whl' = '>=1'\n",
        """\
        error[bad-value]: `>=1` is no value of `demo@https://index.example/demo-1.0-py3-none-any.whl`: \
a URL is one version already
          at envlock.toml:2 (env.z.pypi.packages.demo@https://index.example/demo-1.0-py3-none-any.whl)

        hint: leave the value empty: ""
        """,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told(name: str) -> None:
    source, expected = BAD[name]
    text = told(source)
    assert text + "\n" == dedent(expected)
    assert "secret" not in text


@pytest.mark.parametrize("name", ["1pkg!", "-x", "x y", "", "x[", "x[a b]", "é"])
def test_a_name_that_no_package_has(name: str) -> None:
    text = told(f"[env.z.pypi.packages]\n'{name}' = ''\n")
    assert text.startswith(
        f"error[bad-package-name]: `{name}` is not a package name\n  at envlock.toml:2 (env.z.pypi.packages."
    )


@pytest.mark.parametrize(
    "specifier", ["latest", ">=1.*", "==", "=1.2", "1..2", ">=1 <2", "~=1", "^1.2", "1.0.*.1", "!2"]
)
def test_a_version_that_pep_440_does_not_know(specifier: str) -> None:
    text = told(f"[env.z.pypi.packages]\nrich = '{specifier}'\n")
    assert text.startswith(
        f"error[bad-version-specifier]: `{specifier}` is not a version specifier\n"
        "  at envlock.toml:2 (env.z.pypi.packages.rich)\n"
    )


@pytest.mark.parametrize("specifier", [">>3", "3.x", ">=3.*", "3.11.x", "py312"])
def test_a_python_that_pep_440_does_not_know(specifier: str) -> None:
    assert told(f"[env.z.pypi]\npython = '{specifier}'\n").startswith("error[bad-python-specifier]")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "[env.base.pypi.packages]\nruamel.yaml = '>=0.18'\nzope.interface = ''",
            {2: "ruamel.yaml", 3: "zope.interface"},
        ),
        ("[env.base.pypi]\npackages = { ruamel.yaml = '', rich = '' }", {2: "ruamel.yaml"}),
        ("[env.base]\npypi.packages.ruamel.yaml = ''\nconda.libraries.a.b = '1'", {2: "ruamel.yaml", 3: "a.b"}),
        ("[env.base.pypi]\nconda_only.lib.cairo = ''", {2: "lib.cairo"}),
        # No TOML: one of them is a value and a table.
        (
            "[env.base.pypi.packages]\nruamel.yaml = ''\nruamel.yaml.clib = ''",
            {2: "ruamel.yaml", 3: "ruamel.yaml.clib"},
        ),
        ("[env.base.pypi.packages]\nzope.index = '>=6'\nzope.version = '1'", {2: "zope.index"}),
    ],
)
def test_a_name_with_a_dot_needs_quotes(text: str, names: dict[int, str], tmp_path: Path) -> None:
    path = tmp_path / "envlock.toml"
    path.write_text(text)
    for read in (lambda: explain(text, path), lambda: load_project(path)):
        with pytest.raises(EnvlockError) as caught:
            read()
        errors = caught.value.errors if isinstance(caught.value, ManyErrors) else (caught.value,)
        assert {error.code for error in errors} == {"dotted-name"}
        assert {error.locations[0].line: error.message.split("`")[1] for error in errors} == names
        assert all(f'"{error.message.split("`")[1]}" = ' in (error.hint or "") for error in errors)


@pytest.mark.parametrize(
    "text",
    [
        "[env.base.pypi.packages]\nrich.version = '>=13'\nrich.extras = ['jupyter']\n'ruamel.yaml' = ''",
        "[envlock]\nindexes.cu121 = 'https://index.example/cu121/'\n[env.base.pypi.packages]\ntorch.index = 'cu121'",
        "[envlock]\nindexes.6 = 'https://index.example/6/'\n[env.base.pypi.packages]\ntorch.index = '6'",
        "[env.base]\nsys_packages.packages.__cuda = '12.4'",
    ],
)
def test_a_table_of_a_package_may_be_written_with_dots(text: str, tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text(text)
    explain(text, tmp_path / "envlock.toml")
    load_project(tmp_path / "envlock.toml")


def test_all_errors_are_told_at_once_in_the_order_of_the_file() -> None:
    text = "[envlock]\narchs = ['windows']\ncach = 'x'\n[flow.X]\nfile = 3\npypi.packages = { rich = '>>1' }\n"
    with pytest.raises(ManyErrors) as caught:
        explain(text, PATH)
    assert [(error.code, error.locations[0].line) for error in caught.value.errors] == [
        ("unknown-arch", 2),
        ("unknown-key", 3),
        ("wrong-type", 5),
        ("bad-version-specifier", 6),
    ]
    assert caught.value.exit_status == 2


def test_a_value_that_goes_on_for_ever_is_cut_short() -> None:
    text = told(f"[envlock]\npython-from = '{'x' * 5000}'\n")
    assert max(map(len, text.splitlines())) < 150


def test_places_are_named_by_the_file_and_the_key() -> None:
    with pytest.raises(ConfigError) as caught:
        explain("[envlock]\n\nnope = 1\n", PATH)
    assert caught.value.locations == (Location("envlock.toml", 3, "envlock.nope"),)
