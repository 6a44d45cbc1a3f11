"Every rival against its readable definition."
import pytest
import torch

import creativity as c
from creativity.theory import rivals


def problem(N=6, C=2, H=5, W=7, seed=0, dtype=torch.float32):
    "Random images with labels, one class of a single image, and a pixel that never changes."
    g = torch.Generator().manual_seed(seed)
    data = torch.rand(N, C, H, W, generator=g)*2 - 1
    data[:, 0, 0, 0] = -1
    labels = torch.arange(N) % max(N - 1, 1) % 3
    labels[-1] = 7
    return data.to(dtype), labels


def noisy(data, t, B=3, seed=1, size=1.):
    "Noisy images at one time."
    x = c.CosineSchedule().a(t).float()*data[torch.arange(B) % len(data)].float()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return size*(x + c.CosineSchedule().sigma(t).float()*noise)


def at(t): return float(c.CosineSchedule().a(t)), float(c.CosineSchedule().sigma(t))


@pytest.mark.parametrize('N', [1, 2, 6, 90])
@pytest.mark.parametrize('t', [0., .01, .3, .8, 1.])
def test_wiener_is_its_definition(N, t):
    data, labels = problem(N)
    machine = c.WienerMachine(data, labels)
    for label in (None, 7):
        some = data if label is None else data[labels == label]
        for size in (1., 100.):
            x = noisy(data, t, size=size)
            want = torch.stack([rivals.wiener_mean(im, some, *at(t)) for im in x])
            got = machine.denoise(x.double(), t, label)
            torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
            assert machine.denoise(x, t, label).dtype == torch.float32


def test_wiener_is_differentiable_and_takes_one_time_and_label_an_image():
    data, labels = problem()
    machine = c.WienerMachine(data, labels)
    x = noisy(data, .4).double()
    t, label = torch.tensor([.2, .5, .9]), torch.tensor([0, 1, 7])
    together = machine.denoise(x, t, label)
    apart = [machine.denoise(x[b:b + 1], float(t[b]), int(label[b]))[0] for b in range(3)]
    torch.testing.assert_close(together, torch.stack(apart))
    assert torch.autograd.gradcheck(lambda x: machine.denoise(x, t, label), x.requires_grad_())
