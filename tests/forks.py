"Processes that begin at once: forks of one that has imported what is heavy, and has done nothing else."
import io
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout

HEAVY = ['numba', 'pytest', 'torch.distributed', 'creativity.__main__', 'creativity.data.own', 'creativity.machines.windows',
         'creativity.networks.train', 'creativity.studies.growth']


def forks():
    "What makes them, like `multiprocessing`; where there are none, new processes."
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')       # threads that wait sleep
    context = multiprocessing.get_context('forkserver' if sys.platform == 'linux' else 'spawn')
    if sys.platform == 'linux': context.set_forkserver_preload(HEAVY)
    return context


def forked(f, *args):
    "f(*args) in such a process."
    with ProcessPoolExecutor(1, mp_context=forks()) as pool: return pool.submit(f, *args).result(timeout=150)


def on_ranks(n, f, *args):
    "f(rank, ...) on each of n ranks."
    with ProcessPoolExecutor(n, mp_context=forks()) as pool:
        answers = [pool.submit(f, rank, *args) for rank in range(n)]
        return [a.result(timeout=150) for a in answers]


def program(words, env, folder):
    "The program in this process: exit code and what it wrote."
    from creativity.__main__ import main
    os.environ.update(env)
    os.chdir(folder)
    sys.argv, out, err = ['creativity', *map(str, words)], io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try: code = main()
        except SystemExit as e: code = e.code
    return code, out.getvalue(), err.getvalue()
