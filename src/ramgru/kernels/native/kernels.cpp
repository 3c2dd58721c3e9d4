// All kernels for one instruction set; the build compiles this file once for each.
#include "entry.h"
#include "../memory_scan/native.h"
#include "../mingru/native.h"

RAMGRU_EXPORT(mingru_forward, MingruForward)
RAMGRU_EXPORT(mingru_backward, MingruBackward)
RAMGRU_EXPORT(memory_scan_forward, MemoryForward)
RAMGRU_EXPORT(memory_scan_backward, MemoryBackward)
RAMGRU_EXPORT(memory_step, MemoryStep)
