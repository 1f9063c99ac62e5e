"""
How C changes who speaks
========================

Small C: every row has a say. Large C: only the rows at the boundary. One warm-started
path tries them all.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skattrib import DualViewExplainerCV
from skattrib.plots import SupportDisplay

X, y = load_digits(return_X_y=True)
X, y = X[:900] / 16, y[:900]
search = DualViewExplainerCV(Cs=np.logspace(-3, 1, 5), cv=3, random_state=0).fit(X, y)
for C, score, rows in zip(
    search.Cs_, search.scores_.mean(axis=0), search.path_["n_support"], strict=True
):
    print(f"C = {C:<8g} accuracy {score:.3f}  {rows:5.0f} support rows")
print(f"chosen: {search.C_:g}")

# %%
SupportDisplay.from_result({"Cs": search.Cs_} | search.path_)
plt.show()
