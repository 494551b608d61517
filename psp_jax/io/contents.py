"""Recognises files that are of another kind than their name says, such as failed downloads."""

import re

_HEAD_BYTES = 256
_PLACEHOLDERS = (
    (rb"version https://git-lfs", "a Git LFS pointer instead of the file: run git lfs pull"),
    (rb"/annex/objects/", "a git-annex pointer instead of the file: run git annex get"),
    (rb"(?i)(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b",
     "a web page instead of the file: download it again, perhaps after signing in"),
    (rb"(?i)<\?xml[^>]*>\s*<Error>", "an error message of a server: download the file again"),
    (rb"\{\s*\"(error|message|detail)\"", "an error message of a server: download the file again"),
)  # fmt: skip
_OTHERS = (
    (rb"PK\x03\x04", "a zip file: unpack it"),
    (rb"\x1f\x8b", "a gzip file: unpack it"),
    (rb"%PDF", "a PDF file"),
    (rb"\Z", "an empty file"),
)


def placeholder(head: bytes) -> str:
    """Describes a placeholder by its first bytes, and what to do; empty if it is none."""
    return _first(head, _PLACEHOLDERS)


def describe(head: bytes) -> str:
    """Describes a file that is not of the expected kind by its first bytes, and what to do."""
    return _first(head, (*_PLACEHOLDERS, *_OTHERS)) or "a file of another kind"


def _first(head: bytes, kinds: tuple[tuple[bytes, str], ...]) -> str:
    text = head[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((what for pattern, what in kinds if re.match(pattern, text, re.DOTALL)), "")
