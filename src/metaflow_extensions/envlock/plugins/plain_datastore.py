"""Metaflow's datastore in S3 by the standard library, for an image's own Python that has no boto3.

It serves what Metaflow starts there: it sends the logs, and reads the parameters of a run. Tasks have boto3 in their
environment, and use Metaflow's own datastore.
"""

import json
import os
import shutil
import tempfile
import time

from metaflow.datastore.datastore_storage import CloseAfterUse, DataStoreStorage

_ATTEMPTS = 5
_SECONDS = 30
_NOTES = "metaflow-user-attributes"


class S3Storage(DataStoreStorage):
    """As Metaflow's class of this name, which it takes the place of."""

    TYPE = "s3"

    def __init__(self, root=None):
        super(S3Storage, self).__init__(root)
        self._opened = None

    @classmethod
    def get_datastore_root_from_config(cls, echo, create_on_absent=True):  # noqa: ARG003
        from metaflow.metaflow_config import DATASTORE_SYSROOT_S3

        return DATASTORE_SYSROOT_S3

    def is_file(self, paths):
        return [self._find(path) is not None for path in paths]

    def info_file(self, path):
        found = self._find(path)
        return found is not None, None if found is None else _notes(found)

    def size_file(self, path):
        found = self._find(path)
        return None if found is None else found.size

    def list_content(self, paths):
        found = []
        for folder in (path.rstrip("/") for path in paths):
            names = {}
            for below, _, _ in self._do(lambda client, at=folder: client.entries(at)):
                name, _, rest = below[len(folder) + 1 :].partition("/")
                names[name] = names.get(name, False) or not rest
            found += [self.list_content_result(path="%s/%s" % (folder, name), is_file=names[name]) for name in names]
        return found

    def save_bytes(self, path_and_bytes_iter, overwrite=False, len_hint=0):  # noqa: ARG002
        from metaflow.metaflow_config import S3_SERVER_SIDE_ENCRYPTION

        for path, given in path_and_bytes_iter:
            value, notes = given if isinstance(given, tuple) else (given, None)
            headers = {"x-amz-server-side-encryption": S3_SERVER_SIDE_ENCRYPTION} if S3_SERVER_SIDE_ENCRYPTION else {}
            if notes:
                headers["x-amz-meta-" + _NOTES] = json.dumps(notes)
            if not overwrite:
                headers["If-None-Match"] = "*"
            data = value.read()
            self._do(lambda client, at=path, what=data, how=headers: _put(client, at, what, how))

    def load_bytes(self, paths):
        folder = tempfile.mkdtemp(prefix="envlock-")

        def found():
            for number, path in enumerate(paths):
                answer = self._do(lambda client, path=path: _if_there(lambda: client.read(path)))
                if answer is None:
                    yield path, None, None
                    continue
                place = os.path.join(folder, str(number))
                with open(place, "wb") as file:
                    file.write(answer[0])
                yield path, place, _notes(answer[1])

        return CloseAfterUse(found(), closer=_Removal(folder))

    def _find(self, path):
        return self._do(lambda client: _if_there(lambda: client.find(path)))

    def _do(self, request):
        """What a request returns, which is sent again if it may pass then."""
        from .node.transport import CUT, THROTTLED, pause

        client, attempt = self._client(), 0
        while True:
            try:
                return request(client)
            except client.raises as error:
                attempt += 1
                fault = client.fault(error)
                if attempt == _ATTEMPTS or fault.kind not in (CUT, THROTTLED):
                    raise
            time.sleep(pause(attempt, fault.after))

    def _client(self):
        if self._opened is None:
            from metaflow.exception import MetaflowException

            from .node.plain_s3 import client_of
            from .node.s3_settings import client_params

            bucket, _, prefix = self.datastore_root.partition("://")[2].partition("/")
            params = client_params(os.environ, os.getcwd())
            self._opened = client_of(bucket, prefix.strip("/"), {}, params, _SECONDS)
            if self._opened is None:
                raise MetaflowException("this image has no boto3, which %s needs here" % self.datastore_root)
        return self._opened


class _Removal(object):
    def __init__(self, folder):
        self._folder = folder

    def close(self):
        shutil.rmtree(self._folder, ignore_errors=True)


def _put(client, path, data, headers):
    from .node.plain_s3 import RefusedRequest

    try:
        client.put(path, data, headers)
    except RefusedRequest as refused:
        if not ("If-None-Match" in headers and refused.status in (409, 412)):
            raise


def _if_there(request):
    from .node.plain_s3 import RefusedRequest

    try:
        return request()
    except RefusedRequest as refused:
        if refused.status == 404:
            return None
        raise


def _notes(facts):
    notes = facts.metadata.get(_NOTES)
    return json.loads(notes) if notes else None
