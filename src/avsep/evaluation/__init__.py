"""Evaluation of separation: BSS Eval, baselines and ceilings, protocols, tables."""
