"""Diffusion and flow matching on plain tensors: probability paths, targets, samplers."""
