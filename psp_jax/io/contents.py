"""Recognises what stands in the place of a file that was to be downloaded."""

import re

_HEAD_BYTES = 256
_KINDS = (
    (rb"version https://git-lfs", "a Git LFS pointer instead of the file: run git lfs pull"),
    (rb"/annex/objects/", "a git-annex pointer instead of the file: run git annex get"),
    (rb"(?i)(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b",
     "a web page instead of the file: download it again, perhaps after signing in"),
    (rb"(?i)<\?xml[^>]*>\s*<Error>", "an error message of a server: download the file again"),
    (rb"\{\s*\"(error|message|detail)\"", "an error message of a server: download the file again"),
)  # fmt: skip


def placeholder(head: bytes) -> str:
    """Describes a placeholder by its first bytes, and what to do; empty if it is none."""
    text = head[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((what for pattern, what in _KINDS if re.match(pattern, text, re.DOTALL)), "")
