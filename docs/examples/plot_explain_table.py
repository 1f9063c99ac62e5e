"""
One explanation to read
=======================

A table with texts, numbers written as people write them and gaps; a pipeline; and what made it
say so, column by column.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline

from skattrib import DualViewExplainer, explain, table_preprocessor

rng = np.random.default_rng(0)
n = 300
size = rng.integers(20, 180, n)
city = rng.choice(["Bergen", "Oslo", "Rome"], n)
garden = rng.choice(["yes", "no", None], n)
price = 3_000 * size + 90_000 * (city == "Oslo") + 60_000 * (garden == "yes")
table = pd.DataFrame(
    {
        "size": [f"{value} m2" for value in size],
        "city": city,
        "garden": garden,
        "listed": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D"),
    },
    index=[f"house {i}" for i in range(n)],
)
label = np.where(price + 40_000 * rng.normal(size=n) > 350_000, "sold slowly", "sold fast")

model = make_pipeline(table_preprocessor(), DualViewExplainer(random_state=0))
model.fit(table[:250], label[:250])
for decision in model[0].decisions_:
    print(decision)

# %%
# Shares of encoded columns are summed back to the table's own.
explanation = explain(model, table[250:], y=label[250:], X_train=table[:250], y_train=label[:250])
print(explanation[0])
explanation[:1]

# %%
explanation.plot(0)
plt.show()
