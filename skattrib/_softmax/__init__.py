"""Softmax regression: its loss, Newton's method, and inverses of its Hessian."""
