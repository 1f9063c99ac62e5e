"""The layout of the package: who may import whom, what an import costs, docstrings everywhere."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import skattrib

PACKAGE = Path(skattrib.__file__).parent

# imports go down only; modules of one floor do not import each other
FLOORS = {
    # csrc
    "_crammer_singer": 0,
    "_scoring_kernels": 0,
    # functions of arrays
    "_duals": 1,
    "_proximal_rows": 0,
    "_proximal_factors": 1,
    "_proximal_newton": 2,
    "_ascent": 2,
    "_proximal": 3,
    "_scoring": 2,
    "_loss": 3,
    "_hessian": 4,
    "_inverses": 5,
    "_newton": 5,
    "_solvers": 6,
    # what the explainers share
    "_base": 3,
    "_heads": 6,
    "_influence": 7,
    "_similarity": 7,
    # explainers
    "dual_view": 8,
    "representer": 8,
    "influence": 8,
    "similarity": 8,
    "datamodels": 8,
    # what is made of them
    "dual_view_cv": 9,
    "plots": 9,
    "_study": 9,
    "comparison": 10,
    "label_issues": 9,
    # input and output of the command line
    "_rows": 0,
    "_tables": 1,
    "_records": 0,
    "_report_page": 0,
    "_methods": 9,
    "_report": 10,
    "__main__": 11,
    # refits of any estimator
    "_refits": 0,
    "_result_folder": 0,
    "retraining": 1,
    # these stand aside: no explainer below them
    "planting": 0,
    "metrics": 1,
    "torch_adapters": 0,
    "__init__": 12,
}
EXPLAINERS = [module for module, floor in FLOORS.items() if floor == 8]
# a later floor may take these; the explainers and what they rest on may not
ASIDE = {"metrics", "planting", "torch_adapters", "_rows", "_tables", "plots"}

# modules of a folder are on the floor of the folder and may import each other
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
MODULES = sorted(FILES)
each = pytest.mark.parametrize("module", MODULES)


def imports(module, all_levels=True):
    """Dotted names that a module imports, those from its own package absolute."""
    tree = ast.parse(FILES[module].read_text())
    found = set()
    parents = ["skattrib", *FILES[module].relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree) if all_levels else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = parents[: len(parents) + 1 - node.level] if node.level else []
            origin = ".".join(filter(None, [*package, node.module]))
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return found


def top(module):
    return module.split(".")[0]


def own(module):
    """Modules of the package that a module imports, but its neighbours in a folder."""
    names = (name.split(".") for name in imports(module))
    found = {name[1] for name in names if name[0] == "skattrib" and name[1] in FLOORS}
    return found - {top(module)} if FILES[module].parent != PACKAGE else found


def test_every_module_has_a_floor():
    assert set(map(top, MODULES)) <= FLOORS.keys()
    compiled = {path.name.split(".")[0] for path in PACKAGE.glob("*.so")}
    assert compiled <= FLOORS.keys()


def test_the_reader_sees_imports():
    assert own("dual_view") >= {"_base", "_scoring", "_solvers"}
    assert own("__main__") >= {"_methods", "metrics"}
    assert "_refits" in own("metrics._curves")
    assert "skattrib.metrics._checks.check_entries" in imports("metrics._curves")
    assert "_crammer_singer" in own("_ascent") and "_scoring_kernels" in own("_scoring")


@each
def test_imports_go_down(module):
    floor = FLOORS[top(module)]
    assert {other for other in own(module) if FLOORS[other] >= floor} == set()
    if floor <= 8:
        assert own(module) & (ASIDE - {"_rows"}) == set()
    if module in EXPLAINERS:
        assert own(module) & set(EXPLAINERS) == set()


@each
def test_only_the_base_touches_private_names_of_scikit_learn(module):
    private = {
        name
        for name in imports(module)
        if name.startswith("sklearn") and any(part.startswith("_") for part in name.split("."))
    }
    assert module == "_base" or private == set()
    tree = ast.parse(FILES[module].read_text())
    reached = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and ast.unparse(node).startswith("sklearn.")
    }
    assert reached == set()


OPTIONAL = ("torch", "matplotlib", "pandas", "polars", "pyarrow", "jinja2")


@each
def test_optional_packages_are_imported_where_they_are_used(module):
    if module in ("plots", "torch_adapters"):
        pytest.skip("made of an optional package")
    outside = {top(name) for name in imports(module, all_levels=False)}
    assert outside & set(OPTIONAL) == set()


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


ENTRIES = [
    "skattrib",
    *(f"skattrib.{name}" for name in ("__main__", "metrics", "plots", "retraining")),
]


def test_imports_take_no_optional_package():
    # scikit-learn itself imports pandas where there is one
    code = f"""
import sys, sklearn.utils.fixes
before = set(sys.modules)
import {", ".join(ENTRIES)}
print(*set(sys.modules) - before, *sys.modules.keys() & {{"torch", "matplotlib"}})"""
    loaded = run(code)
    assert loaded >= set(ENTRIES) and loaded & set(OPTIONAL) == set()


def test_import_works_without_optional_packages():
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import {", ".join(ENTRIES)}
print(*sys.modules)"""
    loaded = run(code)
    assert "skattrib.__main__" in loaded and loaded & set(OPTIONAL) == set()


@each
def test_docstrings(module):
    tree = ast.parse(FILES[module].read_text())
    assert ast.get_docstring(tree)
    if top(module).startswith("_"):
        return
    kinds = (ast.FunctionDef, ast.ClassDef)
    missing = []
    for node in ast.walk(tree):
        for child in (
            getattr(node, "body", ()) if isinstance(node, (ast.Module, ast.ClassDef)) else ()
        ):
            public = isinstance(child, kinds) and not child.name.startswith("_")
            if public and not ast.get_docstring(child):
                missing.append(child.name)
    assert missing == []


def public_objects():
    yield from ((name, getattr(skattrib, name)) for name in skattrib.__all__)
    for module in ("_solvers", "comparison", "metrics", "planting", "plots", "retraining"):
        module = importlib.import_module(f"skattrib.{module}")
        names = getattr(module, "__all__", [name for name in vars(module) if name[0] != "_"])
        for name in names:
            value = getattr(module, name)
            if getattr(value, "__module__", "").startswith(module.__name__):
                yield name, value


@pytest.mark.parametrize(
    ("name", "value"), [pytest.param(*pair, id=pair[0]) for pair in public_objects()]
)
def test_public_names_say_what_they_are(name, value):
    assert inspect.getdoc(value)
    if not inspect.isclass(value):
        return
    for method, _ in inspect.getmembers(value, lambda v: callable(v) or isinstance(v, property)):
        if not method.startswith("_"):
            text = inspect.getdoc(getattr(value, method))
            assert text, f"{name}.{method}"


def test_public_names_exist_once():
    assert sorted(set(skattrib.__all__)) == sorted(skattrib.__all__)
    assert all(hasattr(skattrib, name) for name in skattrib.__all__)
