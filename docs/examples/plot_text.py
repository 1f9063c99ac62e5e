"""
Which texts, and which words
============================

Rows of a vectorizer stay sparse: the shares of a text's words come out as they went in.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from skattrib import RepresenterExplainer

subjects = {
    "weather": [
        "rain",
        "wind",
        "cloud",
        "storm",
        "sunny",
        "frost",
        "fog",
        "degrees",
        "cold",
        "warm",
    ],
    "kitchen": ["butter", "oven", "flour", "salt", "bake", "pan", "onion", "soup", "warm", "cold"],
    "garden": ["seed", "soil", "rose", "prune", "leaf", "frost", "rain", "tomato", "pot", "dig"],
}
rng = np.random.default_rng(0)
labels = rng.choice(list(subjects), 300)
texts = [" ".join(rng.choice(subjects[label], 6)) for label in labels]

vectorizer = TfidfVectorizer()
explainer = RepresenterExplainer().fit(vectorizer.fit_transform(texts), labels)
x = vectorizer.transform(["frost and rain on the soil, warm soup from the pot"])
print("predicted:", explainer.predict(x)[0])
values, rows = explainer.top_k(x, k=5)
terms = vectorizer.get_feature_names_out()
for value, row, shares in zip(values[0], rows[0], explainer.decompose(x, rows), strict=True):
    words = ", ".join(terms[shares.indices[(-shares.data).argsort()]])
    print(f"{value:+.3f}  {labels[row]}: {texts[row]!r} by {words}")

# %%
# Summed over all training rows, the words' shares are the linear model's own: attributions only
# say who they come from.
everything = np.arange(len(texts))[None]
shares = explainer.decompose(x, everything).toarray().sum(axis=0)
order = np.flatnonzero(shares)[np.argsort(shares[np.flatnonzero(shares)])]
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.barh(terms[order], shares[order])
axis.set_xlabel(f"share of the logit of {explainer.predict(x)[0]}")
plt.show()
