"""The house: which way imports go, what they may cost, and what every module has.

The tables say it; the tests read the source with ast, and one interpreter imports everything to see what that loads.
"""
from __future__ import annotations

import ast
import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "nscontainer"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Which module stands on which floor. A folder stands where its name does, unless a module in it has a line of its own.
FLOORS = {
    "ground": "sys errors",
    "data": "records strictjson config resources devices units validate validate_network validate_scheduling "
            "validate_seccomp",
    "room": "mounts security cgroups",
    "both": "sync namespaces hooks console network user",
    "child": "zygote init init_setns init_steps warm",
    "parent": "factory container confinement process handles spawner gate ids pid1 idmap state stats checkpoint "
              "criurpc",
    "door": "__main__ __init__ cli cli_sandbox popen relay sandbox spec spec_features spec_mounts "
            "spec_process spec_reader spec_resources spec_seccomp spec_template "
            "cli_create cli_exec cli_glance cli_life cli_limits cli_notify cli_oci cli_options cli_query "
            "cli_report cli_root cli_table",
}

# What a module of a floor may import. Every module may import from its own folder, but a room no other room.
MAY_IMPORT = {
    "ground": "ground",
    "data": "ground data",
    "room": "ground data",
    "both": "ground data",
    "child": "ground data room both child",
    "parent": "ground data room both parent",
    "door": "ground data room both parent door",
}

# The lines that cross, each with its reason.
CROSSINGS = {
    ("factory", "zygote"): "Factory.start_initialization: a process that changes sides for good",
}

# The caller's business: the child is in its cgroup before it runs, and is told which labels to take.
NOT_FOR_THE_CHILD = {"cgroups", "security.label", "security.selinux"}

# Modules of the standard library that cost more than the kernel's whole work on a container.
DEAR = _words(
    "argparse asyncio base64 calendar collections contextlib copy dataclasses datetime enum fnmatch functools getopt "
    "glob hashlib heapq importlib.metadata importlib.resources inspect ipaddress json locale logging operator pathlib "
    "platform queue random re selectors shlex shutil signal socket string subprocess tempfile textwrap threading "
    "tokenize traceback typing urllib uuid warnings weakref")

# Modules that are on no path of create, start, run, exec, kill, delete or state, and what they may load.
OFF_THE_HOT_PATH = {
    "popen": _words("selectors subprocess warnings"),  # its exceptions are subprocess's own
}

# Code execution by whoever writes the channel; a terminal by its path; gcc and ldconfig found by PATH.
NEVER = _words("pickle marshal shelve multiprocessing pty ctypes.util")

# They read the files of the root they run in, which is the image's: NSS modules, locales, codecs.
NEVER_IN_THE_CHILD = _words("pwd grp spwd getpass socket locale gettext subprocess")

# Calls that follow an image's symbolic links, look along a search path, or ask NSS.
NO_CALLS_IN_THE_CHILD = _words(
    "os.makedirs os.openpty os.path.realpath os.path.expanduser os.execvp os.execvpe os.execlp os.execlpe os.system "
    "os.popen os.getlogin os.posix_spawnp os.spawnvp")


class Import(NamedTuple):
    """One imported module: "sys.mount" is ours, relative to the package; "os" is not."""

    module: str
    ours: bool
    line: int
    for_types: bool    # below "if TYPE_CHECKING:"
    in_function: bool  # runs late, or never


def _name(path: Path) -> str:
    """Return a module's name below the package: "sys.mount", "sys.__init__", "errors"."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in MODULES.items()}


def _exists(name: str) -> bool:
    return name in MODULES or f"{name}.__init__" in MODULES


def _absolute(module: str, node: ast.ImportFrom) -> str:
    """Return the module that a relative import names, relative to the package; "" is the package itself."""
    folder = module.split(".")[:-1]
    above = folder[:len(folder) - (node.level - 1)] if node.level > 1 else folder
    return ".".join([*above, *filter(None, [node.module])])


def _imports(module: str) -> Iterator[Import]:
    """Find every import statement of a module, wherever it stands."""
    def visit(node: ast.AST, for_types: bool, in_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, False, node.lineno, for_types, in_function)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield Import(node.module or "", False, node.lineno, for_types, in_function)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            inside = [f"{base}.{alias.name}" if base else alias.name for alias in node.names]
            names = {"__init__" if name == "__version__" else name if _exists(name) or not base else base
                     for name in inside}
            yield from (Import(name, True, node.lineno, for_types, in_function) for name in sorted(names))
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                yield from visit(statement, True, in_function)
            for statement in node.orelse:
                yield from visit(statement, for_types, in_function)
        else:
            inner = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for below in ast.iter_child_nodes(node):
                yield from visit(below, for_types, inner)

    yield from visit(TREES[module], False, False)


IMPORTS = {module: list(_imports(module)) for module in MODULES}


def _floor(module: str) -> str | None:
    for floor, names in FLOORS.items():
        if module in names.split():
            return floor
    top = module.split(".")[0]
    return next((floor for floor, names in FLOORS.items() if top in names.split()), None)


def _runs_in_the_child(module: str) -> bool:
    return _floor(module) in MAY_IMPORT["child"].split() and not _not_for_the_child(module)


def _not_for_the_child(module: str) -> bool:
    return not NOT_FOR_THE_CHILD.isdisjoint((module, module.split(".")[0]))


def _at(module: str, line: int) -> str:
    return f"{MODULES[module].relative_to(PACKAGE.parent)}:{line}"


def _complain(problems: list[str]) -> None:
    assert not problems, "\n".join(["the house says no:", *problems])


# --- which way imports go


def test_every_module_stands_on_a_floor() -> None:
    _complain([f"{path.relative_to(PACKAGE.parent)}: give it a place in FLOORS"
               for module, path in MODULES.items() if _floor(module) is None])


def test_imports_go_down_never_up() -> None:
    problems = []
    for module, imports in IMPORTS.items():
        floor, room = _floor(module), module.split(".")[0]
        for one in imports:
            below = _floor(one.module)
            if not one.ours or floor is None or below is None or (module, one.module) in CROSSINGS:
                continue
            if below not in MAY_IMPORT[floor].split() and not (floor == below and room == one.module.split(".")[0]):
                problems.append(f"{_at(module, one.line)}: {floor} may not import {one.module}, which is {below}")
            elif floor == "child" and _not_for_the_child(one.module):
                problems.append(f"{_at(module, one.line)}: the child may not import {one.module}")
    _complain(problems)


def test_imports_do_not_go_round() -> None:
    """Follow what import statements load at once; a later import inside a function closes no circle."""
    graph = {module: {one.module if one.module in MODULES else f"{one.module}.__init__"
                      for one in imports if one.ours and not one.for_types and not one.in_function}
             for module, imports in IMPORTS.items()}
    done: set[str] = set()
    problems = []

    def walk(module: str, path: list[str]) -> None:
        if module in path:
            problems.append(" -> ".join([*path[path.index(module):], module]))
        elif module not in done:
            for below in sorted(graph.get(module, ())):
                walk(below, [*path, module])
            done.add(module)

    for module in graph:
        walk(module, [])
    _complain(problems)


def test_imports_inside_the_package_are_relative() -> None:
    _complain([f"{_at(module, one.line)}: import {one.module} relatively, so that a vendored copy works"
               for module, imports in IMPORTS.items() for one in imports
               if not one.ours and one.module.split(".")[0] == PACKAGE.name])


def test_a_missing_module_is_not_imported() -> None:
    """An import in a function, or one for types, would fail only when somebody gets there."""
    _complain([f"{_at(module, one.line)}: there is no {one.module}"
               for module, imports in IMPORTS.items() for one in imports if one.ours and not _exists(one.module)])


# --- what the standard library may give


def _standard_modules() -> frozenset[str]:
    if sys.version_info >= (3, 10):
        return sys.stdlib_module_names
    library = Path(sysconfig.get_path("stdlib"))
    files = [*library.iterdir(), *(library / "lib-dynload").iterdir()]
    return frozenset([*sys.builtin_module_names, *(path.name.split(".")[0] for path in files)])


STDLIB = _standard_modules()


def test_only_the_standard_library_is_imported() -> None:
    _complain([f"{_at(module, one.line)}: {one.module} is not in the standard library"
               for module, imports in IMPORTS.items() for one in imports
               if not one.ours and one.module.split(".")[0] not in STDLIB | {"__future__"}
               and not (one.for_types and one.module == "typing_extensions")])


def test_the_hot_path_imports_nothing_dear() -> None:
    problems = []
    for module, imports in IMPORTS.items():
        for one in imports:
            if one.ours or one.for_types or one.in_function:
                continue
            dear = {one.module, one.module.split(".")[0]} & DEAR - OFF_THE_HOT_PATH.get(module, frozenset())
            problems += [f"{_at(module, one.line)}: {name} costs too much to import" for name in sorted(dear)]
    _complain(problems)


def test_nothing_imports_what_runs_code_or_looks_along_a_path() -> None:
    _complain([f"{_at(module, one.line)}: {one.module}" for module, imports in IMPORTS.items() for one in imports
               if one.module in NEVER and not one.for_types])


def test_the_child_imports_nothing_late_and_nothing_that_reads_the_image() -> None:
    """After the root has changed, an import would run the image's file with the host's rights."""
    problems = []
    for module in filter(_runs_in_the_child, MODULES):
        for one in IMPORTS[module]:
            if one.in_function and not one.for_types:
                problems.append(f"{_at(module, one.line)}: {one.module} is imported late")
            if not one.ours and not one.for_types and one.module.split(".")[0] in NEVER_IN_THE_CHILD:
                problems.append(f"{_at(module, one.line)}: {one.module} reads the files of the root it runs in")
    _complain(problems)


def test_the_child_calls_nothing_that_follows_the_image() -> None:
    problems = []
    for module in filter(_runs_in_the_child, MODULES):
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in NO_CALLS_IN_THE_CHILD:
                problems.append(f"{_at(module, node.lineno)}: {ast.unparse(node)}")
    _complain(problems)


# --- what every module has


def _is_assigned(tree: ast.Module, name: str) -> bool:
    return any(isinstance(node, (ast.Assign, ast.AnnAssign))
               and any(isinstance(target, ast.Name) and target.id == name
                       for target in (node.targets if isinstance(node, ast.Assign) else [node.target]))
               for node in tree.body)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_docstring_future_annotations_and_a_list_of_its_names(module: str) -> None:
    tree = TREES[module]
    problems = []
    if not ast.get_docstring(tree):
        problems.append("it has no docstring")
    if len(tree.body) > 1:  # a docstring alone, as in a folder's __init__, needs neither
        if not any(isinstance(n, ast.ImportFrom) and n.module == "__future__" and n.names[0].name == "annotations"
                   for n in tree.body):
            problems.append("it lacks 'from __future__ import annotations'")
        if not _is_assigned(tree, "__all__"):
            problems.append("it has no __all__")
    _complain([f"{_at(module, 1)}: {problem}" for problem in problems])


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("sys.") and "__init__" not in name])
def test_a_module_of_sys_says_its_lesson_and_what_to_read(module: str) -> None:
    words = [line.split()[0] for line in (ast.get_docstring(TREES[module]) or "").splitlines() if line.strip()]
    _complain([f"{_at(module, 1)}: its docstring has no line that begins with {word}"
               for word in ("Lesson", "Read") if word not in words])


def test_no_module_but_sys_bears_the_name_of_a_standard_one() -> None:
    """Below sys/ the manual decides: there `resource` is getrlimit(2)'s."""
    _complain([f"{path.relative_to(PACKAGE.parent)}: {path.stem} is a module of the standard library"
               for module, path in MODULES.items()
               if path.stem in STDLIB and path.stem not in ("__init__", "__main__") and not module.startswith("sys.")])


def test_nothing_in_the_package_is_hidden_from_the_wheel() -> None:
    _complain([f"{folder.relative_to(PACKAGE.parent)} has no __init__.py"
               for folder in {path.parent for path in MODULES.values()} if not (folder / "__init__.py").exists()])
    assert (PACKAGE / "py.typed").exists()


# --- what an import loads


def _loaded_by(code: str) -> set[str]:
    """Return the modules that *code* makes a bare interpreter load beyond those it starts with."""
    program = ("import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
               f"{code}\nafter = set(sys.modules) - before; import json; print(json.dumps(sorted(after)))")
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", program, str(PACKAGE.parent)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_else_of_it() -> None:
    loaded = _loaded_by("import nscontainer; assert nscontainer.__version__")
    assert {name for name in loaded if name.startswith("nscontainer")} == {"nscontainer"}
    assert not loaded & DEAR


def test_importing_every_module_of_the_hot_path_loads_nothing_dear() -> None:
    """What ast cannot see: the modules that a cheap-looking module imports in its turn."""
    names = [f"nscontainer.{name}".replace(".__init__", "") for name in MODULES
             if name not in OFF_THE_HOT_PATH and name != "__main__"]
    loaded = _loaded_by(f"for name in {names!r}: __import__(name)")
    assert not loaded & DEAR, "see python3 -X importtime"


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__main__"])
def test_every_name_of_all_is_there(module: str) -> None:
    loaded = __import__(f"nscontainer.{module}".replace(".__init__", ""), fromlist=["__all__"])
    assert [name for name in getattr(loaded, "__all__", ()) if not hasattr(loaded, name)] == []
