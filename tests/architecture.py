"""The rules of the layout as pure functions: sources in, messages out, no message where a rule holds.

Sources are {path: text}, paths from the project's root with `/`. A room is a sub-package, or one file, with one
purpose. It stands one floor above the highest room of its package that it imports. An import counts wherever it
stands: also in a function and under `TYPE_CHECKING`. `tests/test_architecture.py` holds the rooms.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

Sources = dict[str, str]
Arrows = dict[str, set[str]]


class Room(NamedTuple):
    """ours: the rooms, or whole packages, that it may import besides itself, and libraries: what else, by import name.

    face: whether the `__init__.py` of a folder names what is public. Without one it imports nothing, so that a heavy
    library comes only with the module that needs it.
    """

    ours: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    face: bool = True


Rooms = dict[str, Room]


class Import(NamedTuple):
    """One imported name, or a whole module where `name` is empty."""

    path: str
    line: int
    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {'.'.join(filter(None, [self.module, self.name]))}"


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def python(sources: Sources) -> dict[str, ast.Module]:
    return {path: parsed(text) for path, text in sources.items() if path.endswith(".py")}


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def written_imports(path: str, text: str) -> list[Import]:
    """The imports of one file as they stand there, relative ones resolved."""
    package = path.split("/")[:-1]
    found = []
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            found += [Import(path, node.lineno, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            found += [Import(path, node.lineno, source, alias.name) for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                found.append(Import(path, node.lineno, str(node.args[0].value), ""))
    return found


def imports(sources: Sources) -> Iterator[Import]:
    """Every import of every file; `from room import module` imports the module, not the room's face."""
    modules = {module_of(path) for path in sources if path.endswith(".py")}
    for path, text in sources.items():
        for found in written_imports(path, text) if path.endswith(".py") else ():
            whole = f"{found.module}.{found.name}"
            yield found._replace(module=whole, name="") if found.name and whole in modules else found


def room_of(module: str, rooms: Rooms) -> str | None:
    """The room that a module belongs to. A room around other rooms, such as a package, is its `__init__.py` alone."""
    if module in rooms:
        return module
    while "." in module:
        module = module.rpartition(".")[0]
        if module in rooms:
            return None if any(other.startswith(f"{module}.") for other in rooms) else module
    return None


def packages(rooms: Rooms) -> set[str]:
    return {room.partition(".")[0] for room in rooms}


def between_rooms(sources: Sources, rooms: Rooms) -> Iterator[tuple[Import, str, str]]:
    """The imports from one room of ours into another, with the two rooms. What has no room stands for itself."""
    ours = packages(rooms)
    place = cache(lambda module: room_of(module, rooms) or module)
    for found in imports(sources):
        if found.module.partition(".")[0] in ours:
            here, there = place(module_of(found.path)), place(found.module)
            if here != there:
                yield found, here, there


def files_without_a_room(sources: Sources, rooms: Rooms) -> list[str]:
    messages = []
    for path in python(sources):
        if room_of(module_of(path), rooms) is None:
            package = path.partition("/")[0]
            known = ", ".join(room for room in rooms if room.startswith(f"{package}."))
            messages.append(f"{path} belongs to no room; rooms of {package}: {known}")
    return messages


def rooms_without_a_file(sources: Sources, rooms: Rooms) -> list[str]:
    filled = {room_of(module_of(path), rooms) for path in python(sources)}
    return [f"the room {room} has no file" for room in rooms if room not in filled]


def forbidden_rooms(sources: Sources, rooms: Rooms) -> list[str]:
    messages = []
    for found, here, there in between_rooms(sources, rooms):
        allowed = rooms[here].ours if here in rooms else ()
        if not any(there == room or there.startswith(f"{room}.") for room in allowed):
            messages.append(f"{found}; {here} may import {', '.join(allowed) or 'nothing of ours'}")
    return messages


def forbidden_libraries(sources: Sources, rooms: Rooms) -> list[str]:
    messages = []
    known = sys.stdlib_module_names | packages(rooms)
    place = cache(lambda path: room_of(module_of(path), rooms))
    for found in imports(sources):
        library = found.module.partition(".")[0]
        here = place(found.path)
        if here is None or library in known:
            continue
        if library not in rooms[here].libraries:
            where = [room for room in rooms if library in rooms[room].libraries]
            elsewhere = f"; {library} belongs in {', '.join(where)}" if 0 < len(where) <= 3 else ""
            messages.append(f"{found}; {here} may import {', '.join(rooms[here].libraries) or 'no library'}{elsewhere}")
    return messages


def unused_libraries(sources: Sources, rooms: Rooms) -> list[str]:
    """Libraries that a room may import and does not."""
    place = cache(lambda path: room_of(module_of(path), rooms))
    used = {(place(found.path), found.module.partition(".")[0]) for found in imports(sources)}
    return [
        f"{name} may import {library} and does not: take it out of the table"
        for name, room in rooms.items()
        for library in room.libraries
        if (name, library) not in used
    ]


def private_names(sources: Sources, rooms: Rooms) -> list[str]:
    """Underscored names, and underscored modules, that leave their room."""
    return [
        f"{found}; an underscored name stays in its room, {there}"
        for found, _, there in between_rooms(sources, rooms)
        if any(re.match(r"_(?!_)", part) for part in (*found.module.split("."), found.name))
    ]


def public_names(tree: ast.Module) -> set[str]:
    """What `__all__` lists."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def faces(sources: Sources, rooms: Rooms) -> list[str]:
    """Rooms with a face that names nothing, rooms without one that import, and ways around a face."""
    trees = {module_of(path): tree for path, tree in python(sources).items() if path.endswith("/__init__.py")}
    named = {room: public_names(trees[room]) for room in rooms if room in trees and rooms[room].face}
    messages = [f"{room} has a face, and its `__init__.py` lists no `__all__`" for room in named if not named[room]]
    for room in rooms:
        if room in trees and not rooms[room].face and len(trees[room].body) > 1:
            messages.append(f"{room} has no face, and its `__init__.py` holds more than a docstring")
    for found, _, there in between_rooms(sources, rooms):
        if found.module != there and found.name in named.get(there, ()):
            messages.append(f"{found}; {found.name} is public: import it from {there}")
    return messages


def circles(arrows: Arrows) -> list[str]:
    """Each group of names that lead back to themselves, as one shortest way around."""
    found = {}
    for start in sorted(arrows):
        came_from: dict[str, str] = {}
        ahead = [start]
        for name in ahead:
            for other in sorted(arrows.get(name, ())):
                if other not in came_from:
                    came_from[other] = name
                    ahead.append(other)
        if start in came_from:
            way = [start, came_from[start]]
            while way[-1] != start:
                way.append(came_from[way[-1]])
            found.setdefault(frozenset(way), " → ".join(reversed(way)))
    return list(found.values())


def module_arrows(sources: Sources) -> Arrows:
    modules = {module_of(path) for path in python(sources)}
    arrows: Arrows = defaultdict(set)
    for found in imports(sources):
        if found.module in modules:
            arrows[module_of(found.path)].add(found.module)
    return arrows


def allowed_arrows(rooms: Rooms) -> Arrows:
    """From each room to all that it may import."""
    return {
        room: {other for other in rooms for name in rooms[room].ours if other == name or other.startswith(f"{name}.")}
        for room in rooms
    }


def room_arrows(sources: Sources, rooms: Rooms) -> Arrows:
    arrows: Arrows = {room: set() for room in rooms}
    for _, here, there in between_rooms(sources, rooms):
        arrows.setdefault(here, set()).add(there)
    return arrows


def floors(arrows: Arrows) -> dict[str, int]:
    """The floor of each room, from 1, by the arrows inside its package; there must be no circles."""
    inside = {
        room: {other for other in others if other in arrows and other.partition(".")[0] == room.partition(".")[0]}
        for room, others in arrows.items()
    }
    level = dict.fromkeys(arrows, 1)
    for _ in arrows:
        level = {room: 1 + max((level[other] for other in others), default=0) for room, others in inside.items()}
    return level


def too_many_floors(arrows: Arrows, most: dict[str, int]) -> list[str]:
    if around := circles(arrows):
        return [f"rooms in a circle stand on no floor: {circle}" for circle in around]
    return [
        f"{room} stands on floor {floor}; {package} has at most {limit}"
        for package, limit in most.items()
        for room, floor in floors(arrows).items()
        if floor > limit and room.partition(".")[0] == package
    ]


def missing_docstrings(sources: Sources) -> list[str]:
    return [f"{path} has no docstring" for path, tree in python(sources).items() if not ast.get_docstring(tree)]


def long_parts(sources: Sources, function: int, class_: int, javascript: int, apart: tuple[str, ...]) -> list[str]:
    """Functions and classes of more lines than that, docstring and all. Kernels, and files under `apart`, may."""
    messages = []
    for path, tree in python(sources).items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            most = class_ if isinstance(node, ast.ClassDef) else function
            is_kernel = any("triton.jit" in ast.unparse(decorator) for decorator in node.decorator_list)
            if lines > most and not is_kernel and not path.startswith(apart):
                messages.append(f"{path}:{node.lineno} {node.name} has {lines} lines, at most {most}")
    for path, text in sources.items():
        if path.endswith(".js"):
            for line, lines in javascript_functions(text):
                if lines > javascript:
                    head = text.splitlines()[line - 1].strip()
                    messages.append(f"{path}:{line} `{head}` has {lines} lines, at most {javascript}")
    return messages


JAVASCRIPT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[\w$#]+|=>|\s+|.""",
    re.DOTALL,
)
REGULAR_EXPRESSION = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\n])+/\w*")
TEMPLATE = re.compile(r"(?:\\.|\$(?!\{)|[^`\\$])*(`|\$\{)", re.DOTALL)
NO_VALUE = {"return", "typeof", "case", "in", "of", "delete", "void", "throw", "new", "else", "do", "await", "yield"}
NO_FUNCTION = {"if", "for", "while", "switch", "catch", "with", "await"}


def javascript_functions(text: str) -> list[tuple[int, int]]:
    """First line and number of lines of each function with a body in braces."""
    functions = []
    opened: list[tuple[str, str, int]] = []  # each open bracket: itself, the word before it, a function's line or 0
    earlier, before, closed, position = "", "", ("", "", 0), 0
    while position < len(text):
        match = JAVASCRIPT.match(text, position)
        is_value = before in (")", "]", "}") or (re.match(r"[\w$\"'`]", before) and before not in NO_VALUE)
        if text[position] == "/" and match[0] == "/" and not is_value:
            match = REGULAR_EXPRESSION.match(text, position) or match
        token, line = match[0], text.count("\n", 0, position) + 1
        position = match.end()
        if token.isspace() or token.startswith(("//", "/*")):
            continue
        if token in "([{":
            head = line
            if token == "{":
                is_arrow = before == "=>"
                is_function = is_arrow or (before == ")" and closed[1] not in NO_FUNCTION)
                head = (closed[2] if not is_arrow or earlier == ")" else line) if is_function else 0
            opened.append((token, before, head))
        elif token in ")]}":
            closed = opened.pop()
            if closed[0] == "{" and closed[2]:
                functions.append((closed[2], line - closed[2] + 1))
        if token == "`" or (token == "}" and closed[0] == "${"):
            match = TEMPLATE.match(text, position)
            position = match.end()
            if match[1] == "${":
                opened.append(("${", "", 0))
            token = "`" if match[1] == "`" else "${"
        earlier, before = before, token
    return functions
