"""The README, the pages of docs/ and the papers of the package agree with the repository."""

import pathlib
import re

import pytest
import yaml

import psp_jax
from tests import programs

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text().splitlines()
PAGES = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "launch/README.md")
]
PAGES += sorted((ROOT / "docs").glob("**/*.md"))


def test_ci_runs_exactly_the_readmes_test_command():
    commands = re.findall(r"^pip install .*$", README, re.MULTILINE)
    (for_tests,) = (command for command in commands if "&& pytest" in command)
    assert for_tests in CI


def test_the_readme_is_two_pages():
    assert len(README.splitlines()) <= 170


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_points_to_exists(page):
    text = re.sub(r"```python\n.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    folders = "benchmarks|configs|launch|notebooks|psp_jax|data_builders|docs|tests"
    for name in re.findall(rf"(?<![\w/.])(?:{folders})/[\w/]+\.\w+", text):
        is_example = "NAME" in name or "depth_l1" in name
        assert is_example or (ROOT / name).exists(), name
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / link).exists(), link
    for program in re.findall(r"python -m ((?:psp_jax|data_builders|benchmarks|docs)\.\w+)", text):
        path = ROOT / program.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists() or page.name == "CHANGELOG.md"


def test_every_page_is_in_the_site():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    entries = [page for entry in site["nav"] for page in entry.values()]
    listed = {entry for entry in entries if isinstance(entry, str)}
    groups = [group for group in entries if isinstance(group, list)]
    listed |= {page for group in groups for entry in group for page in entry.values()}
    pages = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")}
    pages |= {f"notebooks/{page.stem}.md" for page in ROOT.glob("notebooks/*.ipynb")}
    assert listed == pages


def test_the_results_page_has_the_markers_of_the_report():
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert text.count("<!-- report:begin -->") == text.count("<!-- report:end -->") == 1


def test_results_of_the_readme_are_those_of_the_report():
    report = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \| (.*) \| (.*) \| (.*) \|$", README, re.MULTILINE)
    assert len(rows) == 8
    for name, *values in rows:
        lines = [line for line in report.splitlines() if line.startswith(f"| {name} | ")]
        assert any(all(f"| {value} |" in line for value in values) for line in lines), name


def test_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == psp_jax.__version__
    assert f"\n## {psp_jax.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "program", ["psp_jax.main", "psp_jax.explore", "docs.draw_regions", "docs.draw_labels"]
)
def test_programs_print_the_version(program):
    done = programs.run(program, "--version", cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, f"psp_jax {psp_jax.__version__}\n"), done.stderr
