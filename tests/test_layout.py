"""The layout of the package: who may import whom, what an import costs, docstrings everywhere."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skattrib

PACKAGE = Path(skattrib.__file__).parent

# imports go down only, within folders too
FLOORS = {
    # arrays, checks; csrc
    "_arrays._csr": -2,
    "_arrays.checks": -1,
    "_arrays.row_files": -4,
    "_arrays.row_groups": -3,
    "_arrays.row_blocks": -2,
    "_arrays.operations": -1,
    "_arrays.outputs": -1,
    "_arrays.progress": -1,
    "_arrays.conjugate_gradients": -1,
    "_arrays": 0,
    "_svm._crammer_singer": 0,
    "explainers._scoring_kernels": 0,
    # solvers as functions of arrays
    "_svm": 0,
    "_svm.duals": 1,
    "_svm.screening": 0,
    "_svm.blocked": 2,
    "_svm.selected_rows": 0,
    "_svm.factors": 1,
    "_svm.newton_system": 2,
    "_svm.problem": 2.5,
    "_svm.search": 3,
    "_svm.ascent": 4,
    "_svm.proximal": 4,
    "_svm.row_space": 4,
    "_svm.crammer_singer": 5,
    "_svm.removals": 0,
    "_softmax": 0,
    "_softmax.targets": 0,
    "_softmax.loss": 1,
    "_softmax.file_loss": 2,
    "_softmax.row_space": 2,
    "_softmax.hessian": 2,
    "_softmax.preconditioners": 3,
    "_softmax.inverses": 4,
    "_softmax.newton": 4,
    "_softmax.removals": 5,
    # regressions of units
    "_regression": 0,
    "_regression.activations": 1,
    "_regression.loss": 1,
    "_regression.newton": 2,
    # gradients of rows
    "gradients._sketch_kernels": 0,
    "gradients.sketch": 1,
    "gradients.gauss_newton": 1,
    "gradients.mlp": 2,
    "gradients": 3,
    # tables, leaves
    "preprocessing.leaves": 2,
    "preprocessing.columns": 1,
    "preprocessing._numbers": 0,
    "preprocessing.decisions": 0,
    "preprocessing._kinds": 1,
    "preprocessing._blocks": 2,
    "preprocessing.tables": 2.5,
    "preprocessing": 3,
    # refits of any estimator: no explainer below them
    "retraining.result_folder": 0,
    "retraining.refits": 1,
    "retraining._outputs": 2,
    "retraining": 3,
    # these stand aside, too
    "planting._adversarial": 1,
    "planting._labels": 1,
    "planting._shortcuts": 2,
    "planting": 3,
    "metrics._checks": 1,
    "metrics._intervals": 1,
    "metrics._correlations": 2,
    "metrics._ranks": 2,
    "metrics._agreement": 3,
    "metrics._curves": 3,
    "metrics._detection": 3,
    "metrics._fairness": 3,
    "metrics._fidelity": 3,
    "metrics._maps": 3,
    "metrics._mislabels": 3,
    "metrics._supports": 3,
    "metrics._selection": 3,
    "metrics": 4,
    # what the explainers share
    "explainers._scoring": 4,
    "explainers._validation": 4,
    "explainers._base": 5,
    "explainers._classifier": 6,
    "explainers._heads": 7,
    "explainers._kernels": 6,
    "explainers._kernels.similarity": 7,
    "explainers._kernels.influence": 8,
    # explainers
    "explainers.dual_view": 9,
    "explainers.representer": 9,
    "explainers.representer_regressor": 9,
    "explainers.influence": 9,
    "explainers.similarity": 9,
    "explainers.datamodels": 9,
    "explainers.trak": 9,
    "explainers.mlp": 9,
    "explainers.dual_view_cv": 10,
    "explainers.averaged": 8,
    "explainers": 11,
    # networks of torch, beside the explainers
    "torch_adapters._networks": 4,
    "torch_adapters._batches": 4,
    "torch_adapters._outputs": 4,
    "torch_adapters._rows": 4,
    "torch_adapters.features": 5,
    "torch_adapters._row_gradients": 6,
    "torch_adapters.states": 5,
    "torch_adapters.gradients": 7,
    "torch_adapters.transformer": 6,
    "torch_adapters.maps.gradients": 7,
    "torch_adapters.maps.inputs": 7,
    "torch_adapters.maps.modules": 7,
    "torch_adapters.maps.lrp": 8,
    "torch_adapters.maps.pairs": 8,
    "torch_adapters.maps.pixel_maps": 9,
    "torch_adapters.maps": 10,
    "torch_adapters": 11,
    # what is made of them
    "plots._axes": 12,
    "plots._attributions": 13,
    "plots._errors": 14,
    "plots._judgements": 13,
    "plots._maps": 13,
    "plots._token_maps": 14,
    "plots._support": 13,
    "plots": 15,
    "findings._mixture": 11,
    "findings._noise": 11,
    "findings._judging": 11.5,
    "findings.label_issues": 12,
    "findings.misclassifications": 12,
    "findings.text": 12,
    "findings.images": 12,
    "findings.page": 12,
    "findings.records": 12,
    "findings.parts": 13,
    "findings.views": 13,
    "findings.lines": 14,
    "findings.report": 14,
    "findings.explanation": 16,
    "findings.explaining": 17,
    "findings": 18,
    # rows on a cluster
    "distributed._cluster": 11,
    "distributed._chunks": 12,
    "distributed._rows": 13,
    "distributed._parts": 14,
    "distributed._candidates": 14,
    "distributed._influence_parts": 15,
    "distributed._removals": 15,
    "distributed._loss": 14,
    "distributed._lazy": 15,
    "distributed._explainer": 16,
    "distributed.dual_view": 17,
    "distributed.influence": 17,
    "distributed.representer": 17,
    "distributed.similarity": 17,
    "distributed.label_issues": 17,
    "distributed": 18,
    "comparison._baselines": 12,
    "comparison._study": 11,
    "comparison._metrics": 12,
    "comparison._compare": 13,
    "comparison": 14,
    # the command line
    "_cli": 20,
    "_cli.inputs": 20,
    "_cli.reading": 20,
    "_cli.labels": 21,
    "_cli.delimited": 21,
    "_cli.printing": 20,
    "_cli.methods": 20,
    "_cli.matrices": 21,
    "_cli.tables": 22,
    "_cli.outputs": 21,
    "_cli.fitting": 21,
    "_cli.report": 22,
    "_cli.issues": 23,
    "_cli.explain": 23,
    "_cli.arguments": 24,
    "__main__": 25,
    "__init__": 25,
}
SHARED_FLOORS, EXPLAINER_FLOOR = 8, 9
EXPLAINERS = [module for module, floor in FLOORS.items() if floor == EXPLAINER_FLOOR]
# a later floor may take these; the explainers and what they rest on may not
ASIDE = {"metrics", "planting", "torch_adapters", "plots"}

FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
COMPILED = {
    ".".join([*path.relative_to(PACKAGE).parts[:-1], path.name.split(".")[0]])
    for suffix in ("so", "pyd")
    for path in PACKAGE.rglob(f"*.{suffix}")
}
MODULES = sorted(FILES)
each = pytest.mark.parametrize("module", MODULES)


def import_nodes(module, all_levels=True):
    """Pairs of an import statement and the dotted names it asks for, absolute."""
    tree = ast.parse(FILES[module].read_text())
    parents = ["skattrib", *FILES[module].relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree) if all_levels else tree.body:
        if isinstance(node, ast.Import):
            yield node, {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = parents[: len(parents) + 1 - node.level] if node.level else []
            origin = ".".join(filter(None, [*package, node.module]))
            yield node, {f"{origin}.{alias.name}" for alias in node.names}


def imports(module, all_levels=True):
    """Dotted names that a module imports, those from its own package absolute."""
    return set().union(*(names for _, names in import_nodes(module, all_levels)))


def top(module):
    return module.split(".")[0]


def own(module):
    """Modules of the package that a module imports."""
    names = [name[9:] for name in imports(module) if name.startswith("skattrib.")]
    return {n if n in FLOORS else n.rpartition(".")[0] for n in names} & FLOORS.keys()


def test_modules_and_floors_are_the_same():
    assert set(MODULES) | COMPILED == FLOORS.keys()


def test_the_house_is_small():
    python = {"__init__.py", "__main__.py", "py.typed", "__pycache__"}
    for folder in [PACKAGE, *(path for path in PACKAGE.iterdir() if path.is_dir())]:
        entries = {path.name for path in folder.iterdir() if path.suffix not in (".so", ".pyd")}
        assert len(entries - python) <= 16, folder.name


def test_the_reader_sees_imports():
    assert own("explainers.dual_view") >= {
        "explainers._validation",
        "_arrays",
        "_svm.crammer_singer",
    }
    assert own("_cli.explain") >= {"_cli.methods", "metrics"}
    assert "retraining.refits" in own("metrics._curves")
    assert "skattrib.metrics._checks.check_entries" in imports("metrics._curves")
    assert "_svm._crammer_singer" in own("_svm.problem")
    assert "explainers._scoring_kernels" in own("explainers._scoring")
    assert own("__init__") >= {"explainers", "comparison"}


@each
def test_imports_go_down(module):
    floor = FLOORS[module]
    assert {other for other in own(module) if FLOORS[other] >= floor} == set()
    if floor <= EXPLAINER_FLOOR and top(module) not in ASIDE:
        assert set(map(top, own(module))) & ASIDE == set()
    if module in EXPLAINERS:
        assert own(module) & set(EXPLAINERS) == set()


@each
def test_imports_from_the_package_are_relative(module):
    absolute = {
        name
        for node, names in import_nodes(module)
        for name in names
        if top(name) == "skattrib" and not getattr(node, "level", 0)
    }
    assert absolute == set()


@each
def test_private_modules_stay_in_their_folder(module):
    inside = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    strangers = {
        other
        for other in own(module)
        if other.rpartition(".")[2].startswith("_")
        and not f"{inside}.".startswith(f"{other.rpartition('.')[0]}.".lstrip("."))
    }
    assert strangers == set()


@each
def test_one_module_touches_private_names_of_scikit_learn(module):
    private = {
        name
        for name in imports(module)
        if name.startswith("sklearn") and any(part.startswith("_") for part in name.split("."))
    }
    assert module == "explainers._validation" or private == set()
    tree = ast.parse(FILES[module].read_text())
    reached = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and ast.unparse(node).startswith("sklearn.")
    }
    assert reached == set()


@each
def test_parallel_is_that_of_scikit_learn(module):
    """Joblib's own does not take scikit-learn's configuration to its workers."""
    used = imports(module) | set(re.findall(r"\bjoblib\.\w+", FILES[module].read_text()))
    assert used & {"joblib.Parallel", "joblib.delayed"} == set()


OPTIONAL = (
    *("tqdm", "torch", "matplotlib", "pandas", "polars", "pyarrow", "jinja2", "skrub"),
    *("dask", "distributed"),
)


@each
def test_optional_packages_are_imported_where_they_are_used(module):
    if top(module) in ("plots", "torch_adapters", "distributed"):
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
from skattrib import *
print(*set(sys.modules) - before, *sys.modules.keys() & {{"torch", "matplotlib"}})"""
    loaded = run(code)
    assert loaded >= set(ENTRIES) and loaded & set(OPTIONAL) == set()


def test_the_package_costs_next_to_nothing_until_a_name_is_asked_for():
    loaded = run("import sys, skattrib; print(*sys.modules)")
    assert {name for name in loaded if name.startswith("skattrib.")} == set()
    assert loaded & {"numpy", "scipy", "sklearn", "joblib"} == set()
    # what an explainer needs beside what every estimator of scikit-learn does
    code = """
import sys, sklearn.linear_model
before = set(sys.modules)
from skattrib import DualViewExplainer
print(*{name for name in set(sys.modules) - before if not name.startswith("skattrib")})"""
    assert len(run(code)) <= 20


def test_names_of_the_package_are_found_where_they_live():
    tree = ast.parse(FILES["__init__"].read_text())
    typed = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    names = [alias.name for node in typed for alias in node.names]
    assert sorted(names) == skattrib.__all__
    for node in typed:
        home = importlib.import_module(f"skattrib.{node.module}")
        for alias in node.names:
            assert getattr(skattrib, alias.name) is getattr(home, alias.name)
    assert set(skattrib.__all__) <= set(dir(skattrib))
    code = """
import skattrib
print(skattrib.metrics.sparsity.__name__, "plots" in dir(skattrib), hasattr(skattrib, "nothing"))"""
    assert run(code) == {"sparsity", "True", "False"}


def test_any_folder_may_be_the_first_that_is_imported():
    # compiled modules are loaded once in a process
    names = {top(name) for name in MODULES} - {"__init__", "__main__", "torch_adapters"}
    code = f"""
import importlib, sys
for name in {sorted(names - {"distributed"})}:
    for loaded in [other for other in sys.modules if other.startswith("skattrib")]:
        if sys.modules[loaded].__file__.endswith(".py"):
            del sys.modules[loaded]
    importlib.import_module(f"skattrib.{{name}}")
    print(name)"""
    assert len(run(code)) > 8


def test_import_works_without_optional_packages():
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import {", ".join(ENTRIES)}
from skattrib import *
print(*sys.modules)"""
    loaded = run(code)
    assert "skattrib.__main__" in loaded and loaded & set(OPTIONAL) == set()


@pytest.mark.parametrize(
    ("module", "missing"), [("torch_adapters", "torch"), ("distributed", "dask")]
)
def test_modules_without_their_package_name_their_extra(module, missing):
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")
sys.meta_path.insert(0, Missing())
import skattrib
try:
    import skattrib.{module}
except ImportError as error:
    print(error)"""
    assert f'"skattrib[{missing}]"' in run(code)


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
    for module in (
        "_svm.crammer_singer",
        "_softmax.newton",
        "comparison",
        "metrics",
        "findings",
        "planting",
        "plots",
        "preprocessing",
        "retraining",
    ):
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
