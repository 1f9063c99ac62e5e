"""
Influence against really leaving rows out
=========================================

Influence predicts what training again without a row would change; here each of 40 rows is
really left out.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from skattrib import InfluenceExplainer

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(scale(X), y, test_size=60, random_state=0)
model = LogisticRegression(C=0.1, tol=1e-8).fit(X_train, y_train)
explainer = InfluenceExplainer(FrozenEstimator(model)).fit(X_train, y_train)

rows = np.random.default_rng(0).choice(len(X_train), 40, replace=False)
sign = np.where(model.predict(X_test) == 1, 1, -1)  # explained: the predicted class
measured = np.empty((len(X_test), len(rows)))
for k, row in enumerate(rows):
    without = LogisticRegression(C=0.1, tol=1e-8)
    without.fit(np.delete(X_train, row, 0), np.delete(y_train, row))
    measured[:, k] = sign * (model.decision_function(X_test) - without.decision_function(X_test))
predicted = explainer.attribute(X_test)[:, rows]
print(f"correlation {np.corrcoef(predicted.ravel(), measured.ravel())[0, 1]:.4f}")

# %%
figure, axis = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
axis.plot(predicted.ravel(), measured.ravel(), ".", alpha=0.4)
axis.axline((0, 0), slope=1, color="0.5", lw=1)
axis.set(xlabel="predicted by influence", ylabel="measured by training again")
plt.show()
