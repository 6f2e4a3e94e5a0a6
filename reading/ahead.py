"""Reading ahead: what will be needed next is fetched while what is there is decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

N = TypeVar("N")
T = TypeVar("T")


def ahead(
    fetch: Callable[[N], T], numbers: Iterable[N], depth: int
) -> Generator[tuple[N, Callable[[], T]], None, None]:
    """Yields each number, in order, with a function that returns what was fetched for it.

    What a fetch raises is raised by that function, when it is its turn.

    Args:
        fetch: reads; it is called in other threads.
        numbers: what to fetch.
        depth: how many fetches are under way or wait to be used, at most; 0: each is made when its
            function is called.
    """
    if depth == 0:
        for number in numbers:
            yield number, partial(fetch, number)
        return
    pool = ThreadPoolExecutor(depth, thread_name_prefix="read-ahead")
    waiting: deque[tuple[N, Callable[[], T]]] = deque()
    try:
        for number in numbers:
            waiting.append((number, pool.submit(fetch, number).result))
            if len(waiting) > depth:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(cancel_futures=True)
