"""`python -m tests.index [port]`: serve the catalogue until interrupted. Prints the index's URL."""

from __future__ import annotations

import sys
import time

from tests.index import Index


def main() -> None:
    with Index(port=int(sys.argv[1]) if sys.argv[1:] else 0, page_cache_control="max-age=600, public") as index:
        print(index.url, flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
