#!/usr/bin/env python
"""Make the subsets that the package ships from the full sets in the cache.

The rule: the first n images of each class, in official order. They are laid out as one mosaic, ten
images wide: column = class, rows in official order. It is stored as lossless WebP, so any picture
viewer shows what is in it.

  python tools/make_subsets.py             write creativity/assets/data/*.webp
  python tools/make_subsets.py --check     compare the shipped pixels with the full sets instead
"""
import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from creativity.data.images import interleave
from creativity.data.sets import read_full, read_subset
from creativity.files import write_atomic

ASSETS = Path(__file__).resolve().parent.parent/'creativity'/'assets'/'data'
PER_CLASS = {
    'mnist': {'train': 500, 'test': 50},
    'fashion_mnist': {'train': 500, 'test': 50},
    'cifar10': {'train': 200, 'test': 30},
}
LOSSLESS = {'lossless': True, 'quality': 100, 'method': 6, 'exact': True}


def subset(name, split):
    "The first images of each class, the classes in turn: uint8 [10*n,H,W] or [10*n,H,W,3], labels."
    try: images, labels = read_full(name, split)
    except (OSError, ValueError) as e: raise SystemExit(str(e)) from None
    keep = interleave(labels)[:10*PER_CLASS[name][split]]
    return images[keep], labels[keep]


def as_mosaic(images):
    "[10*n,H,W] or [10*n,H,W,3] to one picture [n*H,10*W] or [n*H,10*W,3]."
    rows = images.reshape(-1, 10, *images.shape[1:])
    return rows.swapaxes(1, 2).reshape(-1, 10*images.shape[2], *images.shape[3:])


def make(name, split):
    "Write one file; its path."
    images, labels = subset(name, split)
    in_turn = np.arange(len(labels)) % 10
    if (labels != in_turn).any(): raise SystemExit(f'{name} {split}: a class has too few images')
    mosaic = Image.fromarray(as_mosaic(images))
    return write_atomic(ASSETS/f'{name}_{split}.webp', lambda f: mosaic.save(f, 'webp', **LOSSLESS))


def check(name, split):
    "Stop unless the shipped pixels and labels are those of the full set."
    full, shipped = subset(name, split), read_subset(name, split)
    if not all(map(np.array_equal, full, shipped)):
        raise SystemExit(f'{name} {split}: differs from the full set')


def main():
    as_written = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    p.add_argument('--check', action='store_true', help='write nothing, only compare')
    a = p.parse_args()
    for name, counts in PER_CLASS.items():
        for split, n in counts.items():
            if not a.check: print(make(name, split))
            check(name, split)
            print(f'{name} {split}: {10*n} images, equal to the full set\'s', flush=True)


if __name__ == '__main__': main()
