import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_ci_runs_exactly_the_readmes_test_command():
    commands = re.findall(r"^pip install .*$", README, re.MULTILINE)
    (for_tests,) = (command for command in commands if "&& pytest" in command)
    assert for_tests in (ROOT / ".ci" / "run").read_text().splitlines()


def test_what_the_readme_points_to_exists():
    text = re.sub(r"```python\n.*?```", "", README, flags=re.DOTALL)  # Examples of files to write.
    names = re.findall(r"(?:configs|launch|notebooks|psp_jax|data_builders|docs)/[\w/]+\.\w+", text)
    assert len(names) > 5
    for name in names:
        assert (ROOT / name).exists(), name
