"""Texts made for a regular expression's worst case, and the time that work on them takes."""

from __future__ import annotations

import ast
import functools
import importlib
import itertools
import re
import re._constants as op
import re._parser as parser
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tests.support.project import ROOT

LETTERS, PAIRED = 24, 6  # the number of a pattern's letters that are repeated: alone, and in pairs
SHORT = 100  # characters
PRODUCT = ("curation", "model", "pipelines", "prompts", "vidla")
METHODS = ("search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")


# --- the patterns of the product ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Use:
    """A pattern of the product, its place, and the methods that are called on it."""

    place: str
    pattern: re.Pattern[Any]
    methods: frozenset[str]


class Unknown(Exception):
    """A pattern that is not known before the program runs."""


@functools.cache
def sources() -> dict[str, str]:
    """The text of every file of the product, by its path."""
    files = (file for folder in PRODUCT for file in sorted((ROOT / folder).rglob("*.py")))
    return {str(file.relative_to(ROOT)): file.read_text() for file in files}


def files_with_patterns() -> list[str]:
    return [file for file, source in sources().items() if re.search(r"^import re$", source, re.MULTILINE)]


def uses(file: str) -> tuple[list[Use], list[str]]:
    """The patterns of a file that may take long, and the places of those that are not known before the program runs."""
    tree, unknown = ast.parse(sources()[file]), list[str]()
    try:
        all_uses = [*_constant_uses(tree, file)]
    except Unknown:  # some are put together from values of this and other modules
        module = importlib.import_module(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        calls, unknown = _in_calls(module, tree, file)
        all_uses = [*calls, *_in_values(module, file)]
    found: dict[tuple[str | bytes, int], Use] = {}
    for use in all_uses:
        key = (use.pattern.pattern, use.pattern.flags)
        known = found.get(key, use)
        found[key] = Use(known.place, known.pattern, known.methods | use.methods)
    return [use for use in found.values() if _widest(use.pattern) > SHORT], unknown


def _constant_uses(tree: ast.Module, file: str) -> Iterator[Use]:
    """The patterns of a module, which is not imported. Raises Unknown if that is needed."""
    names = {
        id(statement.value): target.id
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=method), args=[first, *_]):
                if method not in (*METHODS, "compile"):
                    continue
                if not isinstance(first, ast.Constant):
                    raise Unknown
                methods = _methods_of(names.get(id(node)), file) if method == "compile" else {method}
                yield Use(
                    f"{file}:{node.lineno}", re.compile(first.value, _flags(node, method, re)), frozenset(methods)
                )


def _methods_of(name: str | None, file: str) -> set[str]:
    """The methods that are called on a pattern of this name; the worst one if none is found."""
    if name is None:
        return {"search"}
    source = sources()[file] if name.startswith("_") else "\n".join(sources().values())
    return set(re.findall(rf"\b{name}\.({'|'.join(METHODS)})\b", source)) or {"search"}


def _widest(pattern: re.Pattern[Any]) -> int:
    """The number of characters that a match may have; where it is small, so is the work at each place of a text."""
    return int(parser.parse(pattern.pattern, pattern.flags).getwidth()[1])


def _in_calls(module: ModuleType, tree: ast.Module, file: str) -> tuple[list[Use], list[str]]:
    """The patterns in calls such as re.sub(…), and the places of those in functions that are not constant."""
    found, unknown = [], []
    top = {id(node) for statement in tree.body if isinstance(statement, ast.Assign) for node in ast.walk(statement)}
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="re"), attr=("compile" | _) as method), args=[first, *_]
            ):
                place = f"{file}:{node.lineno}"
                if method not in (*METHODS, "compile") or (method == "compile" and id(node) in top):
                    continue  # what is compiled once is a value of the module
                try:
                    pattern = re.compile(_value(first, module), _flags(node, method, module))
                except Unknown:
                    unknown.append(place)
                else:
                    found.append(Use(place, pattern, frozenset({"search" if method == "compile" else method})))
    return found, unknown


def _value(node: ast.expr, module: ModuleType) -> Any:
    """The value of an expression; "name" stands for what is not known in a pattern. Raises Unknown."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_value(part, module) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        try:
            return str(_value(node.value, module))
        except Unknown:
            return "name"
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[ast.GeneratorExp(elt=part)]):
            return _value(part, module)
    try:
        return eval(compile(ast.Expression(node), module.__name__, "eval"), vars(module))  # noqa: S307 (our own code)
    except NameError:
        raise Unknown from None


def _flags(call: ast.Call, method: str, module: ModuleType) -> int:
    at = {"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(method, 2)
    given = [*(k.value for k in call.keywords if k.arg == "flags"), *call.args[at : at + 1]]
    return int(_value(given[0], module)) if given else 0


def _in_values(module: ModuleType, file: str) -> Iterator[Use]:
    """The patterns among the values of the module, also inside its tables."""
    for name, value in list(vars(module).items()):
        for pattern in _inside(value):
            yield Use(f"{module.__name__}.{name}", pattern, frozenset(_methods_of(name, file)))


def _inside(value: object) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, Mapping):
        yield from itertools.chain.from_iterable(map(_inside, value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from itertools.chain.from_iterable(map(_inside, value))


# --- texts for them -------------------------------------------------------------------------------------------------


def attacks(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str, str]]:
    """Texts that look like matches as long as possible, as (beginning, part to repeat, end)."""
    tree = list(
        parser.parse(
            pattern.pattern, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
        )
    )
    letters = sorted({c for c in _letters(tree)} | set(" a1\n"))[:24]
    pumps = dict.fromkeys(("", c) for c in letters)
    pumps |= dict.fromkeys(_pumps(tree, ""))
    pumps |= dict.fromkeys(("", a + b) for a, b in itertools.permutations(letters[:10], 2))
    for (before, pump), after in itertools.product(pumps, ("", "\x01")):
        if pump:
            yield before, pump, after


def _pumps(sequence: Iterable[Any], before: str) -> Iterator[tuple[str, str]]:
    """For each place of a pattern what leads there, and what may be repeated there."""
    for operation, argument in sequence:
        if before:
            yield "", before  # many beginnings of a match
            yield "", before + "a"
        if operation in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            for sample in _samples(argument[2]):
                yield before, sample
                if before:
                    yield "", before + 9 * sample
            yield from _pumps(argument[2], before)
        elif operation is op.BRANCH:
            for branch in argument[1]:
                yield from _pumps(branch, before)
        elif operation is op.SUBPATTERN:
            yield from _pumps(argument[3], before)
        elif operation is op.ATOMIC_GROUP:
            yield from _pumps(argument, before)
        elif operation in (op.ASSERT, op.ASSERT_NOT):
            yield from _pumps(argument[1], before)
        before += next(iter(_samples([(operation, argument)])), "")
    if before:
        yield "", before


def _samples(sequence: Iterable[Any]) -> list[str]:
    """A few texts that match, the shortest first."""
    samples = [""]
    for operation, argument in sequence:
        parts = _samples_of(operation, argument)
        samples = [a + b for a in samples for b in parts][:6]
    return samples


def _samples_of(operation: Any, argument: Any) -> list[str]:
    if operation is op.LITERAL:
        return [chr(argument)]
    if operation is op.NOT_LITERAL:
        return [next(c for c in "a b1" if ord(c) != argument)]
    if operation is op.ANY:
        return ["a", " "]
    if operation is op.IN:
        return _members(argument)[:5]
    if operation in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        least = argument[0] or min(1, argument[1])
        return [sample * min(least, 100) for sample in _samples(argument[2])[:4]]
    if operation is op.BRANCH:
        return [sample for branch in argument[1] for sample in _samples(branch)[:2]][:8]
    if operation is op.SUBPATTERN:
        return _samples(argument[3])
    if operation is op.ATOMIC_GROUP:
        return _samples(argument)
    return [""]


_CATEGORIES = {
    op.CATEGORY_DIGIT: "1",
    op.CATEGORY_NOT_DIGIT: "a ",
    op.CATEGORY_SPACE: " \n",
    op.CATEGORY_NOT_SPACE: "a.",
    op.CATEGORY_WORD: "a1",
    op.CATEGORY_NOT_WORD: " .",
}


def _members(argument: Any) -> list[str]:
    """Some characters of a class."""
    first = argument[0][0] if argument else None
    if first is op.NEGATE:
        return [c for c in "a 1.\n-é" if not any(_is_member(c, *part) for part in argument[1:])] or ["\u2603"]
    members: list[str] = []
    for operation, value in argument:
        if operation is op.LITERAL:
            members.append(chr(value))
        elif operation is op.RANGE:
            members += [chr(value[0]), chr(value[1])]
        elif operation is op.CATEGORY:
            members += _CATEGORIES.get(value, "a")
    return members or ["a"]


def _is_member(character: str, operation: Any, value: Any) -> bool:
    if operation is op.LITERAL:
        return ord(character) == value
    if operation is op.RANGE:
        return value[0] <= ord(character) <= value[1]
    pattern = {
        op.CATEGORY_DIGIT: r"\d", op.CATEGORY_NOT_DIGIT: r"\D", op.CATEGORY_SPACE: r"\s",
        op.CATEGORY_NOT_SPACE: r"\S", op.CATEGORY_WORD: r"\w", op.CATEGORY_NOT_WORD: r"\W",
    }[value]  # fmt: skip
    return re.match(pattern, character) is not None


def _letters(sequence: Iterable[Any]) -> Iterator[str]:
    for operation, argument in sequence:
        if operation is op.BRANCH:
            yield from itertools.chain.from_iterable(map(_letters, argument[1]))
        elif operation in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            yield from _letters(argument[2])
        elif operation is op.SUBPATTERN:
            yield from _letters(argument[3])
        elif operation is op.ATOMIC_GROUP:
            yield from _letters(argument)
        elif operation in (op.ASSERT, op.ASSERT_NOT):
            yield from _letters(argument[1])
        else:
            yield from _samples_of(operation, argument)


# --- time -----------------------------------------------------------------------------------------------------------

FLOOR_S = 0.003
RATIO = 3.0  # twice the text may take less than this multiple of the time
ROUNDS = 6


def grows(work: Callable[[int], object], size: int, floor_s: float = FLOOR_S) -> bool:
    """Whether `work` takes RATIO times as long, or longer, for a text of twice the `size`, and again for twice that.

    What takes less than `floor_s` is not compared.
    The processor time of this thread counts, the least of a few, so that a busy machine makes no difference.
    """
    for small in (20, size // 16):  # from a longer text, a pattern of exponential time would not come back
        if all(seconds(work, small) > 10 * floor_s for _ in range(2)):
            return True
    if seconds(work, 2 * size) < floor_s:
        return False
    least = [float("inf")] * 3
    for _ in range(ROUNDS):
        least = [min(before, seconds(work, times * size)) for before, times in zip(least, (1, 2, 4), strict=True)]
        if any(larger < RATIO * smaller for smaller, larger in itertools.pairwise(least)):
            return False
    return True


def seconds(work: Callable[[int], object], size: int) -> float:
    """The processor time of this thread that `work` on a text of this size takes."""
    began = time.thread_time()
    work(size)
    return time.thread_time() - began
