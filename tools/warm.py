#!/usr/bin/env python
"""Compile what many processes need before they start together: each finds it on disk.

That is the loops, single and double precision beside each other in a process each, and the
bytecode of what the checks import, where `make install PIP_FLAGS=--no-compile` left it out: pip
compiles all that it installs, on one core.
"""
import argparse
import compileall
import importlib
from concurrent.futures import ProcessPoolExecutor

from nb import HEAVY, ROOT

# What the checks start, beside what the notebooks import.
TOOLS = ['diffusers', 'hypothesis.strategies', 'ipykernel.kernelapp', 'jupyterlab.labapp',
         'jupytext', 'nbdev.export', 'pytest', 'smalldocs', 'voila.app', 'xdist.plugin']


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


def bytecode(name):
    "Import a module: Python keeps the bytecode of all that it imports."
    importlib.import_module(name)


def main():
    "In two processes; the tools are imported by the first that is free."
    argparse.ArgumentParser(prog='tools/warm.py', description=__doc__).parse_args()
    compileall.compile_dir(ROOT/'creativity', quiet=1)
    with ProcessPoolExecutor(2) as pool:
        work = [pool.submit(warm, name) for name in ('float32', 'float64')]
        work += [pool.submit(bytecode, name) for name in (*HEAVY, *TOOLS)]
        for w in work: w.result()


if __name__ == '__main__': main()
