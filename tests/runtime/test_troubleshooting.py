"""Messages that the documentation explains are messages that the code gives."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"


def messages() -> list[str]:
    """The first cells of the page's tables that are code."""
    return re.findall(r"^\| `(.+?)` \| ", PAGE.read_text(), re.MULTILINE)


@cache
def texts() -> tuple[str, ...]:
    """Every string of the runtime's source, with … for what is put in when it runs."""
    found = []
    for path in (ROOT / "runtime" / "pose_runtime").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


def test_there_are_messages() -> None:
    assert len(messages()) > 20
    assert len(set(messages())) == len(messages())


@pytest.mark.parametrize("message", messages())
def test_the_code_says_so(message: str) -> None:
    assert len(re.sub(r"[….;:() ]", "", message)) >= 10, "says too little to be looked for"
    assert any(message in text for text in texts())


def test_a_message_that_nobody_gives_would_be_found() -> None:
    assert not any("the flux capacitor is empty" in text for text in texts())
