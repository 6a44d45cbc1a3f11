"The machines on a GPU: the contract of precision, and the same answer as on the CPU. Skipped where there is none."
import pytest
import torch

from creativity.diffusion import sample, seed_noise
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.studies.speed import bench
from creativity.theory.equivariance import bbels_mean, els_mean
from creativity.theory.ideal import ideal_mean
from creativity.theory.locality import local_mean

gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')]
KINDS = {'LS': (LSMachine, local_mean), 'bbELS': (BBELSMachine, bbels_mean), 'ELS': (ELSMachine, els_mean)}
SHAPE = (3, 9, 11)


def images(n=12): return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0))*2 - 1


@pytest.fixture
def tf32():
    "A program that allows TF32 everywhere."
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('medium')
    yield
    torch.set_float32_matmul_precision(before)


def test_settings_of_the_program_stay_and_do_not_matter(tf32):
    m, x = BBELSMachine(images(), backend='torch'), seed_noise([0], SHAPE)
    plain = m.denoise(x, .4, k=3)
    with torch.autocast('cpu', torch.bfloat16): inside = m.denoise(x, .4, k=3)
    assert torch.equal(plain, inside)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try: assert torch.equal(plain, m.denoise(x, .4, k=3))
    finally: torch.set_default_dtype(before)
    assert torch.get_float32_matmul_precision() == 'medium'


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=gpu)])
@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('t', [.01, .2, .7, 1.])
def test_contract_holds_where_tf32_is_allowed(device, name, t, tf32):
    kind, truth = KINDS[name]
    m = kind(images().to(device), backend='torch')
    a, sigma = float(m.schedule.a(t)), float(m.schedule.sigma(t))
    x = a*images()[:1] + sigma*seed_noise([0], SHAPE)
    out = m.denoise(x.to(device), t, k=3).cpu()[0].double()
    assert (out - truth(x[0].double(), images().double(), a, sigma, 3)).abs().max() < 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
class TestCuda:
    @pytest.mark.parametrize('kind', [ISMachine, ESMachine, LSMachine, BBELSMachine, ELSMachine])
    def test_flow_as_on_the_cpu(self, kind):
        noise, y = seed_noise([0, 1], SHAPE), torch.arange(12) % 3
        scales = {} if kind in (ISMachine, ESMachine) else dict(scales=[3, 5])
        on = lambda device: sample(kind(images().to(device), y, **scales), noise.to(device), steps=6, label=1).cpu()
        assert (on('cpu') - on('cuda')).abs().max() < 1e-3

    def test_belief_as_on_the_cpu(self):
        x = seed_noise([0], SHAPE)
        one, two = BBELSMachine(images()).belief(x, .4, k=3), BBELSMachine(images().cuda()).belief(x.cuda(), .4, k=3)
        for name in ('mean', 'log_evidence', 'n_eff'):
            torch.testing.assert_close(getattr(one, name), getattr(two, name).cpu(), atol=1e-3, rtol=1e-3)
        assert torch.equal(one.image, two.image.cpu())
        assert torch.equal(one.place, two.place.cpu())

    def test_memory_budget_and_chunks(self):
        x, whole = seed_noise([0], SHAPE).cuda(), BBELSMachine(images().cuda())
        small = BBELSMachine(images().cuda(), max_bytes=300_000)
        torch.testing.assert_close(whole.denoise(x, .4, k=3), small.denoise(x, .4, k=3), atol=1e-4, rtol=0)

    def test_ideal_mean(self):
        x = seed_noise([0], SHAPE)
        m = ISMachine(images().cuda())
        truth = ideal_mean(x[0].double(), images().double(), float(m.schedule.a(.5)), float(m.schedule.sigma(.5)))
        assert (m.denoise(x.cuda(), .5).cpu()[0] - truth).abs().max() < 1e-4

    def test_bench(self):
        rows = bench(ks=(3,), n=32, repeats=1, device='cuda')['rows']
        assert {r['machine'] for r in rows} >= {'bbELS', 'ELS', 'LS', 'IS'}
