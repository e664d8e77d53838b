"""The loop that draining is measured against: so many posts with `requests`, four threads, nothing else.

`python -m bench.bare URL COUNT` prints how many a second.
"""

from __future__ import annotations

import sys
import threading
import time

import requests

from bench import bodies

THREADS = 4


def main(url: str, count: int) -> None:
    numbers, mutex = iter(range(count)), threading.Lock()
    contents = [bodies.body(number) for number in range(count)]

    def post() -> None:
        with requests.Session() as session:
            while True:
                with mutex:
                    number = next(numbers, None)
                if number is None:
                    return
                session.post(f"{url}/hs/UIScom/rec", data=contents[number], timeout=30)

    threads = [threading.Thread(target=post) for _ in range(THREADS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(count / (time.perf_counter() - began))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
