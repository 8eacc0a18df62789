"""The BPF engine: IPVS's work done by our own programs in the kernel's tc and xdp hooks."""

from onevip.engines.bpf.engine import BpfEngine

__all__ = ["BpfEngine"]
