"""What a script takes from the script beside it is there; most scripts are run by slow tests."""

import ast

import pytest

from tests.support.forked import ROOT

SCRIPTS = sorted((ROOT / "experiments").glob("*.py"))
NAMES = {path.stem for path in SCRIPTS}


def defined(name):
    """The names that a script defines or imports at its top level."""
    tree = ast.parse((ROOT / "experiments" / f"{name}.py").read_text())
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=own) | ast.ClassDef(name=own):
                found.add(own)
            case ast.Name(id=own, ctx=ast.Store()):
                found.add(own)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {each.asname or each.name.partition(".")[0] for each in names}
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_names_of_the_scripts_beside_are_there(script):
    """Fails if a function that another script calls was renamed, or is gone."""
    tree = ast.parse(script.read_text())
    modules, lost = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {each.asname or each.name: each.name for each in node.names}
        if isinstance(node, ast.ImportFrom) and node.module in NAMES:
            known = defined(node.module)
            lost += [f"{node.module}.{e.name}" for e in node.names if e.name not in known]
    siblings = {alias: defined(name) for alias, name in modules.items() if name in NAMES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            alias = node.value.id
            if alias in siblings and node.attr not in siblings[alias]:
                lost.append(f"{alias}.{node.attr}")
    assert not lost
