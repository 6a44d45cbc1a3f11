#!/usr/bin/env python
"""Make the subsets that the package ships from the full sets in the cache.

The rule: the first n images of each class, in official order. They are laid out as one mosaic, ten images wide: column =
class, rows in official order. It is stored as lossless WebP, so any picture viewer shows what is in it.

  python tools/make_subsets.py             write creativity/assets/data/*.webp
  python tools/make_subsets.py --check     compare the shipped pixels with the full sets instead
"""
import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from creativity.data import interleave, read_full, read_subset, write_atomic

ASSETS = Path(__file__).resolve().parent.parent/'creativity'/'assets'/'data'
PER_CLASS = dict(mnist=dict(train=500, test=50), fashion_mnist=dict(train=500, test=50), cifar10=dict(train=200, test=30))


def subset(name, split):
    "The first images of each class, the classes in turn: uint8 [10*n,H,W] or [10*n,H,W,3], labels."
    images, labels = read_full(name, split)
    keep = interleave(labels)[:10*PER_CLASS[name][split]]
    return images[keep], labels[keep]


def as_mosaic(images):
    "[10*n,H,W(,3)] to one picture [n*H,10*W(,3)]."
    h, w = images.shape[1:3]
    return images.reshape(-1, 10, *images.shape[1:]).swapaxes(1, 2).reshape(-1, 10*w, *images.shape[3:]), h


def make(name, split):
    images, labels = subset(name, split)
    if not (labels == np.arange(len(labels)) % 10).all(): raise SystemExit(f'{name} {split}: a class has too few images')
    b = io.BytesIO()
    Image.fromarray(as_mosaic(images)[0]).save(b, 'webp', lossless=True, quality=100, method=6, exact=True)
    return write_atomic(ASSETS/f'{name}_{split}.webp', lambda f: f.write(b.getvalue()))


def check(name, split):
    full, shipped = subset(name, split), read_subset(name, split)
    if not all(map(np.array_equal, full, shipped)): raise SystemExit(f'{name} {split}: the shipped subset differs from the full set')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--check', action='store_true', help='write nothing, only compare')
    a = p.parse_args()
    total = 0
    for name, counts in PER_CLASS.items():
        for split, n in counts.items():
            path = None if a.check else make(name, split)
            check(name, split)
            total += path.stat().st_size if path else 0
            print(f'{name} {split}: {10*n} images' + (f', {path.stat().st_size/1e6:.2f} MB, {path}' if path else ', equal'), flush=True)
    if not a.check: print(f'{total/1e6:.2f} MB in all')


if __name__ == '__main__': main()
