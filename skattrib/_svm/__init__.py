"""Crammer and Singer's multiclass SVM: the solver and its duals."""
