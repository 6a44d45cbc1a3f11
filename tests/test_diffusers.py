"Models of diffusers: our sampler against diffusers' own loops over their schedulers' settings, folders, and finding a network."
import copy
import json
import sys
from functools import lru_cache

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from creativity import diffusion as D
from creativity.data.images import Images
from creativity.diffusion import add_noise, sample, seed_noise
from creativity.errors import CreativityError
from creativity.machines.whole import ISMachine
from creativity.networks.card import load_network
from creativity.networks.diffusers import find_network, from_diffusers, read_scheduler
from creativity.networks.wrap import from_noise

diffusers = pytest.importorskip('diffusers')
SIZES = dict(sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
             down_block_types=('DownBlock2D', 'DownBlock2D'), up_block_types=('UpBlock2D', 'UpBlock2D'))
SHAPE = (1, 8, 8)


def one_line(error): return '\n' not in str(error.value) and str(error.value)


@lru_cache
def unet(**changes):
    "A small network with random weights, larger at its end so that images leave the range without clipping."
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(**{**SIZES, **changes}).eval().requires_grad_(False)
    net.conv_out.weight.mul_(3)
    return net


def their_images(scheduler, net, noise, n, monkeypatch):
    "The images of diffusers' own loop, in its own coordinates."
    scheduler.set_timesteps(n)
    kw = dict(use_clipped_model_output=True) if isinstance(scheduler, diffusers.DDIMScheduler) else {}
    fresh = D.fresh_noise(noise) # the draws that our DDPM takes
    monkeypatch.setattr('diffusers.schedulers.scheduling_ddpm.randn_tensor', lambda *_, **__: fresh())
    x, largest = noise*getattr(scheduler, 'init_noise_sigma', 1.), 0.
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, 'scale_model_input') else x
        largest = max(largest, x.abs().max().item())
        x = scheduler.step(net(seen.to(net.dtype), t.expand(len(x))).sample, t, x, **kw).prev_sample
    return x, largest


def our_images(scheduler, net, noise, n):
    m = from_diffusers(net, scheduler)
    times = m.times(n)
    x = sample(m, noise, times=times, method='ddpm' if isinstance(scheduler, diffusers.DDPMScheduler) else 'ddim', progress=False)
    # Euler's and EDM's images are x0 + s·noise where they end with noise
    exploding = isinstance(scheduler, diffusers.EulerDiscreteScheduler|diffusers.EDMEulerScheduler)
    return x/m.schedule.a(times[-1]).float() if exploding and not times.clean else x


def assert_same_images(scheduler, n, net=None):
    noise, net = seed_noise(range(2), SHAPE).double(), net or copy.deepcopy(unet()).double()
    with pytest.MonkeyPatch.context() as patch: theirs, largest = their_images(scheduler, net, noise, n, patch)
    assume(largest < (2e4 if isinstance(scheduler, diffusers.EulerDiscreteScheduler|diffusers.EDMEulerScheduler) else 9e3)) # an untrained network, unclipped, may end anywhere
    ours = our_images(scheduler, net, noise, n)
    worst = (ours - theirs).abs().max().item()
    # Euler's loop rounds to float32 on its way, from images as large as the largest; with zero SNR they are 4096
    # times the noise, and this network, which is not trained, makes what was rounded up to 30 times larger
    gain = 30 if scheduler.config.get('rescale_betas_zero_snr') else 1
    assert worst < 1e-4*max(1, theirs.abs().max().item()) + 1.2e-7*gain*largest, f'{worst} of {theirs.abs().max()}'
    return worst


betas = st.one_of(st.none(), st.lists(st.floats(1e-4, .3), min_size=20, max_size=20))
spacings = st.sampled_from(['leading', 'trailing', 'linspace'])
kinds = st.sampled_from(['epsilon', 'sample', 'v_prediction'])


@st.composite
def discrete(draw, name):
    "A configuration of DDIM or DDPM that is honoured, with a number of steps."
    kind, trained = draw(kinds), draw(betas)
    names = ['linear', 'scaled_linear', 'squaredcos_cap_v2'] + (['sigmoid', 'laplace'] if name == 'DDPMScheduler' else [])
    total = 20 if trained else draw(st.sampled_from([20, 100, 1000]))
    c = dict(num_train_timesteps=total, trained_betas=trained, beta_schedule=draw(st.sampled_from(names)),
             prediction_type=kind, timestep_spacing=draw(spacings), clip_sample=draw(st.booleans()),
             clip_sample_range=draw(st.sampled_from([1., 1.5])), thresholding=draw(st.booleans()),
             dynamic_thresholding_ratio=draw(st.sampled_from([.8, .995])), sample_max_value=draw(st.sampled_from([1., 3.])),
             rescale_betas_zero_snr=kind != 'epsilon' and draw(st.booleans()))
    if name == 'DDIMScheduler': c['set_alpha_to_one'] = draw(st.booleans())
    else: c['variance_type'] = draw(st.sampled_from(['fixed_small', 'fixed_small_log', 'fixed_large']))
    n = draw(st.integers(1, 9))
    if c['timestep_spacing'] == 'leading': c['steps_offset'] = draw(st.integers(0, total - 1 - (n - 1)*(total//n)))
    return c, n


@st.composite
def euler(draw):
    trained = draw(betas)
    rule = draw(st.sampled_from(['', 'use_karras_sigmas', 'use_exponential_sigmas']))
    total = 20 if trained else draw(st.sampled_from([20, 100, 1000]))
    c = dict(num_train_timesteps=total, trained_betas=trained, timestep_spacing=draw(spacings), prediction_type=(kind := draw(kinds)),
             beta_schedule=draw(st.sampled_from(['linear', 'scaled_linear', 'squaredcos_cap_v2'])),
             rescale_betas_zero_snr=kind != 'epsilon' and draw(st.booleans()), final_sigmas_type=draw(st.sampled_from(['zero', 'sigma_min'])),
             timestep_type=draw(st.sampled_from(['discrete', 'continuous'])), **({rule: True} if rule else {}))
    return c, draw(st.integers(2, 9))


@st.composite
def edm(draw):
    c = dict(sigma_min=draw(st.sampled_from([.002, .02])), sigma_max=draw(st.sampled_from([5., 80.])), rho=draw(st.sampled_from([3., 7.])),
             sigma_data=draw(st.sampled_from([.5, 1.])), prediction_type=draw(st.sampled_from(['epsilon', 'v_prediction'])),
             sigma_schedule=draw(st.sampled_from(['karras', 'exponential'])), final_sigmas_type=draw(st.sampled_from(['zero', 'sigma_min'])))
    return c, draw(st.integers(2, 9))


@st.composite
def flow(draw):
    rule = draw(st.sampled_from(['', 'use_karras_sigmas', 'use_exponential_sigmas']))
    c = dict(num_train_timesteps=draw(st.sampled_from([100, 1000])), shift=draw(st.sampled_from([.5, 1., 3.])),
             shift_terminal=draw(st.sampled_from([None, .02])), **({rule: True} if rule else {}))
    return c, draw(st.integers(2, 9))


CONFIGS = {'DDIMScheduler': discrete('DDIMScheduler'), 'DDPMScheduler': discrete('DDPMScheduler'), 'EulerDiscreteScheduler': euler(),
           'EDMEulerScheduler': edm(), 'FlowMatchEulerDiscreteScheduler': flow()}


def search(name, examples):
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(CONFIGS[name])
    def over(config):
        c, n = config
        assert_same_images(getattr(diffusers, name)(**c), n)
    over()


@pytest.mark.parametrize('name', CONFIGS)
def test_schedulers_make_their_own_images(name): search(name, 10)


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
def test_schedulers_make_their_own_images_in_every_setting(name): search(name, 150)


@pytest.mark.parametrize(('name', 'c'), [
    ('DDIMScheduler', dict(prediction_type='v_prediction', rescale_betas_zero_snr=True, timestep_spacing='trailing')),
    ('DDIMScheduler', dict(timestep_spacing='linspace')), ('DDIMScheduler', dict(steps_offset=1, set_alpha_to_one=False)),
    ('DDPMScheduler', dict(thresholding=True, sample_max_value=4.)), ('DDPMScheduler', dict(variance_type='fixed_large', timestep_spacing='trailing')),
    ('EulerDiscreteScheduler', dict()), ('EulerDiscreteScheduler', dict(use_karras_sigmas=True)),
    ('EulerDiscreteScheduler', dict(use_beta_sigmas=True)), ('EDMEulerScheduler', dict()),
    ('FlowMatchEulerDiscreteScheduler', dict(shift=3.)), ('FlowMatchEulerDiscreteScheduler', dict(use_beta_sigmas=True))], ids=str)
def test_settings_that_must_not_be_lost(name, c):
    if 'use_beta_sigmas' in c: pytest.importorskip('scipy')
    assert_same_images(getattr(diffusers, name)(**c), 7)


@pytest.mark.parametrize(('name', 'c', 'says'), [
    ('DDIMScheduler', dict(rescale_betas_zero_snr=True), 'rescale_betas_zero_snr with epsilon'),
    ('DDIMScheduler', dict(prediction_type='flow'), "prediction_type='flow'"),
    ('DDPMScheduler', dict(variance_type='fixed_large_log'), "variance_type='fixed_large_log'"),
    ('DDPMScheduler', dict(thresholding=True, sample_max_value=.5), 'most >= 1'),
    ('EulerDiscreteScheduler', dict(interpolation_type='log_linear'), "interpolation_type='log_linear'"),
    ('EulerDiscreteScheduler', dict(rescale_betas_zero_snr=True), 'rescale_betas_zero_snr with epsilon'),
    ('EulerDiscreteScheduler', dict(sigma_max=500.), 'sigma_max=500'), ('EDMEulerScheduler', dict(prediction_type='sample'), 'prediction_type'),
    ('FlowMatchEulerDiscreteScheduler', dict(use_dynamic_shifting=True), 'use_dynamic_shifting=True'),
    ('FlowMatchEulerDiscreteScheduler', dict(invert_sigmas=True), 'invert_sigmas=True'),
    ('FlowMatchEulerDiscreteScheduler', dict(stochastic_sampling=True), 'stochastic_sampling=True'),
    ('PNDMScheduler', dict(), 'PNDMScheduler is not known here'), ('HeunDiscreteScheduler', dict(), 'HeunDiscreteScheduler is not known')])
def test_what_is_not_honoured_is_refused_by_name(name, c, says):
    with pytest.raises(CreativityError, match=says) as e: from_diffusers(unet(), getattr(diffusers, name)(**c))
    assert one_line(e)


def test_every_setting_of_the_schedulers_is_one_that_was_thought_of():
    "A new version of diffusers with a new setting fails here, not in silence."
    import inspect
    known = dict(
        DDIMScheduler='num_train_timesteps beta_start beta_end beta_schedule trained_betas clip_sample set_alpha_to_one steps_offset '
                      'prediction_type thresholding dynamic_thresholding_ratio clip_sample_range sample_max_value timestep_spacing rescale_betas_zero_snr',
        DDPMScheduler='num_train_timesteps beta_start beta_end beta_schedule trained_betas variance_type clip_sample steps_offset '
                      'prediction_type thresholding dynamic_thresholding_ratio clip_sample_range sample_max_value timestep_spacing rescale_betas_zero_snr',
        EulerDiscreteScheduler='num_train_timesteps beta_start beta_end beta_schedule trained_betas prediction_type interpolation_type use_karras_sigmas '
                               'use_exponential_sigmas use_beta_sigmas sigma_min sigma_max timestep_spacing timestep_type steps_offset rescale_betas_zero_snr final_sigmas_type',
        EDMEulerScheduler='sigma_min sigma_max sigma_data sigma_schedule num_train_timesteps prediction_type rho final_sigmas_type',
        FlowMatchEulerDiscreteScheduler='num_train_timesteps shift use_dynamic_shifting base_shift max_shift base_image_seq_len max_image_seq_len invert_sigmas '
                                        'shift_terminal use_karras_sigmas use_exponential_sigmas use_beta_sigmas time_shift_type stochastic_sampling')
    for name, settings_ in known.items():
        now = set(inspect.signature(getattr(diffusers, name).__init__).parameters) - {'self', 'args', 'kwargs'}
        assert now <= set(settings_.split()), f'{name}: {now - set(settings_.split())}'


def test_learned_variance():
    net, s = unet(out_channels=2), diffusers.DDPMScheduler(num_train_timesteps=100, variance_type='learned_range')
    m = from_diffusers(net, s)
    x = seed_noise(range(2), SHAPE)
    x0 = (x - (1 - s.alphas_cumprod[50]).sqrt()*net(x, 50).sample[:, :1])/s.alphas_cumprod[50].sqrt()
    torch.testing.assert_close(m.denoise(x, .51), x0.clamp(-1, 1), rtol=0, atol=1e-5)
    assert sample(m, x, times=m.times(4)).isfinite().all()
    with pytest.raises(CreativityError, match="method='ddim'"): sample(m, x, times=m.times(4), method='ddpm')


def test_grids_that_do_not_exist():
    m = from_diffusers(unet(), diffusers.DDIMScheduler(num_train_timesteps=20))
    for n in (21, 0):
        with pytest.raises(CreativityError, match='no grid of') as e: m.times(n)
        assert one_line(e)


# folders

def folder(path, scheduler=None, kind='DDPMScheduler', **changes):
    "A small conditional UNet2DModel of diffusers, written to disk with its scheduler."
    net = unet(**{'num_class_embeds': 3, **changes})
    net.save_pretrained(path/'unet')
    s = getattr(diffusers, kind)(**{'num_train_timesteps': 100, **(scheduler or {})})
    s.save_pretrained(path/'scheduler')
    return net, s


@pytest.mark.parametrize('beta_schedule', ['linear', 'scaled_linear', 'squaredcos_cap_v2', 'sigmoid'])
def test_a_folder_is_the_same_denoiser(tmp_path, beta_schedule):
    net, s = folder(tmp_path, dict(beta_schedule=beta_schedule, clip_sample=False))
    m = from_diffusers(tmp_path)
    assert (m.shape, m.num_classes, m.predicts) == (SHAPE, 3, 'noise')
    x0, noise, label = torch.rand(2, *SHAPE)*2 - 1, seed_noise(range(2), SHAPE), torch.tensor([0, 2])
    for step in (0, 40, 99):
        t, a2 = (step + 1)/100, s.alphas_cumprod[step].double()
        assert m.schedule.a(t)**2 == pytest.approx(a2.item(), rel=1e-6)
        x = add_noise(x0, noise, t, m.schedule)
        torch.testing.assert_close(x, s.add_noise(x0, noise, torch.tensor([step]*2)), atol=1e-4, rtol=0)
        torch.testing.assert_close(m.noise(x, t, label), net(x, step, class_labels=label).sample, atol=1e-5, rtol=1e-4)
    assert from_diffusers(tmp_path/'unet').schedule == m.schedule


def test_pipelines(tmp_path):
    net, s = unet(), diffusers.DDIMScheduler(num_train_timesteps=100)
    pipe = diffusers.DDIMPipeline(net, s)
    pipe.save_pretrained(tmp_path)
    x = seed_noise(range(2), SHAPE)
    made = [sample(m, x, times=m.times(5)) for m in (from_diffusers(pipe), from_diffusers(tmp_path), from_diffusers(net, s))]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
    assert made[0].abs().max() <= 1 # DDIM clips unless it is told not to
    with pytest.raises(CreativityError, match='half of a model'): from_diffusers(net)
    with pytest.raises(CreativityError, match='got Linear'): from_diffusers(torch.nn.Linear(1, 1), s)


def test_another_scheduler_for_a_folder(tmp_path):
    folder(tmp_path, kind='PNDMScheduler')
    with pytest.raises(CreativityError, match='name one of them with scheduler=') as e: from_diffusers(tmp_path)
    assert one_line(e)
    m = from_diffusers(tmp_path, 'DDIMScheduler')
    assert m.times(4)[0] == .76
    assert read_scheduler(tmp_path/'unet', 'DDPMScheduler').config.num_train_timesteps == 100


def change(path, **values): path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match='no scheduler configuration'): from_diffusers(tmp_path)
    folder(tmp_path)
    scheduler, model = tmp_path/'scheduler'/'scheduler_config.json', tmp_path/'unet'/'config.json'
    weights = tmp_path/'unet'/'diffusion_pytorch_model.safetensors'

    def refused(says, error=ValueError):
        with pytest.raises(error, match=says) as e: from_diffusers(tmp_path)
        assert one_line(e)
    for key, value, back, says in (('prediction_type', 'flow', 'epsilon', "prediction_type='flow'"), ('beta_schedule', 'cubic', 'linear', 'cubic'),
                                   ('rescale_betas_zero_snr', True, False, 'with epsilon'), ('_class_name', 'VQScheduler', 'DDPMScheduler', 'VQScheduler is not known'),
                                   ('trained_betas', ['x'], None, 'describes no DDPMScheduler'), ('num_train_timesteps', 'many', 100, 'describes no DDPMScheduler')):
        change(scheduler, **{key: value})
        refused(says)
        change(scheduler, **{key: back})
    for key, value, back, says in (('_class_name', 'VQModel', 'UNet2DModel', 'not a UNet2DModel'), ('block_out_channels', [8, 8], [8, 16], 'another architecture'),
                                   ('class_embed_type', 'timestep', None, 'class_embed_type'), ('out_channels', 3, 1, 'as many channels'),
                                   ('down_block_types', ['None'], list(SIZES['down_block_types']), 'describes no UNet2DModel')):
        change(model, **{key: value})
        refused(says)
        change(model, **{key: back})
    from_diffusers(tmp_path)
    scheduler.write_text('['*5000)
    refused('not JSON')
    scheduler.write_text('{"_class_name": "DDPMScheduler"}')
    whole = weights.read_bytes()
    weights.write_bytes(whole[:500])
    refused('not a safetensors file')
    weights.rename(weights.with_suffix('.bin'))
    refused('pickles are not read', FileNotFoundError)
    model.write_text('{')
    refused('not JSON')


def test_without_diffusers(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'diffusers', None)
    (tmp_path/'scheduler_config.json').write_text('{"_class_name": "DDPMScheduler"}')
    (tmp_path/'config.json').write_text('{"_class_name": "UNet2DModel", "in_channels": 1, "out_channels": 1}')
    (tmp_path/'diffusion_pytorch_model.safetensors').write_bytes(b'')
    with pytest.raises(ImportError, match='pip install') as e: from_diffusers(tmp_path)
    assert one_line(e)


# finding a network

def test_find_network(tmp_path):
    assert find_network('mnist-resnet').card['name'] == 'mnist-resnet'
    net = load_network('mnist-resnet')
    assert find_network(net) is net
    for suffix in ('.safetensors', '.json'):
        from creativity.files import asset
        assert find_network(asset('networks', f'mnist-resnet{suffix}')).card == net.card
    folder(tmp_path/'theirs')
    assert find_network(tmp_path/'theirs').num_classes == 3
    (tmp_path/'mine.py').write_text('from creativity import from_noise, CosineSchedule\n'
                                    'def net(): return from_noise(lambda x, t, label: 0*x, CosineSchedule(), shape=(1, 4, 4))\n'
                                    'def other(): return 3\nnumber = 3\n')
    assert find_network(f'{tmp_path}/mine.py:net').shape == (1, 4, 4)


@pytest.mark.parametrize(('what', 'error', 'says'), [
    ('mine.py:missing', CreativityError, 'has no function missing'), ('mine.py:number', CreativityError, 'has no function number'),
    ('mine.py:other', CreativityError, 'must return a denoiser'), ('mine.py:f', CreativityError, 'must take no argument and return'), ('no.py:net', FileNotFoundError, 'no file'), ('nowhere:net', FileNotFoundError, 'no module or file'),
    ('mine.py', CreativityError, r'FILE\.py:FUNCTION, .*mine\.py:net$'), ('mine.py:', CreativityError, r'FILE\.py:FUNCTION, .*mine\.py:net$'),
    ('model.pt', CreativityError, 'must be safetensors'), ('empty', FileNotFoundError, 'no scheduler configuration'), ('mnist-vit', FileNotFoundError, 'no network')])
def test_no_network_is_one_line(tmp_path, what, error, says):
    (tmp_path/'empty').mkdir()
    (tmp_path/'mine.py').write_text('def other(): return 3\ndef f(x, t, label): return x\nnumber = 3\n')
    place = what if what.startswith(('nowhere', 'mnist')) else str(tmp_path/what)
    with pytest.raises(error, match=says) as e: find_network(place)
    assert one_line(e)


def test_a_network_of_anothers_is_looked_at():
    from creativity.networks.wrap import check_denoiser
    x = torch.nn.functional.interpolate(seed_noise(range(64), (1, 3, 3)), (8, 8), mode='bilinear').clamp(-1, 1)
    with pytest.warns(UserWarning, match='worse than the mean image'):
        assert not check_denoiser(from_diffusers(unet(), diffusers.DDIMScheduler(clip_sample=False)), x).ok
    assert isinstance(from_noise(lambda x, t, label: x, torch.tensor([.9, .1])).schedule, D.StepSchedule)


# latents

def test_a_latent_pipeline_is_its_network_on_latents(tmp_path):
    torch.manual_seed(0)
    vae = diffusers.VQModel(in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8,), norm_num_groups=4, num_vq_embeddings=8,
                            layers_per_block=1)
    s = diffusers.DDIMScheduler(clip_sample=False)
    pipe = diffusers.LDMPipeline(vae, unet(in_channels=4, out_channels=4), s)
    pipe.save_pretrained(tmp_path)
    seen = []
    for m in (from_diffusers(tmp_path), from_diffusers(pipe)):
        assert (m.shape, m.clip, m.num_classes) == ((4, 8, 8), None, 0)
        x = sample(m, [5], times=m.times(4), progress=False)
        s.set_timesteps(4)
        y = seed_noise([5], m.shape)
        for t in s.timesteps: y = s.step(pipe.unet(y, t).sample, t, y, eta=0.).prev_sample
        torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)
        seen.append(x)
    assert torch.equal(*seen)
    # a machine over latents is compared with it like any other
    latents = 3*torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    machine = ISMachine(Images(latents, range=None), schedule=m.schedule)
    assert machine.denoise(x, .5).shape == x.shape


TEXT = dict(sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4, cross_attention_dim=6,
            attention_head_dim=4, down_block_types=('CrossAttnDownBlock2D', 'DownBlock2D'), up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D'))


def test_a_network_that_is_conditioned_on_texts(tmp_path):
    torch.manual_seed(0)
    net, s = diffusers.UNet2DConditionModel(**TEXT).eval(), diffusers.DDIMScheduler(clip_sample=False, prediction_type='v_prediction')
    net.save_pretrained(tmp_path/'unet')
    s.save_pretrained(tmp_path/'scheduler')
    texts, x = torch.randn(3, 5, 6), seed_noise([1, 2], (4, 8, 8))
    step = torch.tensor([299, 299])
    for told, rows, label in ((texts[0], texts[[0, 0]], None), (texts[:1], texts[[0, 0]], None), (texts, texts[[2, 1]], torch.tensor([2, 1]))):
        m = from_diffusers(tmp_path, condition=told)
        v = net(x, step, rows).sample
        torch.testing.assert_close(m.velocity(x, .3, label), v, atol=1e-5, rtol=1e-4)
    assert m.num_classes == 3
    for wrong, words in ((None, 'needs condition='), (texts[..., :5], r'\[K,tokens,6\]'), ('a cat', 'got str')):
        with pytest.raises(CreativityError, match=words) as e: from_diffusers(tmp_path, condition=wrong)
        assert one_line(e)
    with pytest.raises(CreativityError, match='is for a UNet2DConditionModel'): from_diffusers(unet(), s, condition=texts)
    large = diffusers.UNet2DConditionModel(**TEXT, addition_embed_type='text', encoder_hid_dim=6)
    with pytest.raises(CreativityError, match='addition_embed_type'): from_diffusers(large, s, condition=texts)
