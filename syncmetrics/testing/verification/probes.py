"""What is looked for in the states and in `update` itself, by trying it: counts that stand still, defaults, waits."""

from __future__ import annotations

import copy
import importlib
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

from syncmetrics.metric import Metric
from syncmetrics.metric.value import evaluate, is_in_states
from syncmetrics.states import spec as spec_module
from syncmetrics.states.spec import StateSpec
from syncmetrics.testing.verification.batches import Drawn
from syncmetrics.testing.verification.report import Check, Mistake, Outcome
from syncmetrics.testing.verification.subject import Subject, alike, quietly, reductions_of, said, specs_of

__all__ = ["NOT_ASSOCIATIVE", "PROBES", "groupings", "is_neutral", "pretended_device", "without_values"]

#: Whole numbers in float32 are eight apart there, and two from 2**24 on.
_LARGE = 2**26
#: In half precision two values of the same data are this near.
_NARROW = 0.03
_BATCHES = (Drawn(4, 0), Drawn(3, 1), Drawn(2, 2))


def _check(law: str, mistakes: Sequence[Mistake], *, note: bool = False) -> Check:
    outcome: Outcome = "holds" if not mistakes else "note" if note else "broken"
    return Check(law, outcome, tuple(mistakes))


# -- the states


def _tensors(metric: Any) -> dict[str, tuple[Any, StateSpec, Tensor]]:
    found = {}
    for module, spec in specs_of(metric):
        value = getattr(module, spec.name)
        if isinstance(value, Tensor):
            found[f"{type(module).__name__}.{spec.name}"] = module, spec, value
    return found


def counts(subject: Subject) -> Check:
    """Whether a state that only ever has whole numbers added goes on counting where float32 has gaps."""
    law = "counts go on beyond 16,777,216"
    batches = (Drawn(4, 3), Drawn(3, 4), Drawn(5, 5), Drawn(1, 6))
    metric = subject.make()
    before = [_values(metric)]
    for batch in batches:
        subject.update(metric, _uneven(subject.draw(batch)))
        before.append(_values(metric))
    mistakes = []
    for name, (_, spec, value) in _tensors(metric).items():
        if spec.reduction.name not in ("sum", "mean") or value.dtype != torch.float32 or not value.numel():
            continue
        steps = [after[name] - earlier[name] for earlier, after in itertools.pairwise(before)]
        is_count = all(bool((step == step.round()).all()) and bool((step >= 0).all()) for step in steps)
        if is_count and all(bool((step > 0).any()) for step in steps):
            mistakes += _stands_still(subject, name, spec, batches)
    return _check(law, mistakes)


def _values(metric: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, (_, _, value) in _tensors(metric).items()}


def _uneven(batch: Sequence[Any]) -> Sequence[Any]:
    """Make numbers of a batch such that no sum of them is whole."""
    return [b * 0.3718281 if isinstance(b, Tensor) and b.is_floating_point() else b for b in batch]


def _stands_still(subject: Subject, name: str, spec: StateSpec, batches: Sequence[Drawn]) -> list[Mistake]:
    """Count on from a large number, and compare with what the batches add to nothing."""
    metric, fresh = subject.make(), subject.make()
    module, _, value = _tensors(metric)[name]
    setattr(module, spec.name, torch.full_like(value, float(_LARGE)))
    for batch in batches:
        subject.update(metric, subject.draw(batch))
        subject.update(fresh, subject.draw(batch))
    wanted = _tensors(fresh)[name][2].double() + _LARGE
    if torch.equal(_tensors(metric)[name][2].double(), wanted):
        return []
    example = [
        f"metric = {subject.factory}()",
        f"metric.{spec.name} = torch.full_like(metric.{spec.name}, 2**24)",
        f"metric.update(*{subject.written(Drawn(1, 3))})",
        f"print(metric.{spec.name})  # not one more than 16,777,216",
    ]
    return [
        Mistake(
            "a count in float32",
            f"state `{spec.name}` counts in float32, which stands still at 16,777,216: there, one more is none.",
            f"Declare it in whole numbers: add_state({spec.name!r}, torch.tensor(0), dist_reduce_fx='sum').",
            subject.code(example),
        )
    ]


def narrow(subject: Subject) -> Check:
    """Whether a default dtype of bfloat16, or autocast, changes the value by more than it rounds."""
    law = "under autocast, and with bfloat16 as the default dtype, it has the same value"
    batches = [subject.draw(Drawn(300, key)) for key in range(2)]  # 256 and 1 are 256 there

    def value() -> Any:
        torch.manual_seed(0)
        metric = subject.make()
        for batch in batches:
            subject.update(metric, copy.deepcopy(batch))
        return metric.compute()

    try:
        right = value()
    except Exception:  # not enough is known of these batches
        return Check(law, "not checked")
    mistakes = []
    for words, within in (("with bfloat16 as the default dtype", _bf16_default), ("under autocast", _autocast)):
        try:
            with within():
                found = value()
        except Exception as error:
            text = f"{words} it raises {type(error).__name__}: {error}"
        else:
            if _near(found, right):
                continue
            text = f"{words} 600 samples give {said(found)}, otherwise {said(right)}."
        example = [
            "torch.set_default_dtype(torch.bfloat16)" if within is _bf16_default else "autocast = torch.autocast",
            f"metric = {subject.factory}()",
            f"for _ in range(300): metric.update(*{subject.written(Drawn(2, 0))})",
            "print(metric.compute(), metric.metric_state)",
        ]
        if within is _autocast:
            example[:1], example[2] = [], f"with torch.autocast('cpu', torch.bfloat16): {example[2].split(': ', 1)[1]}"
        mistakes.append(
            Mistake(
                "a count in bfloat16",
                text,
                "Count in whole numbers and add up in float64: give every tensor that is made in `__init__` or"
                " `update` a dtype, and write `.sum()` of a bool tensor, not of one in the dtype of the scores.",
                subject.code(example),
            )
        )
    return _check(law, mistakes)


def _near(found: Any, right: Any) -> bool:
    if isinstance(found, Tensor) and isinstance(right, Tensor) and found.shape != right.shape:
        return True  # a size that depends on the data, as that of a curve
    return alike(found, right, _NARROW)


@contextmanager
def _bf16_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _autocast() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


def defaults(subject: Subject) -> Check:
    """Whether a least or greatest value begins from where every value counts."""
    law = "a state begins from a value that adds nothing"
    mistakes = []
    for name, (_, spec, _) in _tensors(subject.make()).items():
        if spec.reduction.name in ("max", "min"):
            mistakes += _shows_through(subject, name, spec)
    return _check(law, mistakes)


def _shows_through(subject: Subject, name: str, spec: StateSpec) -> list[Mistake]:
    """Start from nothing, and from the default; whether the default is still there when data has come."""
    assert isinstance(spec.default, Tensor)
    is_max, dtype = spec.reduction.name == "max", spec.default.dtype
    word, least = ("greatest", "-inf") if is_max else ("least", "inf")
    if dtype is torch.bool:
        return []  # False and True are the least and the greatest of all
    if dtype.is_floating_point:
        value, nothing = f"float({least!r})", torch.full_like(spec.default, float(least))
    else:
        limit = "min" if is_max else "max"
        value = f"torch.iinfo({dtype}).{limit}"
        nothing = torch.full_like(spec.default, getattr(torch.iinfo(dtype), limit))
    if torch.equal(nothing, spec.default):
        return []
    for sign, shift in ((-1, 1.5), (1, -1.5), (-1, -1.0), (1, 1.0)):
        arguments = [_of_one_sign(b, sign, shift) for b in subject.draw(Drawn(2, 0))]
        metric, other = subject.make(), subject.make()
        setattr(_tensors(other)[name][0], spec.name, nothing.clone())
        try:
            subject.update(metric, copy.deepcopy(arguments))
            subject.update(other, copy.deepcopy(arguments))
        except Exception:
            continue
        got, wanted = _tensors(metric)[name][2], _tensors(other)[name][2]
        is_there = torch.isfinite(wanted).all() and not (wanted == nothing).any()
        if is_there and torch.equal(got, spec.default) and not torch.equal(got, wanted):
            break
    else:
        return []
    example = [
        f"metric = {subject.factory}()",
        f"metric.update(*{subject.written_out(tuple(arguments))})",
        f"print(metric.compute())  # the {word} of these is {said(wanted)}",
    ]
    return [
        Mistake(
            "a default that is not neutral",
            f"state `{spec.name}` keeps the {word} value and begins with {said(spec.default)}, so it says"
            f" {said(got)} where the {word} is {said(wanted)}; a rank without data brings it in, too.",
            f"Begin with torch.tensor({value}): add_state({spec.name!r}, ..., {spec.reduction.name!r}).",
            subject.code(example),
        )
    ]


def _of_one_sign(value: Any, sign: int, shift: float) -> Any:
    """Give floats that are mostly of one sign; labels and the like as they are."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return sign * value.abs() + shift


def is_neutral(spec: StateSpec, reduce: Callable[[Tensor], Tensor], value: Tensor) -> bool:
    """Whether a reduction of the user's own leaves a value alone that meets the default, or cannot be tried."""
    assert isinstance(spec.default, Tensor)
    try:
        return alike(reduce(torch.stack([spec.default.to(value.dtype), value])), value)
    except Exception:
        return True


def groupings(reduce: Callable[[Tensor], Tensor], a: Tensor, b: Tensor, c: Tensor) -> tuple[Any, Any, Any] | None:
    """Give what a reduction makes of ((a, b), c), of (a, (b, c)) and of (a, b, c), if these differ."""
    try:
        left = reduce(torch.stack([reduce(torch.stack([a, b])), c]))
        right = reduce(torch.stack([a, reduce(torch.stack([b, c]))]))
        whole = reduce(torch.stack([a, b, c]))
    except Exception:
        return None
    return None if alike(left, right) and alike(left, whole) else (left, right, whole)


def associative(subject: Subject) -> Check:
    """Whether it does not matter to a reduction of the user's own in which groups it is given values."""
    law = "a reduction of your own gives the same in any grouping"
    mistakes = []
    metrics = [reductions_of(subject.fed([Drawn(3, key), Drawn(2, key + 7)])) for key in range(3)]
    for (spec, reduce, a), (_, _, b), (_, _, c) in zip(*metrics, strict=True):
        found = groupings(reduce, a, b, c)
        if found is None:
            continue
        left, right, whole = map(said, found)
        example = [
            f"reduce = {subject.factory}()._holder.specs[{spec.name!r}].reduction.fx",
            f"a, b, c = torch.tensor([{said(a)}, {said(b)}, {said(c)}])" if a.numel() == 1 else "# states a, b and c",
            "print(reduce(torch.stack([reduce(torch.stack([a, b])), c])))",
            "print(reduce(torch.stack([a, reduce(torch.stack([b, c]))])))",
        ]
        mistakes.append(
            Mistake(
                "a reduction that is not associative",
                f"the reduction of `{spec.name}` gives {left} for ((a, b), c), {right} for (a, (b, c)) and {whole} for"
                " (a, b, c); it is called on two values for every update and on one of each rank.",
                NOT_ASSOCIATIVE,
                subject.code(example),
            )
        )
    return _check(law, mistakes)


#: What to write instead.
NOT_ASSOCIATIVE = "Keep what can be added, a sum and a count say, with dist_reduce_fx='sum', and divide in `compute`."


def edits_states(subject: Subject) -> Check:
    """Whether `compute` edits the states that it is given."""
    law = "`compute` edits no state"
    metric = subject.fed(_BATCHES)
    if not isinstance(metric, Metric):
        return Check(law, "not checked")
    before = [copy.deepcopy(getattr(module, spec.name)) for module, spec in specs_of(metric)]
    evaluate(metric)
    after = [(module, spec.name) for module, spec in specs_of(metric)]
    edited = [
        name
        for (module, name), value in zip(after, before, strict=True)
        if not alike(getattr(module, name), value, 0.0)
    ]
    if not edited:
        return Check(law, "holds")
    example = [
        *subject.feeding(_BATCHES[:1]),
        "with metric.sync_context():",
        f"    print(type(metric).compute.__wrapped__(metric), metric.{edited[0]})",
        f"    print(type(metric).compute.__wrapped__(metric), metric.{edited[0]})",
    ]
    mistake = Mistake(
        "states that are edited in `compute`",
        f"`compute` changes the state `{edited[0]}`, so that a second one of the same states gives another value.",
        "Compute of copies: `total = self.total / self.count`, and no `self.total /= ...`, `.pop()` or `.sort_()`.",
        subject.code(example),
    )
    return _check(law, [mistake])


def handed_out(subject: Subject) -> Check:
    """Whether `compute` gives a state itself. It is copied here, and elsewhere it is not."""
    law = "`compute` gives no state away"
    metric = subject.fed(_BATCHES)
    if not isinstance(metric, Metric):
        return Check(law, "not checked")
    if not any(tensor.numel() and is_in_states(tensor, metric) for tensor in _tensors_of(evaluate(metric))):
        return Check(law, "holds")
    example = [
        *subject.feeding(_BATCHES[:1]),
        "value = type(metric).compute.__wrapped__(metric)  # without the copy",
        "print(value, metric.metric_state)",
    ]
    mistake = Mistake(
        "a state handed out",
        "`compute` returns a state itself. It is copied before it is handed out, so nothing is lost here; without that,"
        " who edits the value would edit the state.",
        "Return something made of it, `self.total / self.count`, or `self.total.clone()`, if others use the class too.",
        subject.code(example),
    )
    return _check(law, [mistake], note=True)


def _tensors_of(value: Any) -> Iterator[Tensor]:
    """Give the tensors of a value, whatever holds them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors_of(item)
    elif hasattr(value, "__dict__") and not callable(value):
        yield from _tensors_of(vars(value))


def without_data(subject: Subject) -> Check:
    """Whether there is a value before any update."""
    law = "where no rank has data, there is a value"
    try:
        subject.make().compute()
    except Exception as error:
        mistake = Mistake(
            "no value without data",
            f"before any update on any rank, `compute` raises {type(error).__name__}: {error}",
            "Where an epoch may be empty, give NaN or 0: `self.total / self.count.clamp(min=1)`.",
            subject.code([f"{subject.factory}().compute()"]),
        )
        return _check(law, [mistake], note=True)
    return Check(law, "holds")


# -- what `update` does beside


_CALLS = """
_allgather_base allgather allgather_coalesced allgather_into_tensor_coalesced allreduce allreduce_coalesced alltoall
alltoall_base barrier broadcast gather recv reduce reduce_scatter scatter send
"""


class _Communicates(Exception):  # noqa: N818 - it says what a metric does
    """A collective has begun."""


def communicates(subject: Subject) -> Check:
    """Whether `update` or `compute` calls a collective of its own."""
    law = "`update` and `compute` do not communicate themselves"
    if not dist.is_available() or dist.is_initialized():
        return Check(law, "not checked")
    with _no_collectives():
        metric = subject.make()
        verbs: dict[str, Callable[[], Any]] = {"update": lambda: subject.update(metric, subject.draw(Drawn(3, 0)))}
        if isinstance(metric, Metric) and not metric._modules:  # metrics inside are synced by their own `compute`
            verbs["compute"] = lambda: evaluate(metric)
        for verb, act in verbs.items():
            try:
                act()
            except _Communicates as error:
                return _check(law, [_communicating(subject, verb, error)])
            except Exception:
                return Check(law, "not checked")
    return Check(law, "holds")


def _communicating(subject: Subject, verb: str, error: BaseException) -> Mistake:
    does = {
        "update": "a rank with fewer batches, or none, does not, and the others wait for it.",
        "compute": "what it sees are the states of all ranks already, so they are counted once for each.",
    }[verb]
    last = ["type(metric).compute.__wrapped__(metric)"] if verb == "compute" else []
    return Mistake(
        f"{'an' if verb == 'update' else 'a'} {verb} that communicates",
        f"`{verb}` calls a collective{_where(error)}; {does}",
        "Only add to the states in `update`; what all ranks have is what `compute` sees.",
        subject.code(_SHOW_COMMUNICATES + subject.feeding([Drawn(1, 0)]) + last),
    )


@contextmanager
def _no_collectives() -> Iterator[None]:
    """Be in a process group of two, in which whoever begins a collective is told not to."""
    before, hook = dict(vars(dist.ProcessGroup)), sys.excepthook  # a process group has a hook of its own
    fake = importlib.import_module("torch.testing._internal.distributed.fake_pg")  # which brings the backend
    dist.init_process_group("fake", store=fake.FakeStore(), rank=0, world_size=2)
    names = [name for name in _CALLS.split() if hasattr(dist.ProcessGroup, name)]

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise _Communicates

    try:
        for name in names:
            setattr(dist.ProcessGroup, name, refuse)
        yield
    finally:
        for name in names:
            if name in before:
                setattr(dist.ProcessGroup, name, before[name])
            else:
                delattr(dist.ProcessGroup, name)
        dist.destroy_process_group()
        sys.excepthook = hook


_SHOW_COMMUNICATES = [
    "import torch.distributed as dist",
    "from torch.testing._internal.distributed.fake_pg import FakeStore",
    "dist.init_process_group('fake', store=FakeStore(), rank=0, world_size=2)",
    "def refuse(*args): raise RuntimeError('a collective in update')",
    "for name in ('allreduce', '_allgather_base', 'broadcast'): setattr(dist.ProcessGroup, name, refuse)",
]


def _where(error: BaseException) -> str:
    """Say in which line of the user's: the last one that is neither torch's nor ours."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_ours(f.filename)]
    return f" in `{frames[-1].line}`" if frames and frames[-1].line else ""


def _is_ours(path: str) -> bool:
    return any(part in path for part in ("/torch/", "/syncmetrics/testing/", "/syncmetrics/metric/", "/contextlib"))


_WAITS = ("DataDependentOutputException", "DynamicOutputShapeException", "GuardOnDataDependentSymNode")


def waits(subject: Subject) -> Check:
    """Whether `update` asks for values of a device that has none to give: it would wait for it in every step."""
    law = "`update` does not wait for the device"
    batch = subject.draw(Drawn(3, 0))
    if not batch or not all(isinstance(argument, Tensor) for argument in batch) or not hasattr(os, "fork"):
        return Check(law, "not checked")
    where = _in_a_child(lambda: _waiting_line(subject, batch))
    if where is None:
        return Check(law, "not checked")
    if not where:
        return Check(law, "holds")
    mistake = Mistake(
        "an update that waits for the device",
        f"`update` needs a value of a tensor in Python{where.rstrip()}, so on an accelerator each step waits until all"
        " work before it is done.",
        "Leave numbers in tensors: no `.item()`, no `if tensor`, no `int(tensor)`, no boolean index; count with"
        " `(preds == target).sum()` and select with `torch.where`.",
        subject.code(
            [
                *_SHOW_WAITS,
                f"metric = {subject.factory}()",
                f"with Look(): metric.update(*{subject.written(Drawn(2, 0))})",
            ],
        ),
    )
    return _check(law, [mistake], note=True)


def _waiting_line(subject: Subject, batch: Sequence[Tensor]) -> str | None:
    """Give the line that waits, in words, or nothing; None where that cannot be told."""
    metric = subject.make()
    device = pretended_device()
    if device is None:
        return None
    try:
        with without_values():
            update = [torch.empty(value.shape, dtype=value.dtype, device=device) for value in batch]
            subject.update(metric, update)
            subject.update(metric, update)
    except Exception as error:
        chain = [error, error.__cause__, error.__context__]
        waiting = next((e for e in chain if type(e).__name__ in _WAITS), None)
        return None if waiting is None else _where(waiting) or " "
    return ""


def _in_a_child(function: Callable[[], str | None]) -> str | None:
    """Call a function in a process of its own: a device, once made, stays, and others would take it for a real one."""
    reading, writing = os.pipe()
    with quietly():
        child = os.fork()
    if not child:
        try:
            said = function()
            os.write(writing, b"-" if said is None else b"+" + said.encode()[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found[1:].decode(errors="replace") if found[:1] == b"+" else None


_SHOW_WAITS = [
    "from torch.utils._python_dispatch import TorchDispatchMode",
    "class Look(TorchDispatchMode):",
    "    def __torch_dispatch__(self, func, types, args=(), kwargs=None):",
    "        if 'local_scalar' in str(func) or 'nonzero' in str(func): print('waits:', func)",
    "        return func(*args, **(kwargs or {}))",
]


def pretended_device() -> str | None:
    """Make a device without memory, and so without values: whoever wants to see one waits for it, and fails there.

    It stays for as long as the process. None on a torch that has no devices in Python, or where another has the place.
    """
    setup = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
    if setup is None:
        return None
    if not hasattr(torch, "pretended"):
        if torch._C._get_privateuse1_backend_name() != "privateuseone":
            return None
        setup("pretended")
    return "pretended:0"


@contextmanager
def without_values() -> Iterator[None]:
    """Let states be moved to the pretended device, and operations on it give shapes alone."""
    move, spec_module._to = spec_module._to, _moved
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        spec_module._to = move


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)


PROBES: tuple[Callable[[Subject], Check], ...] = (
    counts,
    narrow,
    defaults,
    associative,
    edits_states,
    communicates,
    waits,
    handed_out,
    without_data,
)
