"""The tests. They mirror `src/envlock`; `tests.index` is the package index they lock from."""
