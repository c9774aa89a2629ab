"""The locks of other tools, for the tests of `import`."""

from tests.interchange.conftest import conda_lock_yml, pixi_lock, uv_lock

__all__ = ["conda_lock_yml", "pixi_lock", "uv_lock"]
