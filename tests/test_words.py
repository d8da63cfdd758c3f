"""What the window says: no sentence of the session sends somebody at the window to a command or an option."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import acquire
from acquire.errors import RigError
from acquire.gui.desk import Desk
from acquire.gui.words import in_window

TYPED = re.compile(r"--[a-z]|\bnew-(study|animal|field)\b|\bsamefield (?!analyse'|import')[a-z]+ ")
ONLY_TYPED = {"analysing", "marks"}
"""Modules of which only a command tells: theirs is the language of options."""
ROOT = Path(acquire.__path__[0]).parent
SEEN = ("find_fields",)
"""Functions of :mod:`acquire.commands` that the window calls."""


def sentences(tree: ast.AST) -> Iterator[str]:
    """Yield every text of a module but the docstrings; what is filled in is an X."""
    inside = {id(part) for one in ast.walk(tree) if isinstance(one, ast.JoinedStr) for part in one.values}
    told = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    for one in ast.walk(tree):
        if isinstance(one, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in one.values)
        elif isinstance(one, ast.Constant) and isinstance(one.value, str) and not {id(one)} & (inside | told):
            yield one.value


def file_of(module: str) -> Path | None:
    """Return the file of one of our modules, None for a package or somebody else's."""
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return file if module.split(".", maxsplit=1)[0] in {"acquire", "analysis"} and file.is_file() else None


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a module imports, also inside its functions."""
    for one in ast.walk(tree):
        if isinstance(one, ast.Import):
            yield from (name.name for name in one.names)
        elif isinstance(one, ast.ImportFrom) and one.module:
            yield one.module
            yield from (f"{one.module}.{name.name}" for name in one.names)


def under_the_window() -> Iterator[tuple[Path, ast.AST]]:
    """Yield every module that the window uses, however deep."""
    waiting, seen = sorted((ROOT / "acquire" / "gui").glob("*.py")), set()
    while waiting:
        file = waiting.pop()
        if file in seen or file.stem in ONLY_TYPED:
            continue
        seen.add(file)
        tree: ast.AST = ast.parse(file.read_text(encoding="utf-8"))
        if file == ROOT / "acquire" / "commands.py":
            tree = ast.Module([f for f in ast.parse(file.read_text()).body if getattr(f, "name", "") in SEEN], [])
        yield file, tree
        waiting += filter(None, map(file_of, imported(tree)))


def told_by_the_session() -> list[str]:
    texts = [
        text
        for file, tree in under_the_window()
        if (file.stem, file.parent.name) != ("words", "gui")
        for text in sentences(tree)
        if " " in text and TYPED.search(text)
    ]
    return sorted(set(texts))


def test_there_are_sentences_to_say_otherwise():
    texts = told_by_the_session()
    assert len(texts) >= 10
    assert any("--new-session" in text for text in texts)


@pytest.mark.parametrize("text", told_by_the_session())
def test_a_remedy_is_a_button(text):
    said = in_window(text)
    assert not TYPED.search(said), said
    assert said != text


def test_the_desk_tells_buttons():
    said = []
    brought = []
    desk = Desk(Path("nowhere"), "simulated", bring=brought.append)
    desk.say = lambda text, is_error: said.append((text, is_error))

    def refuse():
        raise RigError("the rig is another; begin a new session (--new-session)")

    desk._guarded(refuse, print)
    for call in brought:
        call()
    assert said[-1] == (
        "the rig is another; open a session with 'the head was mounted anew' (Session)",
        True,
    )
    desk.refuse("give a later --day")
    assert said[-1] == ("give a later day (Session)", True)
    desk.close()
