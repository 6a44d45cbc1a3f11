#!/usr/bin/env python
"""Compile the loops before many processes that need them start together: each finds them on disk.

Single and double precision are compiled beside each other, in a process each.
"""
import argparse
from concurrent.futures import ProcessPoolExecutor


def warm(name):
    "Ask each machine that has compiled loops for a mean, and what can be asked beside it."
    import torch

    import creativity as c
    from creativity.machines.rivals import AveragedBBELSMachine, PCAMachine, PSPCMachine
    # sixteen columns: LS has loops of its own from there on
    images, dtype = 2*torch.rand(20, 1, 16, 16) - 1, getattr(torch, name)
    x = torch.rand(1, 1, 16, 16, dtype=dtype)
    for kind in (c.LSMachine, c.ISMachine):
        machine, noisy = kind(images), x.clone().requires_grad_()
        machine.denoise(noisy, .5, k=3 if machine.windowed else None).sum().backward()
    for kind in (AveragedBBELSMachine, PSPCMachine): kind(images).denoise(x, .5, k=3)
    PCAMachine(images, tau=.5).denoise(x, .1)


def main():
    "In two processes."
    argparse.ArgumentParser(prog='tools/warm.py', description=__doc__).parse_args()
    with ProcessPoolExecutor(2) as pool: list(pool.map(warm, ('float32', 'float64')))


if __name__ == '__main__': main()
