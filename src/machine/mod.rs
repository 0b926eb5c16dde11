//! QEMU: the specification (pure), the jail, the process, QMP, the accelerator, the console, the screen.
