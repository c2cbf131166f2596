"""The example of a block of one's own: short, shown in the blocks' README, and like any other block."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).with_name("own_block.py")

# The conformance cases for the example's block, and its export: both read the class from its file.
CONFORMS = """
import sys
sys.path.insert(0, sys.argv[1])
import own_block
import pytest, textwrap, pathlib
case = pathlib.Path(sys.argv[2]) / "test_convnext.py"
case.write_text(textwrap.dedent('''
    from pathlib import Path
    import own_block
    from hvnas.export import export_torch
    from hvnas.testing.blocks import BlockConformance

    class TestConvNeXt(BlockConformance):
        name = "convnext"

    def test_export(tmp_path: Path) -> None:
        assert export_torch(own_block.best.arch, tmp_path / "net").error <= 1e-6
        assert "class ConvNeXtModule(nn.Sequential):" in (tmp_path / "net" / "model.py").read_text()
'''))
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(case)]))
"""


def test_it_is_short_and_in_the_readme(repo_root: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.count("\n") < 60
    assert f"```python\n{text}```" in (repo_root / "hvnas" / "blocks" / "README.md").read_text(
        encoding="utf-8"
    )


def test_it_conforms_and_is_exported(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONFORMS, str(EXAMPLE.parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
