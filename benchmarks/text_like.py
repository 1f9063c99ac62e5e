"""Made-up rows that look like TF-IDF of text: wide, sparse, of norm 1."""

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer


def text_like(n=11_000, d=42_000, n_classes=20, seed=0):
    """CSR float64 rows of norm 1 with about 100 entries each, and their classes.

    The frequencies of words follow Zipf's law. A document has words of the whole language, of its
    own class and of another one, all classes having orders of the vocabulary of their own.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    length = np.maximum(rng.lognormal(np.log(95), 0.6, size=n), 10).astype(int)
    row = np.repeat(np.arange(n), length)
    share = np.cumsum(1.0 / (np.arange(d) + 2.7))
    word = np.searchsorted(share, share[-1] * rng.random(len(row)))
    orders = np.array([rng.permutation(d) for _ in range(n_classes)])
    other = rng.integers(n_classes, size=n)
    # how much of a document is not of the whole language, and how much of that is another class's
    own, stray = rng.beta(2, 4, size=n), rng.beta(1, 3, size=n)
    special = rng.random(len(row)) < own[row]
    topic = np.where(rng.random(len(row)) < stray[row], other[row], y[row])
    word[special] = orders[topic[special], word[special]]
    counts = sparse.coo_array((np.ones(len(row)), (row, word)), shape=(n, d)).tocsr()
    X = sparse.csr_array(TfidfTransformer().fit_transform(counts))
    X.sort_indices()
    # LIBLINEAR takes no others
    indices, indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return sparse.csr_array((X.data, indices, indptr), shape=X.shape), y
