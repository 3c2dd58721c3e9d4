// All kernels for one instruction set; the build compiles this file once for each.
#include "entry.h"
#include "../gru/native.h"
#include "../memory_scan/native.h"
#include "../mingru/native.h"

RAMGRU_EXPORT(gru_forward, GruForward)
RAMGRU_EXPORT(gru_backward, GruBackward)
RAMGRU_EXPORT(memory_scan_forward, MemoryForward)
RAMGRU_EXPORT(memory_scan_backward, MemoryBackward)
RAMGRU_EXPORT(memory_step, MemoryStep)
RAMGRU_EXPORT(mingru_forward, MingruForward)
RAMGRU_EXPORT(mingru_backward, MingruBackward)
