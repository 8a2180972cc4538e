"""What hypothesis draws: plain data, records and manifests, tensors of any dtype and layout."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics.sync.manifest import Form, Manifest, Record, Status
from syncmetrics.sync.tally import in_runs
from tests.samples import DTYPES

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
TEXT = st.text(max_size=8)
# As `os.fsdecode` gives names of files that are not UTF-8.
SURROGATES = st.text(st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), min_size=1, max_size=4)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True, allow_infinity=True)
    | TEXT
    | SURROGATES
    | st.binary(max_size=8)
)


def _nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.none() | st.booleans() | st.integers() | TEXT | st.binary(max_size=4) | st.tuples(st.integers(), TEXT)
    lists = st.lists(inner, max_size=4)
    return lists | lists.map(tuple) | st.dictionaries(keys, inner, max_size=4)


PLAIN = st.recursive(SCALARS, _nest, max_leaves=12)

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)
STORED = st.sampled_from(DTYPES)


@st.composite
def records(draw: Any) -> Record:
    form = draw(st.sampled_from(list(Form)))
    device = draw(st.sampled_from(["cpu", "cuda", "mps"]))
    if form is Form.NOTHING:
        return Record(form)
    if form in (Form.BUNDLE, Form.PLAIN):
        return Record(form, torch.uint8, (draw(st.integers(0, 2000)),), device)
    shape = draw(SHAPES)
    if form is Form.ROWS and not shape:
        shape = (draw(st.integers(0, 5)),)
    return Record(form, draw(STORED), shape, device)


@st.composite
def manifests(draw: Any) -> Manifest:
    numbers = st.integers(0, (1 << 62) - 1)
    sequence, fingerprint, label = draw(numbers), draw(numbers), draw(TEXT)
    status = draw(st.sampled_from(Status))
    if status is Status.JOINED:
        return Manifest(status, sequence, fingerprint, label)
    if status is Status.ERROR:
        return Manifest(status, sequence, fingerprint, label, message=draw(TEXT))
    counts = draw(st.lists(numbers, max_size=5).map(tuple))
    epochs = tuple(draw(st.integers(0, (1 << 63) - 1)) for _ in counts)
    samples = in_runs([draw(st.sampled_from([-1, 0, 7, (1 << 62) - 1])) for _ in counts])
    held = tuple(draw(st.lists(records(), max_size=8)))
    return Manifest(status, sequence, fingerprint, label, counts, held, epochs, samples=samples)


def noise(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> Tensor:
    """Give a tensor of any dtype whose bytes are arbitrary; a bool's are 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    high = 2 if dtype is torch.bool else 256
    data = torch.randint(0, high, (math.prod(shape) * dtype.itemsize,), dtype=torch.uint8, generator=generator)
    return data.view(dtype).view(shape)


@st.composite
def tensors(draw: Any, dtypes: st.SearchStrategy[torch.dtype] = STORED) -> Tensor:
    """Tensors of any dtype: 0-dim, without elements, of any strides."""
    dtype, shape = draw(dtypes), draw(SHAPES)
    layout = draw(st.sampled_from(["contiguous", "transposed", "strided", "expanded"]))
    seed = draw(st.integers(0, 1000))
    if layout == "transposed" and len(shape) > 1:
        return noise(dtype, shape[::-1], seed).permute(*reversed(range(len(shape))))
    if layout == "strided" and shape:
        return noise(dtype, (2 * shape[0], *shape[1:]), seed)[::2]
    if layout == "expanded" and shape:
        return noise(dtype, (1, *shape[1:]), seed).expand(shape)
    return noise(dtype, shape, seed)
