"""What a pickle says, without doing any of it.

A pickle is a program: loading one calls whatever it names. Here its operations are read with the
standard library's `pickletools` and only put down: a name stays a name, a call stays a note of what
would have been called with what. Nothing is imported, built or called, so that a file from anywhere
may be read, a training checkpoint with objects of unknown classes in it as well.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

OPERATIONS = 20_000_000  # a checkpoint with its optimiser's state has less than a million


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a pickle names: `module.name`."""

    path: str


@dataclass(slots=True, eq=False)
class Made:
    """An object that a pickle would have made.

    Attributes:
        path: `module.name` of what it would have called; empty for what is no name.
        arguments: with which.
        state: what it would have handed to the new object; None: nothing.
    """

    path: str
    arguments: Any
    state: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Something that a pickle says lies beside it, in torch's files the bytes of a tensor."""

    identity: Any


def read_pickle(stream: Any) -> Any:
    """Returns what one pickle holds: plain values, and `Name`, `Made` and `Stored` for the rest.

    Dictionaries, ordered or not, are dicts of those items whose keys are text or integers.

    Args:
        stream: a binary file or map; it is left behind the pickle's end.

    Raises:
        ValueError: it is no pickle, or a damaged one.
    """
    machine = _Machine()
    operations = pickletools.genops(cast(IO[bytes], stream))
    try:
        with warnings.catch_warnings():  # of escapes in a damaged name
            warnings.simplefilter("ignore", DeprecationWarning)
            for count, (operation, argument, _) in enumerate(operations):
                if count > OPERATIONS:
                    raise ValueError(f"a pickle of more than {OPERATIONS} operations")
                machine.run(operation, argument)
        return machine.stack.pop()
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"a damaged pickle ({type(error).__name__})") from error


class _Machine:
    """The stack machine of a pickle, of which only what holds data is kept."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what lies under each mark
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def run(self, operation: pickletools.OpcodeInfo, argument: Any) -> None:
        """Does one operation."""
        name = operation.name
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif handler := getattr(self, "do_" + name.lower(), None):
            handler(argument)
        elif operation.arg and operation.stack_after:  # a literal
            self.stack.append(argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"a pickle with the operation {name}")

    def marked(self) -> list[Any]:
        """Returns what lies above the last mark, and takes it away."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def do_mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def do_pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.marked()

    def do_pop_mark(self, _: Any) -> None:
        self.marked()

    def do_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def do_put(self, at: int) -> None:
        self.memo[at] = self.stack[-1]

    def do_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def do_get(self, at: int) -> None:
        self.stack.append(self.memo[at])

    do_binput = do_long_binput = do_put
    do_binget = do_long_binget = do_get

    def do_tuple(self, _: Any) -> None:
        items = tuple(self.marked())
        self.stack.append(items)

    def do_tuple1(self, _: Any) -> None:
        self.stack[-1:] = [tuple(self._last(1))]

    def do_tuple2(self, _: Any) -> None:
        self.stack[-2:] = [tuple(self._last(2))]

    def do_tuple3(self, _: Any) -> None:
        self.stack[-3:] = [tuple(self._last(3))]

    def do_list(self, _: Any) -> None:
        items = self.marked()
        self.stack.append(items)

    do_frozenset = do_list  # an element of a set would have to be hashed, which may not end

    def do_dict(self, _: Any) -> None:
        items = self.marked()
        self.stack.append({})
        self._fill(items)

    def do_append(self, _: Any) -> None:
        item = self.stack.pop()
        self._extend([item])

    def do_appends(self, _: Any) -> None:
        self._extend(self.marked())

    do_additems = do_appends

    def do_setitem(self, _: Any) -> None:
        items = self._last(2)
        del self.stack[-2:]
        self._fill(items)

    def do_setitems(self, _: Any) -> None:
        self._fill(self.marked())

    def do_global(self, named: str) -> None:
        self.stack.append(Name(named.replace(" ", ".")))

    def do_stack_global(self, _: Any) -> None:
        self.stack[-2:] = [Name(".".join(map(str, self._last(2))))]

    def do_ext1(self, code: int) -> None:
        self.stack.append(Name(f"copyreg.{code}"))

    do_ext2 = do_ext4 = do_ext1

    def do_reduce(self, _: Any) -> None:
        self.stack[-2:] = [self._made(*self._last(2))]

    do_newobj = do_reduce

    def do_newobj_ex(self, _: Any) -> None:
        self.stack[-3:] = [self._made(*self._last(3)[:2])]

    def do_obj(self, _: Any) -> None:
        called, *arguments = self.marked()
        self.stack.append(self._made(called, tuple(arguments)))

    def do_inst(self, named: str) -> None:
        arguments = self.marked()
        self.stack.append(self._made(Name(named.replace(" ", ".")), tuple(arguments)))

    def do_build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Made):
            self.stack[-1].state = state

    def do_persid(self, identity: str) -> None:
        self.stack.append(Stored(identity))

    def do_binpersid(self, _: Any) -> None:
        self.stack[-1:] = [Stored(self._last(1)[0])]

    def _made(self, called: Any, arguments: Any) -> Any:
        path = called.path if isinstance(called, Name) else ""
        if path not in _DICTS:
            return Made(path, arguments)
        pairs = arguments[0] if isinstance(arguments, tuple) and arguments else ()
        made: dict[str | int, Any] = {}
        for pair in pairs if isinstance(pairs, list | tuple) else ():
            self.copied += 1
            if self.copied > OPERATIONS:  # one list may be named again and again
                raise ValueError(f"a pickle of more than {OPERATIONS} items")
            if isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str | int):
                made[pair[0]] = pair[1]
        return made

    def _last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        return self.stack[-count:]

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def _fill(self, items: list[Any]) -> None:
        into = self.stack[-1]
        if isinstance(into, dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            # Other keys are dropped: a tuple's hash descends into it as deep as the file says.
            into.update((key, value) for key, value in pairs if isinstance(key, str | int))


_DICTS = ("collections.OrderedDict", "builtins.dict", "__builtin__.dict")
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
