"""Network blocks shared by several systems: U-Nets, transformer layers, cross-modal fusion."""
