"""How well it separates: BSS Eval, baselines and ceilings, protocols, tables."""
