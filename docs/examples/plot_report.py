"""
A report to hand on
===================

One page that loads nothing: the fit, and each row's proponents and opponents.
"""

import tempfile
from pathlib import Path

from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skattrib import DualViewExplainer, explain

X, y = load_wine(return_X_y=True, as_frame=True)
model = make_pipeline(StandardScaler(), DualViewExplainer(random_state=0)).fit(X[::2], y[::2])
explanation = explain(model, X[1::30], y=y[1::30], X_train=X[::2], y_train=y[::2])
with tempfile.TemporaryDirectory() as folder:
    page = Path(folder) / "why.html"
    explanation.to_html(page)
    print(f"{page.name}: {page.stat().st_size / 1000:.0f} kB")
explanation.to_frame().head(6)
# sphinx_gallery_thumbnail_path = 'pictures/report.png'

# %%
# In a notebook an explanation shows itself.
explanation
