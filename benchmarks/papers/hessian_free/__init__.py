"""Hessian-free influence functions (Yang, Yue, Chen and Liu, 2024): IP and IP-Ensemble."""

from . import cifar, counterfactual, people, toy

# to be raised when a change alters what cells compute; their sizes stand in their values
SETTINGS = {"revision": 1}
CELLS = (
    toy.CELLS
    | counterfactual.CELLS
    | people.CELLS
    | {
        f"cifar10n-{noise}-{seed}": cifar.removal(noise, seed)
        for seed in range(3)
        for noise in cifar.NOISES
    }
)


def tables(results):
    return {}
