"""What the window says: no sentence of the session sends somebody at the window to a command or an option."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import acquire
import analysis
from acquire.errors import RigError
from acquire.gui.desk import Desk
from acquire.gui.words import in_window

TYPED = re.compile(r"--[a-z]|\bnew-(study|animal|field)\b|\bsamefield (?!analyse')[a-z]+ ")
ONLY_TYPED = {"__main__", "demo", "commands", "replay", "calibrated", "calibrate", "analysing", "checks", "marks"}
"""Modules of which only a command tells: theirs is the language of options."""
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


def told_by_the_session() -> list[str]:
    texts = []
    for package in (acquire, analysis):
        for file in sorted(Path(package.__path__[0]).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            if file.stem == "commands" and file.parent.name == "acquire":
                tree = ast.Module([f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name in SEEN], [])
            elif file.stem in ONLY_TYPED or (file.stem, file.parent.name) == ("words", "gui"):
                continue
            texts += [text for text in sentences(tree) if " " in text and TYPED.search(text)]
    return texts


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
