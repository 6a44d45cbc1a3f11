#!/usr/bin/env python
"""Bring full image sets from a folder into the cache, so that load(NAME, full=True) finds them.

The folder holds NAME_train.npz or NAME_train.packed.npz (and _test), their SHA256SUMS, and
imgpack.py for packed ones. Every file is checked against SHA256SUMS before it is read, and written
whole or not at all.

  CREATIVITY_DATA=~/data python tools/import_shared.py ../shared/data
  python tools/import_shared.py ../shared/data --only mnist cifar10
"""
import argparse
import hashlib
import importlib.util
import re
from pathlib import Path

import numpy as np
from tqdm import tqdm

from creativity.data.sets import cache_dir, set_name, write_npz

IMAGE_SET = re.compile(r'\w+_(train|test)(\.packed)?\.npz')


def checked(folder):
    "The files of the folder that are image sets, each with the checksum it must have."
    sums = folder/'SHA256SUMS'
    if not sums.is_file(): raise SystemExit(f'{sums} is missing: {folder} is no shared data folder')
    rows = [line.split() for line in sums.read_text().splitlines() if line.strip()]
    return {folder/name: sha for sha, name in rows if IMAGE_SET.fullmatch(name)}


def read(path, sha):
    "Images and labels of one file (labels None if it has none), its checksum verified first."
    with path.open('rb') as f: got = hashlib.file_digest(f, 'sha256').hexdigest()
    if got != sha: raise SystemExit(f'{path} is cut off or altered: its SHA-256 differs')
    if not path.name.endswith('.packed.npz'):
        with np.load(path, allow_pickle=False) as z: return z['images'], z['labels']
    spec = importlib.util.spec_from_file_location('imgpack', path.with_name('imgpack.py'))
    imgpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(imgpack)
    images, labels = imgpack.unpack(path)
    return images, labels if labels.size else None


def target(path):
    "The set and split that a file is to be: mnist_train.packed.npz -> ('mnist', 'train')."
    name, split = path.name.split('.')[0].rsplit('_', 1)
    return set_name(name), split


def main():
    as_written = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    p.add_argument('folder', type=Path, help='the shared data folder')
    p.add_argument('--only', nargs='+', metavar='NAME', help='some sets, e.g. mnist fashion_mnist')
    a = p.parse_args()
    jobs = checked(a.folder)
    if a.only:
        wanted = [set_name(n) for n in a.only]
        jobs = {path: sha for path, sha in jobs.items() if target(path)[0] in wanted}
    if not jobs:
        missing = ' or '.join(a.only or ['image set'])
        raise SystemExit(f'nothing to import: {a.folder} holds no {missing}')
    with tqdm(jobs.items(), unit='file') as bar:
        for path, sha in bar:
            bar.set_description(path.name)
            write_npz(*target(path), *read(path, sha))
    print(f'{len(jobs)} files in {cache_dir()}')


if __name__ == '__main__': main()
