"Files of images for the tests, and errors of one line."
import io
import zipfile

from PIL import Image


def one_line(e, *parts):
    "The error's text: one line, with these words in it, and no address of an object."
    text = str(e.value)
    assert '\n' not in text
    assert ' at 0x' not in text, text
    for part in parts: assert part in text, text
    return text


def encode(u, kind='png', **how):
    "An array, or a Pillow image, as a file."
    b = io.BytesIO()
    (u if isinstance(u, Image.Image) else Image.fromarray(u)).save(b, kind, **how)
    return b.getvalue()


def put(files, where, packed=False):
    "Write files (path -> bytes) to a folder or a zip."
    if packed:
        with zipfile.ZipFile(where.with_suffix('.zip'), 'w') as z:
            for name, raw in reversed(files.items()): z.writestr(name, raw)
        return where.with_suffix('.zip')
    for name, raw in files.items():
        (where/name).parent.mkdir(parents=True, exist_ok=True)
        (where/name).write_bytes(raw)
    return where
