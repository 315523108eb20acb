"""Evaluation: protocols, metrics, statistics, prediction files, figures."""
