"""The analytic theory of creativity in convolutional diffusion models: `creativity.<name>` loads a name when it is used."""

__version__ = "0.2.0"

from importlib import import_module
from inspect import cleandoc, signature
from typing import TYPE_CHECKING, Any

_ROOMS = {
    'data.find': ['load'],
    'data.images': ['Images'],
    'data.own': ['load_arrays', 'load_folder'],
    'diffusion': ['CosineSchedule', 'Denoiser', 'EDMSchedule', 'FlowSchedule', 'LinearSchedule', 'Schedule', 'sample', 'samples'],
    'errors': ['CreativityError'],
    'machines.conditional': ['Conditional'],
    'machines.mix': ['Guided'],
    'machines.rivals': [
        'GoldenMachine', 'LocalWienerMachine', 'PCAMachine', 'PSPCMachine', 'SmoothedMachine', 'WienerMachine',
    ],
    'machines.sampled': ['Sampled'],
    'machines.whole': ['ESMachine', 'ISMachine'],
    'machines.widths': ['calibrated_scales', 'published_scales'],
    'machines.windows': ['BBELSMachine', 'ELSMachine', 'LSMachine', 'Machine'],
    'measure.audit': ['audit'],
    'measure.calibrate': ['calibrate'],
    'measure.compare': ['compare'],
    'measure.likelihood': ['log_likelihood'],
    'measure.provenance': ['explain', 'flow_sources', 'show_sources'],
    'measure.receptive': ['receptive_field'],
    'networks.card': ['load_network'],
    'networks.diffusers': ['from_diffusers'],
    'networks.wrap': ['along', 'from_edm', 'from_flow', 'from_noise', 'from_score', 'from_v', 'from_x0'],
}
# what they return, where the fields are to be known
_RECORDS = {'machines.windows': ['Sources', 'LateBelief'], 'measure.compare': ['Comparison'],
            'measure.provenance': ['Explanation', 'FlowSources']}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = sorted(_HOME)


def _elsewhere(name):
    "Where a name of the package is that is not at the top: ': it is in creativity.data.show'."
    from pathlib import Path
    here = Path(__file__).parent
    if name.startswith('_') or (here/name).exists() or (here/f'{name}.py').exists():
        return ''                                                # a room, about to be imported
    from creativity._modidx import d
    syms: Any = d['syms']
    rooms = [room for room, names in syms.items() if f'{room}.{name}' in names]
    return f': it is in {" and ".join(rooms)}' if rooms else ''


def __getattr__(name):
    "Load a public name from its room when it is first used (PEP 562)."
    if name not in _HOME:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}{_elsewhere(name)}')
    room = import_module(f'{__name__}.{_HOME[name]}')
    value = globals()[name] = getattr(room, name)
    _explain(value)
    for record in _RECORDS.get(_HOME[name], []): _explain(getattr(room, record), 'Fields:')
    return value


def _notes(value):
    "What the comments beside parameters say, those of the classes above a class included."
    from fastcore.docments import docments
    found: dict[str, str] = {}
    for thing in reversed(value.__mro__[:-1]) if isinstance(value, type) else [value]:
        try: notes = docments(thing, full=True)
        except (OSError, TypeError, ValueError): continue        # its source is not at hand
        found |= {n: ' '.join(note.docment.split()) for n, note in notes.items() if note.docment}
    return found


def _explain(value, title='Parameters:'):
    "Add what each parameter, or field, is to a docstring, once, where `help()` finds it."
    if f'\n{title}\n' in (value.__doc__ or ''): return
    try: names = value.__dataclass_fields__ if title == 'Fields:' else signature(value).parameters
    except (TypeError, ValueError): return
    notes = _notes(value)
    said = [f'    {name}: {notes[name]}' for name in names if name in notes]
    if not said: return
    returned = ['', f'Returns: {notes["return"]}'] if 'return' in notes else []
    value.__doc__ = '\n'.join([cleandoc(value.__doc__ or ''), '', title, *said, *returned])


def __dir__(): return [n for n in sorted({*globals(), *__all__}) if n in __all__ or n.startswith('__')]


if TYPE_CHECKING:
    from creativity.data.find import load
    from creativity.data.images import Images
    from creativity.data.own import load_arrays, load_folder
    from creativity.diffusion import (
        CosineSchedule, Denoiser, EDMSchedule, FlowSchedule, LinearSchedule, Schedule, sample,
        samples,
    )
    from creativity.errors import CreativityError
    from creativity.machines.conditional import Conditional
    from creativity.machines.mix import Guided
    from creativity.machines.rivals import (
        GoldenMachine, LocalWienerMachine, PCAMachine, PSPCMachine, SmoothedMachine, WienerMachine,
    )
    from creativity.machines.sampled import Sampled
    from creativity.machines.whole import ESMachine, ISMachine
    from creativity.machines.widths import calibrated_scales, published_scales
    from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine, Machine
    from creativity.measure.audit import audit
    from creativity.measure.calibrate import calibrate
    from creativity.measure.compare import compare
    from creativity.measure.likelihood import log_likelihood
    from creativity.measure.provenance import explain, flow_sources, show_sources
    from creativity.measure.receptive import receptive_field
    from creativity.networks.card import load_network
    from creativity.networks.diffusers import from_diffusers
    from creativity.networks.wrap import (
        along, from_edm, from_flow, from_noise, from_score, from_v, from_x0,
    )
