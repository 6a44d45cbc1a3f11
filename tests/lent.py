"""Devices that are not there, on the CPU: tensors that say that they lie on one, compute, and refuse what it refuses.
Every transfer and every wait for a number is counted in `seen`."""
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

REFUSAL = "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64"
ATEN = torch.ops.aten
MOVES = (ATEN._to_copy.default, ATEN.copy_.default)
# how many numbers come out, or which, is known only when all is computed
WAITS = (ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.masked_select.default, ATEN._unique2.default,
         ATEN.equal.default)
seen, LENT = Counter(), []


class Lent(torch.Tensor):
    "A tensor of the CPU that says that it lies elsewhere; to PyTorch itself it is one of 'meta', which has no memory."
    @staticmethod
    def __new__(cls, inner, place):
        out = torch.Tensor._make_wrapper_subclass(cls, inner.shape, strides=inner.stride(), dtype=inner.dtype,
                                                  storage_offset=inner.storage_offset(), device='meta')
        out.inner, out.place = inner, place
        return out

    device = property(lambda self: self.place)
    is_cuda = property(lambda self: self.place.type == 'cuda')

    def tolist(self): return self.cpu().tolist()

    def numpy(self): raise TypeError(f"can't convert {self.place} device type tensor to numpy")

    def __repr__(self): return f'Lent({self.inner}, {self.place})'

    @classmethod
    def __torch_dispatch__(cls, f, types, args=(), kwargs=None): return run(f, args, kwargs or {})


def tensors_of(values):
    "All tensors among the arguments of an operation, and in lists of them."
    for v in values:
        if isinstance(v, torch.Tensor): yield v
        elif isinstance(v, tuple | list): yield from tensors_of(v)


def changed(f, v):
    "An argument with each tensor as f makes it. PyTorch's own `tree_map` would take most of the time of a test."
    if isinstance(v, torch.Tensor): return f(v)
    return type(v)(changed(f, part) for part in v) if type(v) in (tuple, list) else v


def run(f, args, kwargs):
    "One operation, on the device of its tensors or the one that is asked for."
    tensors = list(tensors_of((*args, *kwargs.values())))
    lent = [v for v in tensors if isinstance(v, Lent)]
    places = {v.place for v in lent}
    place, kwargs = next(iter(places), None), dict(kwargs)
    if (asked := kwargs.get('device')) is not None:
        asked = torch.device(asked)
        if asked.type == 'meta': place = place or LENT[-1] # as in v.to(other)
        else: place = None if asked.type == 'cpu' else torch.device(asked.type, asked.index or 0)
        kwargs['device'] = torch.device('cpu')
    here = [v for v in tensors if not isinstance(v, Lent) and v.ndim]
    if lent and here and f not in MOVES: raise RuntimeError(f'{f}: tensors on {place} and on the CPU')
    if f in MOVES and (places - {place} or (here and place)): seen['transfers'] += 1
    by_mask = f is ATEN.index.Tensor and any(v.dtype == torch.bool for v in lent[1:])
    if lent and (f in WAITS or by_mask): seen['waits'] += 1
    plain = lambda v: v.inner if isinstance(v, Lent) else v
    out = f(*changed(plain, args), **{name: changed(plain, v) for name, v in kwargs.items()})
    return out if place is None else changed(lambda v: _lent(v, place, lent), out)


def _lent(v, place, before):
    "A result on its device; what was changed in place stays itself."
    for old in before:
        if old.inner is v: return old
    if place.type == 'mps' and v.dtype in (torch.float64, torch.complex128): raise TypeError(REFUSAL)
    return Lent(v.resolve_conj(), place)


class Lending(TorchDispatchMode):
    "Inside of it the device is there."
    def __init__(self, place):
        super().__init__()
        self.place = place

    def __enter__(self):
        LENT.append(self.place)
        # PyTorch looks for a driver when a tensor first goes to CUDA
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(torch.cuda, '_lazy_init', lambda: None)
        return super().__enter__()

    def __exit__(self, *error):
        self.patch.undo()
        LENT.pop()
        return super().__exit__(*error)

    def __torch_dispatch__(self, f, types, args=(), kwargs=None): return run(f, args, kwargs or {})
