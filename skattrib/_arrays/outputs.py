"""Outputs of a softmax as directions in the space of its logits."""

import numpy as np
from scipy.special import softmax

OUTPUTS = ("logit", "margin", "log_odds", "probability", "loss")


def label_directions(n_classes):
    """Row c: the logit weights of a target that is class c, (K, K)."""
    one = np.eye(n_classes)
    return 2.0 * one - 1.0 if n_classes == 2 else one


def output_weights(z, codes, output):
    """Gradients in the logits z (m, K) of a named output of one class a row, (m, K)."""
    one = np.eye(z.shape[1])[codes]
    if output == "logit":
        return label_directions(z.shape[1])[codes]
    if output == "margin":
        best = np.where(one == 1, -np.inf, z).argmax(axis=1)
        return one - np.eye(z.shape[1])[best]
    if output == "log_odds":
        # minus the softmax over the other classes
        return one - softmax(np.where(one == 1, -np.inf, z), axis=1)
    p = softmax(z, axis=1)
    return one - p if output == "loss" else p[one == 1][:, None] * (one - p)
