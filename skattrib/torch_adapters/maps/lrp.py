"""Layer-wise relevance propagation: hooks that make the gradients of layers relevance rules.

With gradients g, the relevance of values x is x g. ReLU, pools, sums and whatever else is
homogeneous of degree one hand it on as autograd does. A linear layer y = Wx + b with the rule z(x),
which is a sum of some of the terms of Wx + b, becomes z(x) (y / z) with the ratio held fixed: its
value is y, and x times its gradient is x (dz/dx) (y g / z), which is the rule.
"""

import contextlib
import re

import torch
from torch import nn

from .gradients import backward

EPSILON = 1e-6
LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
OTHERWISE = "method='gradient' takes any network"

# nodes of autograd that hand relevance on
NATIVE = {
    *("Relu", "LeakyRelu", "PreluKernel", "Abs", "Add", "Sub", "Neg", "Mul", "Div"),
    *("Mean", "Sum", "Max", "Amax", "MaxPool2DWithIndices", "MaxPool3DWithIndices"),
    *("AdaptiveMaxPool2D", "AdaptiveMaxPool3D", "AvgPool2D", "AvgPool3D"),
    *("AdaptiveAvgPool2D", "AdaptiveAvgPool3D", "UpsampleNearest1D", "UpsampleNearest2D"),
    *("UpsampleNearest3D", "UpsampleBilinear2D", "PixelShuffle", "PixelUnshuffle"),
    *("ConstantPadNd", "ReflectionPad1D", "ReflectionPad2D", "ReflectionPad3D"),
    *("ReplicationPad1D", "ReplicationPad2D", "ReplicationPad3D", "Flip", "Roll"),
    *("View", "UnsafeView", "ReshapeAlias", "Alias", "Clone", "ToCopy", "Permute", "Transpose"),
    *("T", "Squeeze", "Unsqueeze", "Expand", "Repeat", "Slice", "Select", "Index", "IndexSelect"),
    *("Cat", "Stack", "Split", "SplitWithSizes", "Unbind", "AsStrided"),
}
# what stands for layers that hooks have not seen
UNSEEN = {"Convolution", "Addmm", "Mm", "Bmm", "Baddbmm", "Linear", "MkldnnLinear"}


class Relevance:
    """Relevance of inputs for directions in the features.

    Parameters
    ----------
    features : Features
    conv : {"zplus", "epsilon"}
        Rule of convolutions; linear layers have epsilon.
    first : {None, "flat"}
        Rule of the layers that see the input, if another.
    bias : bool
        Whether biases take their share.

    Attributes
    ----------
    rows : Tensor
        Features of the last values.
    """

    def __init__(self, features, conv="zplus", first=None, bias=True):
        self.features = features
        self.conv, self.first, self.bias = conv, first, bias
        self.layers = [m for m in features.module.modules() if isinstance(m, (*LINEAR, *NORM))]
        # convolutions that are seen only by batch norm, in which they are folded
        self.folded: set[nn.Module] = set()

    def __call__(self, batch, values, G):
        """Relevance (q, b, ...) of the values of the batch's inputs for directions G (q, b, d)."""
        leaf = values.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        with contextlib.ExitStack() as stack:
            run = _Run(self, leaf)
            for module in self.layers:
                handle = module.register_forward_hook(run.hook)
                stack.callback(handle.remove)
            rows = self.features(batch, (run.fed, *batch.tensors[1:]))
        if rows.grad_fn is None:
            raise ValueError("features do not depend on X by gradients: nothing to send back")
        if self.first == "flat" and not run.seen:
            raise ValueError(
                "first='flat' needs a linear layer or a convolution that sees X itself, but X is "
                "changed before the first: take scaling out of features and into X, or first=None"
            )
        _check_graph(rows.grad_fn, run, self.bias)
        self.folded |= run.skipped
        self.rows = rows.detach()
        found = backward(rows, (leaf, run.carrier), G)
        return leaf.detach() * found[0] + found[1]


class _Run:
    """One forward pass."""

    def __init__(self, relevance, leaf):
        self.relevance, self.rule = relevance, {}
        # networks may change what they are given in place
        self.fed = leaf.clone()
        self.version = self.fed._version
        # what the flat rule gives goes here: it is relevance already, not a gradient
        self.carrier = torch.zeros_like(leaf, requires_grad=True)
        self.seen, self.nodes, self.waiting, self.skipped = False, {}, {}, set()

    def hook(self, module, args, y):
        """The output of a layer with the gradient of its rule."""
        if len(args) != 1 or not y.requires_grad:
            return None
        if isinstance(module, NORM):
            return self._norm(module, args[0], y)
        if not _is_plain(module, LINEAR):
            raise ValueError(
                f"lrp has no rule for {type(module).__name__}, which is another than its base: "
                f"{OTHERWISE}"
            )
        if module in self.relevance.folded:
            self._await(module, args[0], y)
            return None
        out = self._ruled(module, args[0], y, module.weight, module.bias)
        self._await(module, args[0], out)
        return out

    def _await(self, layer, x, out):
        # with the output itself, so that no other has its number
        self.waiting[id(out)] = layer, x, out, out.grad_fn

    def _norm(self, module, x, y):
        """Batch norm as a part of the convolution in front of it."""
        if not _is_plain(module, NORM) or module.running_mean is None:
            raise ValueError(
                f"lrp cannot fold {type(module).__name__} without running statistics: {OTHERWISE}"
            )
        layer, inputs, _, made = self.waiting.get(id(x), (None,) * 4)
        # what was changed in place since is another
        if layer is None or x.grad_fn is not made:
            raise ValueError(
                f"lrp folds {type(module).__name__} into the linear layer or convolution right "
                f"before it, and this one has another input: {OTHERWISE}"
            )
        scale = torch.rsqrt(module.running_var + module.eps)
        scale = scale if module.weight is None else scale * module.weight
        bias = -module.running_mean if layer.bias is None else layer.bias - module.running_mean
        bias = bias * scale if module.bias is None else bias * scale + module.bias
        weight = layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        self.skipped.add(layer)
        return self._ruled(layer, inputs, y, weight, bias)

    def _ruled(self, layer, x, y, weight, bias):
        is_conv = not isinstance(layer, nn.Linear)
        rule = self.relevance.conv if is_conv else "epsilon"
        apply = layer._conv_forward if is_conv else nn.functional.linear
        if self.relevance.first == "flat" and self._sees(x):
            self.seen = True
            source = self.carrier.view(x.shape)
            z, total = _flat(layer, source, apply)
        else:
            source = x
            bias = bias if self.relevance.bias else None
            z = _plus(apply, x, weight, bias) if rule == "zplus" else apply(x, weight, bias)
            total = z.detach()
            z = z - total
        # away from zero, on its own side; only those of epsilon are negative
        away = EPSILON if rule == "zplus" else torch.where(total < 0, -EPSILON, EPSILON)
        # z is zero by now, so that the value is y to the last bit
        out = torch.addcmul(y.detach(), y.detach() / (total + away), z)
        self.nodes[out.grad_fn] = source.grad_fn
        return out

    def _sees(self, x):
        """Whether x is the input, but for its shape."""
        return (
            x.data_ptr() == self.fed.data_ptr()
            and x.numel() == self.fed.numel()
            and x.is_contiguous()
            and self.fed.is_contiguous()
            and self.fed._version == self.version
        )


def _is_plain(module, kinds):
    """Whether a module computes what its base class does."""
    return any(isinstance(module, k) and type(module).forward is k.forward for k in kinds)


def _plus(apply, x, weight, bias):
    """The positive terms of Wx + b."""
    positive = weight.clamp(min=0)
    bias = None if bias is None else bias.clamp(min=0)
    if not bool(x.min() < 0):
        return apply(x, positive, bias)
    return apply(x.clamp(min=0), positive, bias) + apply(x.clamp(max=0), weight - positive, None)


def _flat(layer, source, apply):
    """Sums over the inputs of each output, and how many these are."""
    groups = getattr(layer, "groups", 1)
    ones = torch.ones_like(layer.weight[:groups])
    z, total = (apply(values, ones, None) for values in (source, torch.ones_like(source[:1])))
    if groups > 1:
        axis, each = -(layer.weight.ndim - 1), len(layer.weight) // groups
        z, total = (t.repeat_interleave(each, dim=axis) for t in (z, total.detach()))
    return z, total.detach()


def _check_graph(node, run, bias):
    """Refuses what hands relevance on in a way of its own."""
    stack, visited = [node], set()
    while stack:
        node = stack.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        if node in run.nodes:
            stack.append(run.nodes[node])
            continue
        following = [after for after, _ in node.next_functions]
        name = re.sub(r"Backward\d*$", "", node.name())
        if name == "AccumulateGrad" or node.name() == "torch::autograd::AccumulateGrad":
            continue
        if name in UNSEEN:
            raise ValueError(
                "lrp has rules for torch.nn.Linear and Conv1d to Conv3d that are modules of "
                f"features, but autograd has another {name}: give features as a torch.nn.Module of "
                f"those; {OTHERWISE}"
            )
        if name not in NATIVE:
            raise ValueError(f"lrp has no rule for {name}, which the network uses: {OTHERWISE}")
        varying = sum(after is not None for after in following)
        if name in ("Mul", "Div") and (varying > 1 or following[0] is None and name == "Div"):
            raise ValueError(
                f"lrp has no rule for a {name} of two values that both depend on X: {OTHERWISE}"
            )
        if name in ("Add", "Sub", "Cat", "Stack") and varying < len(following) and not bias:
            raise ValueError(
                f"the network adds a constant ({name}), which takes a share as a bias does, so "
                "that bias=False cannot hold: add it to X before, or give bias=True"
            )
        stack.extend(following)
    run.skipped -= {layer for layer, *_, made in run.waiting.values() if made in visited}
