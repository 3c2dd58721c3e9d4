// All kernels for one instruction set; the build compiles this file once for each.
#include "entry.h"
#include "../mingru/native.h"

RAMGRU_EXPORT(mingru_forward, MingruForward)
RAMGRU_EXPORT(mingru_backward, MingruBackward)
