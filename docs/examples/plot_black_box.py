"""
A black box, by its probabilities
=================================

The representer distils any classifier's probabilities into a linear softmax head; how faithful that
is must be looked at.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skattrib import RepresenterExplainer
from skattrib.plots import AttributionDisplay

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
scaler = StandardScaler().fit(X_train)
X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
model = GradientBoostingClassifier(random_state=0).fit(X_train, y_train)

explainer = RepresenterExplainer(FrozenEstimator(model), C=1.0).fit(X_train, y_train)
print(f"the model's accuracy: {model.score(X_test, y_test):.3f}")
fidelity = explainer.score(X_test, model.predict(X_test))
print(f"the explained head says what the model says: {fidelity:.3f}")

# %%
AttributionDisplay.from_estimator(explainer, X_test[:1], k=5)
plt.show()
