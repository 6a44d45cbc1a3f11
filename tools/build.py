"The wheel holds the lessons too, without their outputs; pyproject.toml names this step."
import json
from pathlib import Path

from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent.parent


class BuildWithCourse(build_py):
    "Copy the package, and the lessons from nbs/course into creativity/assets/course."
    def run(self):
        super().run()
        if self.editable_mode: return
        folder = Path(self.build_lib)/'creativity'/'assets'/'course'
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((ROOT/'nbs'/'course').glob('[0-9]*.ipynb')):
            nb = json.loads(path.read_text(encoding='utf-8'))
            for cell in nb['cells']:
                if cell['cell_type'] == 'code': cell['outputs'] = []
            text = json.dumps(nb, indent=1, ensure_ascii=False)
            (folder/path.name).write_text(f'{text}\n', encoding='utf-8')
