"""Cortex-M55: Armv8.1-M with MVE (Helium). Facts only: Unicorn cannot run MVE, so no timing."""

from __future__ import annotations

from deepcompress.target.core import Cpu

CPUS = (Cpu("cortex-m55", "m55", has_dsp=True, has_mve=True, has_fpu=True),)
