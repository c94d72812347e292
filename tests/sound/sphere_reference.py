"""Pressure on a rigid sphere by the recursion that Duda and Martens printed (JASA 104(5), 1998)."""

import cmath
import math


def pressure(
    radius_metres: float, distance_metres: float, angle_degrees: float, frequency_hz: float
) -> complex:
    """Their appendix A: at a point of the sphere, over that in its middle without the sphere.

    Ratios of Hankel functions by their own polynomials, no Bessel function of any library; time
    counts as e^(-i w t).
    """
    x = math.cos(math.radians(angle_degrees))
    mu = 2 * math.pi * frequency_hz * radius_metres / 343.0
    rho = distance_metres / radius_metres
    zr, za = 1 / (1j * mu * rho), 1 / (1j * mu)
    qr2, qr1 = zr, zr * (1 - zr)
    qa2, qa1 = za, za * (1 - za)
    p2, p1 = 1.0, x
    total = zr / (za * (za - 1))
    term = 3 * x * zr * (zr - 1) / (za * (2 * za * (za - 1) + 1))
    total += term
    before, now, m = 1.0, abs(term) / abs(total), 2
    while before > 1e-9 or now > 1e-9:
        qr = -(2 * m - 1) * zr * qr1 + qr2
        qa = -(2 * m - 1) * za * qa1 + qa2
        p = ((2 * m - 1) * x * p1 - (m - 1) * p2) / m
        term = (2 * m + 1) * p * qr / ((m + 1) * za * qa - qa1)
        total += term
        qr2, qr1, qa2, qa1, p2, p1 = qr1, qr, qa1, qa, p1, p
        before, now, m = now, abs(term) / abs(total), m + 1
    return rho * cmath.exp(-1j * mu) * total / (1j * mu)
