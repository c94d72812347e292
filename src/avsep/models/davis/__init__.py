"""DAVIS: frame network, Separation U-Net and sampler."""
