"""Kernels between test and training rows, one class for each formula."""
