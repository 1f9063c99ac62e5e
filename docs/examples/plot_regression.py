"""
A predicted number as a sum over training rows
==============================================

Ridge regression, taken apart: what each row holds of a prediction, and what the prediction would be
without it.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_diabetes

from skattrib import RepresenterRegressor

X, y = load_diabetes(return_X_y=True)
explainer = RepresenterRegressor().fit(X[:400], y[:400])
print(f"R2 on new rows {explainer.score(X[400:], y[400:]):.2f}")
T = explainer.attribute(X[400:401])
base = explainer.base_value(X[400:401])[0]
print(f"{T.sum():.1f} from the rows, {base:.1f} base value: {explainer.predict(X[400:401])[0]:.1f}")

# %%
# How much of the prediction a row holds, and what it would change if it were left out, are
# different questions.
effects = explainer.leave_one_out(X[400:401], X[:400], y[:400])
figure, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
points = axis.scatter(T[0], effects[0], c=y[:400], s=12, cmap="viridis")
axis.set(xlabel="what the row holds of the prediction", ylabel="prediction with - without the row")
figure.colorbar(points, label="y of the row")
plt.show()
